/** Tokens of a text in colour, each with what stands behind it. */

import { html, useEffect, useLayoutEffect, useRef, useState } from "./ui.js";

const MARKS = { "\n": "↵", "\t": "⇥", "\r": "␍" };
const LEAST = [0.5, 0.2, 0.05, 0.01]; // of the levels 0 to 3

/** A text on one line. */
export const marked = (text) =>
  text.replace(/[\n\t\r]/g, (sign) => MARKS[sign]);

/** A token's text, with what cannot be seen made visible. */
export function quoted(text) {
  const dotted = (spaces) => "␣".repeat(spaces.length);
  return `“${marked(text).replace(/^ +| +$/g, dotted)}”`;
}

export function percent(logProbability) {
  const share = 100 * Math.exp(logProbability);
  if (share < 0.01) return "under 0.01 %";
  if (share > 99.95) return "100 %";
  return `${share < 1 ? share.toFixed(2) : share.toFixed(1)} %`;
}

/** How long the bar of an alternative is. */
export const bar = (logProbability) => ({
  "--share": `${100 * Math.exp(logProbability)}%`,
});

/** 0 for what was expected, 4 for what was not at all. */
export function surprise(logProbability) {
  if (logProbability === null) return 0;
  const level = LEAST.findIndex((least) => Math.exp(logProbability) >= least);
  return level < 0 ? 4 : level;
}

/** What the levels of colour mean, given the words for them. */
export function Legend({ words }) {
  return html`
    <p class="legend">
      ${words.map(
        (word, level) => html`<span class=${`token level${level}`}>${word}</span>`,
      )}
    </p>
  `;
}

export const PROBABILITIES = [
  "50 % or more",
  "20 to 50 %",
  "5 to 20 %",
  "1 to 5 %",
  "under 1 %",
];

/**
 * Args:
 *   name: Of the ids of the tokens in the page.
 *   label: What a screen reader calls them.
 *   before: Text that stands before them.
 *   tokens: Each has `text`.
 *   level(index): Of its colour, 0 to 4.
 *   describe(index): Its tooltip.
 *   details(index, close): What opens under it on hover and on focus.
 *   chosen, onChoose(index): The one that is chosen, where one can be.
 */
export function Tokens(props) {
  const { name, label, before, tokens, level, describe, chosen } = props;
  const [open, setOpen] = useState(null);
  const [stop, setStop] = useState(0); // where Tab goes to
  const box = useRef(null);
  const card = useRef(null);
  const last = tokens.length - 1;
  useLayoutEffect(() => {
    if (card.current) put(card.current, box.current);
  });
  useEffect(() => {
    const move = () => card.current && put(card.current, box.current);
    addEventListener("resize", move);
    return () => removeEventListener("resize", move);
  }, []);
  const element = (index) => document.getElementById(`${name}-${index}`);
  const number = (target) => {
    const found = target.closest?.("[data-token]");
    return found ? Number(found.dataset.token) : null;
  };

  function over(event) {
    const index = number(event.target);
    if (index !== null) setOpen(index);
  }

  function leave() {
    const isInside = box.current.contains(document.activeElement);
    setOpen(isInside ? stop : null);
  }

  function focused(event) {
    const index = number(event.target);
    if (index === null) return;
    setStop(index);
    setOpen(index);
  }

  function blurred(event) {
    if (!box.current.contains(event.relatedTarget)) setOpen(null);
  }

  /** The keyboard goes back to the token. */
  function close() {
    element(open ?? stop)?.focus();
    setOpen(null);
  }

  function press(event) {
    const index = number(event.target);
    if (event.key === "Escape") {
      close();
      return;
    }
    if (index === null) return;
    const to = {
      ArrowRight: Math.min(index + 1, last),
      ArrowLeft: Math.max(index - 1, 0),
      Home: 0,
      End: last,
    }[event.key];
    if (to !== undefined) element(to).focus();
    else if (event.key === "ArrowDown") focusFirst(card.current);
    else if (event.key === "Enter" || event.key === " ") choose(index);
    else return;
    event.preventDefault();
  }

  function choose(index) {
    setOpen(index);
    if (props.onChoose) props.onChoose(index);
    else focusFirst(card.current);
  }

  const isOpen = open !== null && open <= last;
  return html`
    <div
      class="tokens"
      role="group"
      aria-label=${label}
      ref=${box}
      onMouseOver=${over}
      onMouseLeave=${leave}
      onFocusIn=${focused}
      onFocusOut=${blurred}
      onKeyDown=${press}
    >
      <div class="text">
        ${before}${tokens.map(
          (token, index) => html`<span
            id=${`${name}-${index}`}
            key=${index}
            data-token=${index}
            class=${`token level${level(index)}${token.special ? " special" : ""}`}
            role="button"
            tabindex=${index === Math.min(stop, last) ? 0 : -1}
            aria-label=${describe(index)}
            aria-pressed=${props.onChoose ? String(index === chosen) : null}
            title=${describe(index)}
            onClick=${props.onChoose && (() => choose(index))}
            >${token.text.includes("\n") && token.text.trim() === ""
              ? token.text.replace("\n", "↵\n")
              : token.text}</span
          >`,
        )}
      </div>
      ${isOpen &&
      html`<div
        class="card"
        ref=${card}
        data-of=${`${name}-${open}`}
        role="group"
        aria-label=${describe(open)}
      >
        ${props.details(open, close)}
      </div>`}
    </div>
  `;
}

/** Right under the token, and within the box. */
function put(card, box) {
  const around = box.getBoundingClientRect();
  const token = document.getElementById(card.dataset.of);
  const at = token.getClientRects()[0] ?? token.getBoundingClientRect();
  const room = Math.max(around.width - card.offsetWidth, 0);
  card.style.left = `${Math.min(Math.max(at.left - around.left, 0), room)}px`;
  card.style.top = `${at.bottom - around.top}px`;
}

function focusFirst(card) {
  card?.querySelector("button:not(:disabled)")?.focus();
}
