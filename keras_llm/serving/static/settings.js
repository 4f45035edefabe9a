/** How tokens are chosen: the fields, and what they mean in a request. */

import { html } from "./ui.js";

const FIELDS = [
  ["temperature", "Temperature", { min: 0, max: 5, step: "any" }],
  ["top_p", "Top p", { min: 0, max: 1, step: "any" }],
  ["max_tokens", "Most tokens", { min: 1, step: 1 }],
  ["seed", "Seed", { min: 0, step: 1 }],
];

/** What was typed in the fields, as a request has it. */
export function parameters(values) {
  const found = {};
  for (const [name] of FIELDS) {
    const text = String(values[name] ?? "").trim();
    if (text) found[name] = Number(text);
  }
  // Drawn here, so that an exported answer can be had again.
  found.seed ??= crypto.getRandomValues(new Uint32Array(1))[0];
  return found;
}

export function Settings({ name, values, onChange }) {
  const field = ([key, label, limits]) => html`
    <label class="field" key=${key}>
      <span>${label}</span>
      <input
        type="number"
        name=${`${name}-${key}`}
        placeholder=${key === "seed" ? "drawn" : "the server's"}
        value=${values[key] ?? ""}
        onInput=${(event) => onChange({ ...values, [key]: event.target.value })}
        ...${limits}
      />
    </label>
  `;
  return html`
    <fieldset class="fields">
      <legend class="hidden">How tokens are chosen</legend>
      ${FIELDS.map(field)}
    </fieldset>
    <p class="hint">
      An empty field means the server's own setting. Temperature 0 always takes
      the likeliest token; the same seed gives the same answer again.
    </p>
  `;
}
