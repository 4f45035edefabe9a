/** A text that the model continues, token by token. */

import { stream } from "./api.js";
import { parameters, Settings } from "./settings.js";
import { draft, keepDraft } from "./store.js";
import {
  Legend,
  PROBABILITIES,
  Tokens,
  bar,
  percent,
  quoted,
  surprise,
} from "./tokens.js";
import { html, useReducer, useRef } from "./ui.js";

const ALTERNATIVES = 10;
const TOKENS = 40; // at a time, unless a number is given
// What can be undone after the page was left: a browser has room for a few
// megabytes, and conversations need it too.
const KEPT = 20; // changes
const KEPT_TOKENS = 400; // of them, about a kilobyte each
const BAN = -100;
const FAVOUR = 4; // times e^4, about 55, as likely
const PART = "\ufffd"; // of a character

export function Write({ model, say }) {
  const [, update] = useReducer((count) => count + 1, 0);
  const kept = useRef(null);
  kept.current ??= { ...begin(), ...draft("write") };
  const state = kept.current;

  function set(values) {
    Object.assign(state, values);
    const { text, tokens, biases, settings } = state;
    const kept = { text, tokens, biases, settings };
    const past = recent(state.past);
    keepDraft("write", { ...kept, past }) || keepDraft("write", kept);
    update();
  }

  /** As it was before a change, so that it can be undone. */
  function remember() {
    state.controller?.abort();
    state.past.push({ text: state.text, tokens: state.tokens });
  }

  async function go(tokens) {
    remember();
    // What is written on is text, without a part of a character at its end.
    while (isUnfinished(bytesOf(tokens))) tokens.pop();
    const controller = new AbortController();
    set({ tokens, controller, error: null });
    say("The model is writing.");
    const count = tokens.length;
    try {
      const body = request(model, state, biases);
      for await (const found of read(body, controller.signal)) {
        tokens.push(...found);
        if (state.controller === controller) update();
      }
    } catch (error) {
      if (!controller.signal.aborted) set({ error: error.message });
    }
    if (state.controller !== controller) return;
    set({ controller: null });
    say(state.error ?? `Written: ${decoded(tokens.slice(count))}`);
  }

  function take(index, token) {
    const { alternatives } = state.tokens[index];
    const tokens = [...state.tokens.slice(0, index), { ...token, alternatives }];
    if (!token.special) return void go(tokens);
    remember();
    set({ tokens, controller: null });
  }

  // Ids mean something else to another model.
  const biases = state.biases.filter((bias) => bias.model === model.id);

  function favour(token, value) {
    const { id, text } = token;
    const others = state.biases.filter(
      (bias) => bias.id !== id || bias.model !== model.id,
    );
    const added = value ? [{ id, text, value, model: model.id }] : [];
    set({ biases: [...others, ...added] });
    const done = { [BAN]: "banned", [FAVOUR]: "favoured", 0: "as it was" };
    say(`${quoted(text)} is ${done[value]} from the next tokens on.`);
  }

  function change(values) {
    remember();
    set({ ...values, controller: null, error: null });
  }

  const isBusy = Boolean(state.controller);
  const written = state.tokens.length > 0 || isBusy;
  return html`
    <div class="write">
      ${written
        ? html`
            <${Tokens}
              name="written"
              label="The text"
              before=${state.text}
              tokens=${state.tokens}
              level=${(index) => surprise(state.tokens[index].logProbability)}
              describe=${(index) => description(state.tokens[index])}
              details=${(index, close) => html`
                <${Alternatives}
                  token=${state.tokens[index]}
                  biases=${biases}
                  onTake=${(token) => {
                    close();
                    take(index, token);
                  }}
                  onFavour=${favour}
                />
              `}
            />
            <${Legend} words=${PROBABILITIES} />
          `
        : html`
            <label>
              <span>The beginning of a text</span>
              <textarea
                id="beginning"
                rows="6"
                placeholder="Once upon a time"
                value=${state.text}
                onInput=${(event) => set({ text: event.target.value })}
              ></textarea>
            </label>
          `}
      ${state.error && html`<p class="error" role="alert">${state.error}</p>`}
      <div class="actions">
        ${isBusy
          ? html`<button
              type="button"
              class="main"
              onClick=${() => state.controller.abort()}
            >
              Stop
            </button>`
          : html`<button
              type="button"
              class="main"
              onClick=${() => go([...state.tokens])}
            >
              ${written ? "Write on" : "Write"}
            </button>`}
        <button
          type="button"
          disabled=${!state.past.length}
          onClick=${() => {
            state.controller?.abort();
            set({ ...state.past.pop(), controller: null, error: null });
          }}
        >
          Undo
        </button>
        ${written &&
        html`
          <button
            type="button"
            onClick=${() => change({ text: whole(state), tokens: [] })}
          >
            Edit as text
          </button>
          <button
            type="button"
            onClick=${() => change({ tokens: [] })}
          >
            Back to the beginning
          </button>
        `}
      </div>
      <p class="hint">
        Point at a token, or go to it with Tab and the arrow keys, to see what
        else the model considered. Choose one of them to go on from there.
      </p>
      <${Biases} biases=${biases} onFavour=${favour} />
      <details class="options">
        <summary>Settings</summary>
        <${Settings}
          name="write"
          values=${state.settings}
          onChange=${(settings) => set({ settings })}
        />
      </details>
    </div>
  `;
}

function begin() {
  return {
    text: "",
    tokens: [],
    biases: [],
    settings: { max_tokens: String(TOKENS) },
    past: [],
    controller: null,
    error: null,
  };
}

/** The last changes, as many as there is room for. */
function recent(past) {
  let room = KEPT_TOKENS;
  const last = past.slice(-KEPT).reverse();
  return last.filter(({ tokens }) => (room -= tokens.length) >= 0).reverse();
}

function request(model, state, biases) {
  const body = {
    model: model.id,
    prompt: whole(state),
    logprobs: ALTERNATIVES,
    truncation: "auto",
    ...parameters(state.settings),
  };
  return biases.length
    ? {
        ...body,
        logit_bias: Object.fromEntries(biases.map((b) => [b.id, b.value])),
      }
    : body;
}

/** Yields lists of the tokens that came. */
async function* read(body, signal) {
  const { events } = await asked(body, signal);
  for await (const several of events) {
    for (const { choices } of several) {
      const { logprobs, text } = choices[0] ?? {};
      if (logprobs) yield logprobs.content.map(received);
      else if (text) yield [untold(text)];
    }
  }
}

/** A model that does not tell its tokens is asked for the text alone. */
async function asked(body, signal) {
  const path = "v1/completions";
  try {
    return await stream(path, body, signal);
  } catch (error) {
    if (error.param !== "logprobs") throw error;
    return stream(path, { ...body, logprobs: undefined }, signal);
  }
}

const untold = (text) => ({
  text,
  bytes: [...new TextEncoder().encode(text)],
  logProbability: null,
  alternatives: [],
});

function received(found) {
  const token = {
    id: found.token_id,
    text: found.token,
    bytes: found.bytes,
    special: found.special,
    logProbability: found.logprob,
  };
  const alternatives = found.top_logprobs?.map(received);
  return alternatives ? { ...token, alternatives } : token;
}

/** Tokens may have parts of characters, so that their bytes are put together. */
function decoded(tokens) {
  const text = new TextDecoder().decode(new Uint8Array(bytesOf(tokens)));
  return text.replace(/\ufffd+$/, "");
}

const bytesOf = (tokens) =>
  tokens.filter((token) => !token.special).flatMap((token) => token.bytes);

/** Whether UTF-8 ends within a character. */
function isUnfinished(bytes) {
  const begin = bytes.findLastIndex((byte) => (byte & 0xc0) !== 0x80);
  const first = bytes[begin] ?? 0;
  const length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc0 ? 2 : 1;
  return bytes.length - begin < length;
}

const whole = (state) => state.text + decoded(state.tokens);

function description({ text, logProbability, special }) {
  const name = special ? `${quoted(text)}, not of the text` : quoted(text);
  return logProbability === null ? name : `${name}, ${percent(logProbability)}`;
}

function Alternatives({ token, biases, onTake, onFavour }) {
  const found = token.alternatives ?? [];
  if (token.logProbability === null) {
    return html`<p>This model does not tell its tokens.</p>`;
  }
  const isListed = found.some((other) => other.id === token.id);
  const row = (other) => {
    const name = quoted(other.text);
    const bias = biases.find(({ id }) => id === other.id)?.value ?? 0;
    const toggle = (value, label, sign) => html`
      <button
        type="button"
        class="small"
        aria-label=${`${label} ${name}`}
        title=${`${label} ${name}`}
        aria-pressed=${bias === value ? "true" : "false"}
        onClick=${() => onFavour(other, bias === value ? 0 : value)}
      >
        ${sign}
      </button>
    `;
    return html`
      <li key=${other.id}>
        <button
          type="button"
          class="take"
          style=${bar(other.logProbability)}
          aria-current=${other.id === token.id ? "true" : null}
          disabled=${other.text.includes(PART)}
          title=${other.text.includes(PART) ? "A part of a character" : null}
          onClick=${() => onTake(other)}
        >
          <span>${name}</span> <span>${percent(other.logProbability)}</span>
        </button>
        ${toggle(BAN, "Ban", "−")}${toggle(FAVOUR, "Favour", "+")}
      </li>
    `;
  };
  return html`
    <ul class="alternatives">
      ${(isListed ? found : [...found, token]).map(row)}
    </ul>
  `;
}

function Biases({ biases, onFavour }) {
  if (!biases.length) return null;
  return html`
    <ul class="biases" aria-label="Banned and favoured tokens">
      ${biases.map(
        (bias) => html`
          <li key=${bias.id}>
            <button
              type="button"
              class="small"
              aria-label=${`Leave ${quoted(bias.text)} as it was`}
              onClick=${() => onFavour(bias, 0)}
            >
              ${quoted(bias.text)} ${bias.value < 0 ? "banned" : "favoured"} ×
            </button>
          </li>
        `,
      )}
    </ul>
  `;
}
