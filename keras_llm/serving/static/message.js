/** One message of a conversation, and what can be done with it. */

import { json } from "./api.js";
import { asked, branch } from "./store.js";
import { focus, focusOn, html, useState } from "./ui.js";

/**
 * Args:
 *   conversation, message: What is shown.
 *   isWriting: Whether this message is being written.
 *   isBusy: Whether any is.
 *   onBranch(index), onEdit(text), onRetry(), onChanged(): What was asked for.
 *   say(text): Tells a screen reader.
 */
export function Message(props) {
  const { message, isWriting } = props;
  const [open, setOpen] = useState(null);
  const isUser = message.role === "user";
  const name = isUser ? "You" : message.model || "The model";
  const close = () => {
    setOpen(null);
    focusOn(`#message-${message.id} .opens-${open}`);
  };
  return html`
    <li class=${`message ${message.role}`} id=${`message-${message.id}`}>
      <h2>${name}</h2>
      ${open === "edit"
        ? html`<${Editor} ...${props} onClose=${close} />`
        : html`<div class="text">
            ${message.content}${isWriting && html`<span class="caret"></span>`}
          </div>`}
      ${message.error && html`<p class="error" role="alert">${message.error}</p>`}
      ${!isUser && !isWriting && html`<p class="facts">${facts(message)}</p>`}
      ${!isWriting &&
      open !== "edit" &&
      html`<${Actions} ...${props} open=${open} setOpen=${setOpen} />`}
      ${open === "better" && html`<${Better} ...${props} onClose=${close} />`}
    </li>
  `;
}

function facts({ tokens, seconds, finish, version, time }) {
  const found = [];
  if (tokens) {
    const rate = seconds > 0 ? tokens / seconds : 0;
    const shown = rate < 10 ? rate.toFixed(1) : Math.round(rate);
    found.push(`${tokens} tokens`);
    if (rate) found.push(`${shown} tokens a second`);
  }
  if (finish === "length") found.push("cut at the most tokens");
  if (finish === "stopped") found.push("stopped");
  if (version) found.push(`version ${version}`);
  found.push(new Date(time).toLocaleTimeString());
  return found.join(" · ");
}

function Actions(props) {
  const { conversation, message, isBusy, open, setOpen } = props;
  const { index, count } = branch(conversation, message);
  const isUser = message.role === "user";
  const turn = (to, label, sign) => html`
    <button
      type="button"
      class="small"
      aria-label=${label}
      disabled=${isBusy || to < 0 || to >= count}
      onClick=${() => props.onBranch(to)}
    >
      ${sign}
    </button>
  `;
  const button = (label, onClick, more = {}) => html`
    <button type="button" class="small" disabled=${isBusy} onClick=${onClick} ...${more}>
      ${label}
    </button>
  `;
  return html`
    <div class="actions">
      ${count > 1 &&
      html`<span class="branches" role="group" aria-label="Branches">
        ${turn(index - 1, "Branch before", "‹")}
        <span>${index + 1}/${count}</span>
        ${turn(index + 1, "Branch after", "›")}
      </span>`}
      ${isUser
        ? button("Edit", () => setOpen("edit"), { class: "small opens-edit" })
        : button("Retry", props.onRetry)}
      ${!isUser &&
      message.content.trim() &&
      html`
        <${Thumbs} ...${props} />
        ${button(
          "Write the better answer",
          () => setOpen(open === "better" ? null : "better"),
          {
            class: "small opens-better",
            "aria-expanded": open === "better" ? "true" : "false",
          },
        )}
      `}
    </div>
  `;
}

/** Writes feedback down; returns what went wrong, or nothing. */
async function tell({ conversation, message, onChanged, say }, feedback) {
  try {
    await json("v1/feedback", {
      messages: asked(conversation, message.parent, message.system),
      completion: message.content,
      model_version: message.version || null,
      ...feedback,
    });
  } catch (error) {
    return error.message;
  }
  message.feedback = { ...message.feedback, ...feedback };
  onChanged();
  say("Written down.");
  return null;
}

function Thumbs(props) {
  const [error, setError] = useState(null);
  const given = props.message.feedback;
  const thumb = (label, name) => html`
    <button
      type="button"
      class="small thumb"
      aria-label=${name}
      title=${name}
      aria-pressed=${given?.label === label ? "true" : "false"}
      onClick=${async () => setError(await tell(props, { label }))}
    >
      <svg viewBox="0 0 24 24" aria-hidden="true">
        <path
          transform=${label ? "" : "rotate(180 12 12)"}
          d="M3 10h4v10H3zM7 10l4-7c1.6 0 2.5 1 2.5 2.5V9H19a2 2 0 0 1 2 2.3l-1.2 7a2 2 0 0 1-2 1.7H7z"
        />
      </svg>
    </button>
  `;
  return html`
    ${thumb(true, "Good answer")}${thumb(false, "Bad answer")}
    ${given && html`<span class="written">Written down</span>`}
    ${error && html`<span class="error" role="alert">${error}</span>`}
  `;
}

function Better(props) {
  const { message, onClose } = props;
  const [text, setText] = useState(message.content);
  const [error, setError] = useState(null);
  async function send(event) {
    event.preventDefault();
    const failed = await tell(props, { better: text });
    setError(failed);
    if (!failed) onClose();
  }
  return html`
    <form class="better" onSubmit=${send}>
      <${Text} label="The better answer" text=${text} onText=${setText} />
      <p class="hint">
        Change what is wrong. The next version of the model can learn it.
      </p>
      ${error && html`<p class="error" role="alert">${error}</p>`}
      <div class="actions">
        <button
          type="submit"
          class="main"
          disabled=${!text.trim() || text === message.content}
        >
          Write it down
        </button>
        <button type="button" onClick=${onClose}>Cancel</button>
      </div>
    </form>
  `;
}

/** A text that is written, which the keyboard goes to. */
function Text({ label, isHidden, text, onText }) {
  return html`
    <label>
      <span class=${isHidden ? "hidden" : null}>${label}</span>
      <textarea
        ref=${focus}
        rows="3"
        value=${text}
        onInput=${(event) => onText(event.target.value)}
      ></textarea>
    </label>
  `;
}

function Editor({ message, isBusy, onEdit, onClose }) {
  const [text, setText] = useState(message.content);
  function send(event) {
    event.preventDefault();
    onClose();
    if (text !== message.content) onEdit(text);
  }
  return html`
    <form class="better" onSubmit=${send}>
      <${Text}
        label="Your message"
        isHidden=${true}
        text=${text}
        onText=${setText}
      />
      <div class="actions">
        <button type="submit" class="main" disabled=${isBusy || !text.trim()}>
          Send
        </button>
        <button type="button" onClick=${onClose}>Cancel</button>
      </div>
    </form>
  `;
}
