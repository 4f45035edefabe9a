/** A text as the model reads it: what it expected, and what it looked at. */

import { json } from "./api.js";
import { draft, keepDraft } from "./store.js";
import {
  Legend,
  PROBABILITIES,
  Tokens,
  bar,
  marked,
  percent,
  quoted,
  surprise,
} from "./tokens.js";
import { html, useRef, useState } from "./ui.js";

const MOST_PLACES = 10;
const BEFORE = 24; // characters that are shown before a surprising place
const SHARES = [0.05, 0.2, 0.45, 0.75]; // of the largest, of levels 1 to 4
const RELATIVE = ["least", "", "", "", "most"];
const EXPECTED = "expected";

export function Look({ model, say }) {
  const [text, setText] = useState(draft("look") ?? "");
  const [found, setFound] = useState(null);
  const [chosen, setChosen] = useState(null);
  const [view, setView] = useState(EXPECTED);
  const [error, setError] = useState(null);
  const [isBusy, setIsBusy] = useState(false);
  const latest = useRef(0);

  async function look(looked, token) {
    const number = ++latest.current;
    setIsBusy(true);
    setError(null);
    try {
      const body = { model: model.id, text: looked, token };
      const answer = await json("v1/look", body);
      if (number !== latest.current) return;
      setFound({ ...answer, text: looked });
      setChosen(token);
      const bits = answer.bits_per_byte.toFixed(2);
      if (token === null) say(`${bits} bits per byte.`);
      else setView((before) => nextView(before, answer));
    } catch (failed) {
      if (number === latest.current) setError(failed.message);
    }
    if (number === latest.current) setIsBusy(false);
  }

  function submit(event) {
    event.preventDefault();
    setView(EXPECTED);
    look(text, null);
  }

  return html`
    <div class="look">
      <form onSubmit=${submit}>
        <label>
          <span>A text</span>
          <textarea
            id="looked"
            rows="5"
            placeholder="Any text, to see what the model expects in it"
            value=${text}
            onInput=${(event) => {
              setText(event.target.value);
              keepDraft("look", event.target.value);
            }}
          ></textarea>
        </label>
        <div class="actions">
          <button type="submit" class="main" disabled=${isBusy || !text.trim()}>
            Look
          </button>
        </div>
      </form>
      ${error && html`<p class="error" role="alert">${error}</p>`}
      ${found &&
      html`<${Found}
        found=${found}
        chosen=${chosen}
        view=${view}
        onView=${setView}
        onChoose=${(index) => look(found.text, index)}
      />`}
    </div>
  `;
}

/** Whoever chooses a token wants to see what it looked at. */
function nextView(before, { attention }) {
  const last = attention?.at(-1);
  return before === EXPECTED && last ? `attention ${last.block}` : before;
}

function Found({ found, chosen, view, onView, onChoose }) {
  const { tokens } = found;
  const views = viewsOf(found, tokens[chosen ?? tokens.length - 1]);
  const shown = views[view] ?? views[EXPECTED];
  const details = (index) => html`
    ${shown.tell?.(index) && html`<p>${shown.tell(index)}</p>`}
    <${Expected} token=${tokens[index]} />
  `;
  return html`
    <p class="figure">
      <strong>${found.bits_per_byte.toFixed(2)}</strong> bits per byte,${" "}
      ${tokens.length} tokens
    </p>
    <label class="field">
      <span>Coloured by</span>
      <select
        value=${views[view] ? view : EXPECTED}
        onChange=${(event) => onView(event.target.value)}
      >
        ${Object.entries(views).map(
          ([name, { label }]) =>
            html`<option key=${name} value=${name}>${label}</option>`,
        )}
      </select>
    </label>
    <${Tokens}
      name="looked"
      label="The text"
      tokens=${tokens}
      level=${shown.level}
      describe=${(index) => description(tokens[index], shown.tell?.(index))}
      details=${details}
      chosen=${chosen}
      onChoose=${onChoose}
    />
    <${Legend} words=${shown.words} />
    <p class="hint">${advice(found)}</p>
    <${Places} tokens=${tokens} />
  `;
}

/** What the text can be coloured by, by name. */
function viewsOf({ tokens, attention, movement }, looking) {
  const views = {
    [EXPECTED]: {
      label: "what the model expected",
      level: (index) => surprise(tokens[index].log_probability),
      words: PROBABILITIES,
    },
  };
  for (const { block, weights } of attention ?? []) {
    views[`attention ${block}`] = {
      label: `what ${quoted(looking.text)} looked at, ${block}`,
      level: (index) => share(weights, index),
      tell: (index) =>
        index < weights.length &&
        `${(100 * weights[index]).toFixed(1)} % of the attention`,
      words: RELATIVE,
    };
  }
  for (const { block, kind, distances } of movement ?? []) {
    views[`movement ${block}`] = {
      label: `how far the state moved, ${block} (${kind})`,
      level: (index) => share(distances, index),
      tell: (index) => `the state moved by ${distances[index].toFixed(3)}`,
      words: RELATIVE,
    };
  }
  return views;
}

function share(values, index) {
  const most = Math.max(...values);
  if (!(most > 0) || index >= values.length) return 0;
  return SHARES.filter((least) => values[index] / most >= least).length;
}

function advice({ attention, movement }) {
  const found = [];
  if (attention?.length) {
    found.push("Choose a token to see what the model looked at there.");
  }
  if (movement?.length) {
    found.push("“Coloured by” has how far each token moved the model's state.");
  }
  return found.join(" ");
}

function description({ text, log_probability: logProbability }, more) {
  const likely =
    logProbability === null ? "the first token" : percent(logProbability);
  return [quoted(text), likely, more].filter(Boolean).join(", ");
}

function Expected({ token }) {
  const found = token.alternatives ?? [];
  if (!found.length) return html`<p>Nothing stands before.</p>`;
  const isListed = found.some(({ id }) => id === token.id);
  return html`
    <ol class="alternatives">
      ${(isListed ? found : [...found, token]).map(
        (other) => html`
          <li key=${other.id}>
            <span
              class=${`take${other.id === token.id ? " came" : ""}`}
              style=${bar(other.log_probability)}
            >
              <span>${quoted(other.text)}</span>${" "}
              <span>${percent(other.log_probability)}</span>
            </span>
          </li>
        `,
      )}
    </ol>
  `;
}

function Places({ tokens }) {
  const places = tokens
    .map((token, index) => ({ ...token, index }))
    .filter((token) => token.log_probability !== null)
    .sort((a, b) => a.log_probability - b.log_probability)
    .slice(0, MOST_PLACES);
  if (!places.length) return null;
  const before = (index) => {
    const text = tokens.slice(0, index).map((token) => token.text).join("");
    return marked(text.slice(-BEFORE));
  };
  return html`
    <h2>The most surprising places</h2>
    <ol class="places">
      ${places.map(
        (place) => html`
          <li key=${place.index}>
            <button
              type="button"
              onClick=${() =>
                document.getElementById(`looked-${place.index}`).focus()}
            >
              <span>
                …${before(place.index)}<mark>${marked(place.text)}</mark>
              </span>
              <span>
                ${percent(place.log_probability)}
                ${place.alternatives?.[0] &&
                `, expected ${quoted(place.alternatives[0].text)}`}
              </span>
            </button>
          </li>
        `,
      )}
    </ol>
  `;
}
