/** Conversations: the list, the one that is shown, and the next message. */

import { stream } from "./api.js";
import { Message } from "./message.js";
import { parameters, Settings } from "./settings.js";
import {
  ROOT,
  add,
  asked,
  exported,
  forget,
  loadConversations,
  newConversation,
  now,
  remove as drop,
  save,
  showBranch,
  shown,
  watch,
} from "./store.js";
import {
  focusOn,
  html,
  useEffect,
  useLayoutEffect,
  useReducer,
  useRef,
  useState,
} from "./ui.js";

const SAVE_MS = 1000; // while an answer is written

export function Chat({ model, say, onNewVersion }) {
  const [, update] = useReducer((count) => count + 1, 0);
  const [problem, setProblem] = useState(null);
  const state = useRef(null);
  state.current ??= begin();
  const { all, current, running } = state.current;

  function keep(conversation) {
    conversation.changed = now();
    const isKept = save(conversation);
    setProblem(
      isKept ? null : "The browser has no room to keep this. Export it.",
    );
    update();
  }

  useEffect(() => watch((id, theirs) => {
    const { all, running } = state.current;
    if (running?.conversation.id === id) return; // ours is kept again soon
    const index = all.findIndex((each) => each.id === id);
    if (index >= 0) all.splice(index, 1);
    if (theirs) all.splice(Math.max(index, 0), 0, theirs);
    if (!all.length) all.push(newConversation());
    if (state.current.current.id === id) {
      state.current.current = theirs ?? all[0];
    }
    update();
  }), []);

  function select(conversation) {
    state.current.current = conversation;
    update();
  }

  function start() {
    const unused = all.find((each) => !shown(each).length);
    const fresh = unused ?? newConversation(current.settings);
    if (!unused) all.unshift(fresh);
    select(fresh);
  }

  function remove() {
    if (!confirm("Delete this conversation with all its branches?")) return;
    forget(current);
    all.splice(all.indexOf(current), 1);
    if (!all.length) all.push(newConversation(current.settings));
    select(all[0]);
  }

  async function answer(conversation, parent) {
    const used = parameters(conversation.settings);
    const message = add(conversation, parent, {
      role: "assistant",
      content: "",
      model: model.id,
      version: "",
      system: conversation.system,
      parameters: used,
    });
    const controller = new AbortController();
    state.current.running = { conversation, message, controller };
    keep(conversation);
    say("The model is answering.");
    try {
      const body = {
        model: model.id,
        messages: asked(conversation, parent),
        truncation: "auto",
        stream_options: { include_usage: true },
        ...used,
      };
      let saved = performance.now();
      for await (const _ of read(message, body, controller.signal)) {
        update();
        if (performance.now() - saved > SAVE_MS) {
          saved = performance.now();
          save(conversation);
        }
      }
    } catch (error) {
      if (controller.signal.aborted) message.finish = "stopped";
      else message.error = error.message;
    }
    state.current.running = null;
    keep(conversation);
    say(message.error ?? `The answer: ${message.content}`);
    if (message.version && message.version !== model.version) onNewVersion();
  }

  function send(text) {
    const question = { role: "user", content: text };
    answer(current, add(current, place(current), question).id);
  }

  return html`
    <div class="chat">
      <${List}
        all=${all}
        current=${current}
        onSelect=${select}
        onNew=${start}
      />
      <div class="conversation">
        ${problem && html`<p class="error" role="alert">${problem}</p>`}
        <${Options}
          conversation=${current}
          model=${model}
          onChanged=${() => keep(current)}
          onRemove=${remove}
          isBusy=${Boolean(running)}
        />
        ${!model.chats &&
        html`<p class="notice">
          ${model.id} has no chat template: it continues texts and does not
          answer. Use Write, or tune it on conversations.
        </p>`}
        <${Messages}
          conversation=${current}
          running=${running}
          onBranch=${(message, index) => {
            const { children, shown } = current.messages[message.parent];
            showBranch(current, message, index);
            keep(current);
            const turns = `#message-${children[index]} .branches`;
            const order = index < shown ? "first" : "last";
            focusOn(
              `${turns} button:${order}-child:enabled`,
              `${turns} button:enabled`,
            );
          }}
          onEdit=${(message, text) => {
            const question = { role: "user", content: text };
            answer(current, add(current, message.parent, question).id);
            focusOn("#question");
          }}
          onRetry=${(message) => {
            // An answer without a word is no branch worth keeping.
            if (!message.content.trim()) drop(current, message);
            answer(current, message.parent);
            focusOn("#question");
          }}
          onChanged=${() => keep(current)}
          say=${say}
        />
        <${Composer}
          key=${current.id}
          conversation=${current}
          canSend=${model.chats && !running}
          onSend=${send}
          onStop=${running && (() => running.controller.abort())}
        />
      </div>
    </div>
  `;
}

function begin() {
  const kept = loadConversations();
  const all = kept.length ? kept : [newConversation()];
  return { all, current: all[0], running: null };
}

/** Fills a message with its answer; yields whenever there is more of it. */
async function* read(message, body, signal) {
  const begun = performance.now();
  message.tokens = 0;
  const path = "v1/chat/completions";
  const { version, events } = await stream(path, body, signal);
  message.version = version;
  for await (const several of events) {
    for (const { choices, usage, system_fingerprint } of several) {
      message.version = system_fingerprint ?? message.version;
      const text = choices[0]?.delta.content;
      if (text) {
        message.content += text;
        message.tokens += 1; // about; the usage tells at the end
      }
      message.finish = choices[0]?.finish_reason ?? message.finish;
      message.tokens = usage?.completion_tokens ?? message.tokens;
    }
    message.seconds = (performance.now() - begun) / 1000;
    yield;
  }
}

/** Where the next message goes: after an answer, or beside a question that
 * has none, because a conversation goes in turns. */
function place(conversation) {
  const last = shown(conversation).at(-1);
  if (!last) return ROOT;
  if (last.role === "user") return last.parent;
  if (last.content.trim()) return last.id;
  return conversation.messages[last.parent].parent;
}

function List({ all, current, onSelect, onNew }) {
  const entry = (conversation) => html`
    <li key=${conversation.id}>
      <button
        type="button"
        aria-current=${conversation === current ? "true" : null}
        onClick=${() => onSelect(conversation)}
      >
        ${conversation.title || "New conversation"}
      </button>
    </li>
  `;
  return html`
    <nav class="list" aria-label="Conversations">
      <button type="button" onClick=${onNew}>New conversation</button>
      <ul>
        ${all.map(entry)}
      </ul>
    </nav>
  `;
}

function Options({ conversation, model, onChanged, onRemove, isBusy }) {
  const change = (values) => {
    Object.assign(conversation, values);
    onChanged();
  };
  return html`
    <details class="options">
      <summary>System prompt and settings</summary>
      <label>
        <span>System prompt</span>
        <textarea
          rows="2"
          placeholder="What the model is told before the conversation"
          value=${conversation.system}
          onInput=${(event) => change({ system: event.target.value })}
        ></textarea>
      </label>
      <${Settings}
        name="chat"
        values=${conversation.settings}
        onChange=${(settings) => change({ settings })}
      />
      ${model.context_length &&
      html`<p class="hint">
        The model reads ${model.context_length} tokens at most. Of a longer
        conversation it forgets the oldest questions with their answers.
      </p>`}
      <div class="actions">
        <button type="button" onClick=${() => download(conversation)}>
          Export as JSON
        </button>
        <button type="button" disabled=${isBusy} onClick=${onRemove}>
          Delete
        </button>
      </div>
    </details>
  `;
}

function download(conversation) {
  const text = JSON.stringify(exported(conversation), null, 2);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text]));
  link.download = `conversation-${conversation.created.slice(0, 10)}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

function Messages(props) {
  const { conversation, running, onBranch, onEdit, onRetry } = props;
  const end = useRef(null);
  const isAtEnd = useRef(true);
  useLayoutEffect(() => {
    const look = () => {
      const left = document.documentElement.scrollHeight - scrollY;
      isAtEnd.current = left - innerHeight < 80;
    };
    addEventListener("scroll", look, { passive: true });
    return () => removeEventListener("scroll", look);
  }, []);
  useLayoutEffect(() => {
    if (running && isAtEnd.current) end.current.scrollIntoView(false);
  });
  const messages = shown(conversation);
  if (!messages.length) {
    return html`
      <div class="empty" ref=${end}>
        <p>Ask the model something.</p>
      </div>
    `;
  }
  return html`
    <ol class="messages" aria-label="Messages">
      ${messages.map(
        (message) => html`
          <${Message}
            key=${message.id}
            conversation=${conversation}
            message=${message}
            isWriting=${running?.message === message}
            isBusy=${Boolean(running)}
            onBranch=${(index) => onBranch(message, index)}
            onEdit=${(text) => onEdit(message, text)}
            onRetry=${() => onRetry(message)}
            onChanged=${props.onChanged}
            say=${props.say}
          />
        `,
      )}
    </ol>
    <div class="end" ref=${end}></div>
  `;
}

function Composer({ conversation, canSend, onSend, onStop }) {
  const [text, setText] = useState(conversation.draft ?? "");
  const field = useRef(null);
  function type(typed) {
    conversation.draft = typed;
    setText(typed);
    save(conversation);
  }
  function send(event) {
    event.preventDefault();
    if (!canSend || !text.trim()) return;
    type("");
    onSend(text);
  }
  function stop() {
    onStop();
    field.current.focus();
  }
  function press(event) {
    const isPlain = event.key === "Enter" && !event.shiftKey;
    if (isPlain && !event.isComposing) send(event);
  }
  return html`
    <form class="composer" onSubmit=${send}>
      <label class="hidden" for="question">Your message</label>
      <textarea
        id="question"
        ref=${field}
        rows="2"
        placeholder="Your message (Shift+Enter for a new line)"
        value=${text}
        onInput=${(event) => type(event.target.value)}
        onKeyDown=${press}
      ></textarea>
      ${onStop
        ? html`<button key="stop" type="button" class="main" onClick=${stop}>
            Stop
          </button>`
        : html`<button
            key="send"
            type="submit"
            class="main"
            disabled=${!canSend || !text.trim()}
          >
            Send
          </button>`}
    </form>
  `;
}
