/** A text with masks, and what an encoder would write there. */

import { Asking, Bars } from "./asking.js";
import { quoted } from "./tokens.js";
import { html } from "./ui.js";

export function Fill({ models, say }) {
  return html`
    <${Asking}
      name="fill"
      models=${models}
      called="Encoder"
      action="Fill"
      placeholder=${() => "A text with [MASK] where a token is to be told"}
      tell=${({ num_masks: count, text }) => (count ? text : "")}
      show=${(answer) => html`<${Filled} ...${answer} />`}
      say=${say}
    />
  `;
}

function Filled({ text, tokens, scores, num_masks: count, truncated }) {
  const candidates = (mask) =>
    tokens[mask].map((token, i) => [quoted(token), scores[mask][i]]);
  return html`
    ${truncated &&
    html`<p class="hint">
      The text is longer than the model reads: its end was not seen.
    </p>`}
    ${count
      ? html`<p class="text filled">${text}</p>`
      : html`<p class="error" role="alert">
          Write [MASK] where a token is to be told.
        </p>`}
    ${tokens.slice(0, count).map(
      (_, mask) => html`
        <h2 key=${mask}>Mask ${mask + 1}</h2>
        <${Bars}
          label=${`Mask ${mask + 1}`}
          rows=${candidates(mask)}
          chosen=${[quoted(tokens[mask][0])]}
        />
      `,
    )}
  `;
}
