/** What every part of the page is written with. */

import htm from "./vendor/htm.module.js";
import { h } from "./vendor/preact.module.js";

export { render } from "./vendor/preact.module.js";
export {
  useEffect,
  useLayoutEffect,
  useReducer,
  useRef,
  useState,
} from "./vendor/hooks.module.js";

// Text between tags becomes a text node, whatever is in it.
export const html = htm.bind(h);

/** As a `ref`: the keyboard goes where something was opened. */
export const focus = (element) => element?.focus();

/** Moves the keyboard to the first of these that there is, once it is shown. */
export function focusOn(...selectors) {
  requestAnimationFrame(() => {
    const found = selectors.map((each) => document.querySelector(each));
    found.find(Boolean)?.focus();
  });
}
