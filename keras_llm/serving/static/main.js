/** The page: which models there are, the key, and the tabs. */

import { json, setKey } from "./api.js";
import { Chat } from "./chat.js";
import { Classify } from "./classify.js";
import { Fill } from "./fill.js";
import { Look } from "./look.js";
import { html, render, useEffect, useRef, useState } from "./ui.js";
import { Write } from "./write.js";

function Page() {
  const [models, setModels] = useState(null);
  const [error, setError] = useState(null);
  const [asksKey, setAsksKey] = useState(false);
  const [isRefused, setIsRefused] = useState(false);
  const [said, say] = useState("");

  async function load() {
    setError(null);
    try {
      setModels((await json("v1/models")).data);
    } catch (failed) {
      setError(failed.message);
    }
  }

  useEffect(() => {
    const need = ({ detail }) => {
      setAsksKey(true);
      setIsRefused(detail); // one was sent
    };
    addEventListener("key-needed", need);
    load();
    return () => removeEventListener("key-needed", need);
  }, []);

  function enter(key) {
    setKey(key);
    setAsksKey(false);
    load();
  }

  return html`
    ${asksKey && html`<${Key} isRefused=${isRefused} onEnter=${enter} />`}
    ${!asksKey &&
    error &&
    html`
      <div class="notice">
        <p class="error" role="alert">${error}</p>
        <button type="button" onClick=${load}>Try again</button>
      </div>
    `}
    ${models
      ? html`<${Tabs} models=${models} say=${say} onNewVersion=${load} />`
      : html`<header><h1>keras_llm</h1></header>`}
    <div class="hidden" role="status">${said}</div>
  `;
}

function Key({ isRefused, onEnter }) {
  const [key, setValue] = useState("");
  return html`
    <form
      class="notice key"
      onSubmit=${(event) => {
        event.preventDefault();
        onEnter(key.trim());
      }}
    >
      <label>
        <span>This server asks for a key</span>
        <input
          type="password"
          autocomplete="current-password"
          value=${key}
          onInput=${(event) => setValue(event.target.value)}
        />
      </label>
      ${isRefused &&
      html`<p class="error" role="alert">The server refuses that key.</p>`}
      <p class="hint">
        The one that it was started with. It is kept until this window is
        closed.
      </p>
      <button type="submit" class="main" disabled=${!key.trim()}>Go on</button>
    </form>
  `;
}

function Tabs({ models, say, onNewVersion }) {
  const asked = {
    Classify: models.filter((model) => model.labels),
    Fill: models.filter((model) => model.fills),
  };
  const writers = models.filter((model) => !model.labels && !model.fills);
  const [name, setName] = useState(null);
  const chosen = writers.find((model) => model.id === name);
  const model = chosen ?? writers.find((each) => each.chats) ?? writers[0];
  const tabs = {};
  if (model) Object.assign(tabs, { Chat, Write, Look });
  if (asked.Classify.length) Object.assign(tabs, { Classify });
  if (asked.Fill.length) Object.assign(tabs, { Fill });
  const names = Object.keys(tabs);
  const [tab, setTab] = useState(() => firstTab(names, model));
  const list = useRef(null);

  function show(chosenTab) {
    setTab(chosenTab);
    history.replaceState(null, "", `#${chosenTab.toLowerCase()}`);
  }

  function press(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const count = names.length;
    const next = (names.indexOf(tab) + step + count) % count;
    show(names[next]);
    list.current.children[next].focus();
  }

  return html`
    <header>
      <h1>keras_llm</h1>
      <div class="tabs" role="tablist" aria-label="What to do" ref=${list} onKeyDown=${press}>
        ${names.map(
          (each) => html`
            <button
              key=${each}
              type="button"
              role="tab"
              id=${`tab-${each}`}
              aria-controls=${`panel-${each}`}
              aria-selected=${each === tab ? "true" : "false"}
              tabindex=${each === tab ? 0 : -1}
              onClick=${() => show(each)}
            >
              ${each}
            </button>
          `,
        )}
      </div>
      ${model &&
      html`<${Which} models=${writers} model=${model} onChange=${setName} />`}
    </header>
    <main>
      ${names.map(
        (each) => html`
          <section
            key=${each}
            role="tabpanel"
            id=${`panel-${each}`}
            aria-labelledby=${`tab-${each}`}
            hidden=${each !== tab}
          >
            <${tabs[each]}
              key=${each === "Look" && model.id}
              model=${model}
              models=${asked[each]}
              say=${say}
              onNewVersion=${onNewVersion}
            />
          </section>
        `,
      )}
    </main>
  `;
}

function firstTab(names, model) {
  const asked = location.hash.slice(1);
  const found = names.find((name) => name.toLowerCase() === asked);
  return found ?? (model && !model.chats ? "Write" : names[0]);
}

function Which({ models, model, onChange }) {
  if (models.length === 1) {
    return html`<p class="which" title="The model, and its version">
      ${model.id} <span>${model.version}</span>
    </p>`;
  }
  return html`
    <label class="which">
      <span class="hidden">Model</span>
      <select value=${model.id} onChange=${(event) => onChange(event.target.value)}>
        ${models.map(
          ({ id }) => html`<option key=${id} value=${id}>${id}</option>`,
        )}
      </select>
      <span>${model.version}</span>
    </label>
  `;
}

render(html`<${Page} />`, document.getElementById("page"));
