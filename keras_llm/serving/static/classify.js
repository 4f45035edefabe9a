/** A text, and how a classifier labels it. */

import { json } from "./api.js";
import { draft, keepDraft } from "./store.js";
import { html, useState } from "./ui.js";

export function Classify({ models, say }) {
  const [name, setName] = useState(models[0].id);
  const [text, setText] = useState(draft("classify") ?? "");
  const [found, setFound] = useState(null);
  const [error, setError] = useState(null);
  const [isBusy, setIsBusy] = useState(false);
  const model = models.find(({ id }) => id === name) ?? models[0];

  async function classify(event) {
    event.preventDefault();
    setIsBusy(true);
    setError(null);
    try {
      const path = `v1/models/${encodeURIComponent(model.id)}:predict`;
      const { predictions } = await json(path, { instances: [text] });
      const [{ label, scores: given }] = predictions;
      const scores = shares(given);
      const labels = scores.map((_, index) => model.labels[index] ?? `${index}`);
      setFound({ label, scores, labels });
      say(`The label: ${label}`);
    } catch (failed) {
      setError(failed.message);
    }
    setIsBusy(false);
  }

  return html`
    <form class="classify" onSubmit=${classify}>
      ${models.length > 1 &&
      html`
        <label class="field">
          <span>Classifier</span>
          <select
            value=${model.id}
            onChange=${(event) => {
              setName(event.target.value);
              setFound(null);
            }}
          >
            ${models.map(
              ({ id }) => html`<option key=${id} value=${id}>${id}</option>`,
            )}
          </select>
        </label>
      `}
      <label>
        <span>A text</span>
        <textarea
          id="classified"
          rows="5"
          placeholder=${`Which of ${model.labels.join(", ") || "its classes"}?`}
          value=${text}
          onInput=${(event) => {
            setText(event.target.value);
            keepDraft("classify", event.target.value);
          }}
        ></textarea>
      </label>
      <div class="actions">
        <button type="submit" class="main" disabled=${isBusy || !text.trim()}>
          Classify
        </button>
      </div>
      ${error && html`<p class="error" role="alert">${error}</p>`}
      ${found && html`<${Bars} ...${found} />`}
    </form>
  `;
}

/** A classifier without an activation, KerasHub's default, gives logits. */
function shares(scores) {
  if (scores.every((score) => score >= 0 && score <= 1)) return scores;
  const largest = Math.max(...scores);
  const powers = scores.map((score) => Math.exp(score - largest));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((power) => power / sum);
}

function Bars({ label, labels, scores }) {
  const rows = labels.map((each, index) => [each, scores[index]]);
  rows.sort((a, b) => b[1] - a[1]);
  return html`
    <ul class="bars" aria-label="Labels">
      ${rows.map(
        ([each, score]) => html`
          <li key=${each} class=${each === label ? "first" : ""}>
            <span>${each}</span>
            <span class="bar" aria-hidden="true">
              <span style=${{ width: `${100 * score}%` }}></span>
            </span>
            <span>${(100 * score).toFixed(1)} %</span>
          </li>
        `,
      )}
    </ul>
  `;
}
