/** A text, and what one of the models says of it by `:predict`. */

import { json } from "./api.js";
import { draft, keepDraft } from "./store.js";
import { html, useRef, useState } from "./ui.js";

/**
 * Args:
 *   name: Of the form and of the draft that is kept.
 *   models: Who may be asked.
 *   called: What such a model is.
 *   action: What the button says.
 *   placeholder(model): What an empty field says.
 *   tell(answer): What is told to those who do not see the answer.
 *   show(answer, model): How it looks.
 */
export function Asking(props) {
  const { name, models, called, action, placeholder, tell, show, say } = props;
  const [id, setId] = useState(models[0].id);
  const [text, setText] = useState(draft(name) ?? "");
  const [answer, setAnswer] = useState(null);
  const [error, setError] = useState(null);
  const [isBusy, setIsBusy] = useState(false);
  const latest = useRef(0);
  const model = models.find((each) => each.id === id) ?? models[0];

  async function ask(event) {
    event.preventDefault();
    const number = ++latest.current;
    setIsBusy(true);
    setError(null);
    setAnswer(null);
    try {
      const path = `v1/models/${encodeURIComponent(model.id)}:predict`;
      const { predictions } = await json(path, { instances: [text] });
      if (number !== latest.current) return;
      setAnswer(predictions[0]);
      say(tell(predictions[0]));
    } catch (failed) {
      if (number !== latest.current) return;
      setError(failed.message);
    }
    setIsBusy(false);
  }

  function choose(event) {
    latest.current += 1; // what is under way is not of this model
    setId(event.target.value);
    setAnswer(null);
    setError(null);
    setIsBusy(false);
  }

  return html`
    <form class=${`asking ${name}`} onSubmit=${ask}>
      ${models.length > 1 &&
      html`
        <label class="field">
          <span>${called}</span>
          <select value=${model.id} onChange=${choose}>
            ${models.map(
              (each) =>
                html`<option key=${each.id} value=${each.id}>${each.id}</option>`,
            )}
          </select>
        </label>
      `}
      <label>
        <span>A text</span>
        <textarea
          rows="5"
          placeholder=${placeholder(model)}
          value=${text}
          onInput=${(event) => {
            setText(event.target.value);
            keepDraft(name, event.target.value);
          }}
        ></textarea>
      </label>
      <div class="actions">
        <button type="submit" class="main" disabled=${isBusy || !text.trim()}>
          ${action}
        </button>
      </div>
      ${error && html`<p class="error" role="alert">${error}</p>`}
      ${answer && show(answer, model)}
    </form>
  `;
}

/**
 * Shares by name, the largest first.
 *
 * Args:
 *   label: What a screen reader calls them.
 *   rows: Of [name, share].
 *   chosen: The names that stand out.
 */
export function Bars({ label, rows, chosen }) {
  const sorted = [...rows].sort((a, b) => b[1] - a[1]);
  return html`
    <ul class="bars" aria-label=${label}>
      ${sorted.map(
        ([name, share]) => html`
          <li key=${name} class=${chosen.includes(name) ? "first" : ""}>
            <span>${name}</span>
            <span class="bar" aria-hidden="true">
              <span style=${{ width: `${100 * share}%` }}></span>
            </span>
            <span>${(100 * share).toFixed(1)} %</span>
          </li>
        `,
      )}
    </ul>
  `;
}
