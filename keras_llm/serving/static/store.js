/**
 * Conversations, kept in the browser. Knows nothing of how they look.
 *
 * A conversation is a tree of messages: an edited message and a new answer are
 * branches, of which one is shown. Each conversation is kept under its own
 * name, and a window is told what another one has kept.
 */

const PREFIX = "keras_llm.conversation.";
const DRAFTS = "keras_llm.drafts";
export const ROOT = "root";

export const newId = () => crypto.getRandomValues(new Uint32Array(2)).join("-");

export function newConversation(settings = {}) {
  return {
    id: newId(),
    title: "",
    created: now(),
    changed: now(),
    system: "",
    settings: { ...settings },
    messages: { [ROOT]: { id: ROOT, children: [], shown: 0 } },
  };
}

export const now = () => new Date().toISOString();

/** Adds a branch under a message, and shows it. */
export function add(conversation, parent, message) {
  const id = newId();
  const { children } = conversation.messages[parent];
  const added = { id, parent, children: [], shown: 0, time: now(), ...message };
  conversation.messages[id] = added;
  conversation.messages[parent].shown = children.push(id) - 1;
  if (!conversation.title && message.role === "user") {
    conversation.title = message.content.trim().slice(0, 48);
  }
  return added;
}

/** Takes away a message that nothing came after. */
export function remove(conversation, { id, parent }) {
  const siblings = conversation.messages[parent];
  siblings.children = siblings.children.filter((child) => child !== id);
  siblings.shown = Math.max(siblings.children.length - 1, 0);
  delete conversation.messages[id];
}

/** The messages that are shown, from the first. */
export function shown(conversation) {
  const found = [];
  let message = conversation.messages[ROOT];
  while (message.children.length) {
    message = conversation.messages[message.children[message.shown]];
    found.push(message);
  }
  return found;
}

/** Which branch a message is, and of how many. */
export function branch(conversation, message) {
  const { children, shown: index } = conversation.messages[message.parent];
  return { index, count: children.length };
}

export function showBranch(conversation, message, index) {
  conversation.messages[message.parent].shown = index;
}

/**
 * What the server is told before a message is answered.
 *
 * The system prompt may have been another when it was.
 */
export function asked(conversation, id, system = conversation.system) {
  const found = [];
  for (let at = id; at !== ROOT; at = conversation.messages[at].parent) {
    const { role, content } = conversation.messages[at];
    found.unshift({ role, content });
  }
  const content = system.trim();
  return content ? [{ role: "system", content }, ...found] : found;
}

/** All of a conversation, to be written to a file. */
export function exported(conversation) {
  const { [ROOT]: root, ...messages } = conversation.messages;
  const last = shown(conversation).at(-1);
  return {
    format: "keras_llm conversation 1",
    exported: now(),
    title: conversation.title,
    created: conversation.created,
    system: conversation.system,
    settings: conversation.settings,
    messages: last ? asked(conversation, last.id, last.system) : [],
    first: root.children,
    tree: Object.values(messages),
  };
}

/** Newest first; what cannot be read is left where it is. */
export function loadConversations() {
  const found = [];
  try {
    for (const name of Object.keys(localStorage)) {
      if (!name.startsWith(PREFIX)) continue;
      const conversation = parsed(localStorage.getItem(name));
      if (conversation?.messages?.[ROOT]) found.push(conversation);
    }
  } catch {
    // No storage: conversations last as long as the window.
  }
  return found.sort((a, b) => (a.changed < b.changed ? 1 : -1));
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/**
 * Calls back with the id and the conversation that another window has kept,
 * or null where it has deleted it. Returns what ends that.
 */
export function watch(onKept) {
  const look = ({ key, newValue }) => {
    if (!key?.startsWith(PREFIX)) return;
    const theirs = newValue === null ? null : parsed(newValue);
    if (newValue === null || theirs) onKept(key.slice(PREFIX.length), theirs);
  };
  addEventListener("storage", look);
  return () => removeEventListener("storage", look);
}

/** Returns whether it could be kept. */
export function save(conversation) {
  return put(PREFIX + conversation.id, conversation);
}

export function forget(conversation) {
  try {
    localStorage.removeItem(PREFIX + conversation.id);
  } catch {
    // Nothing was kept.
  }
}

/** What was typed elsewhere on the page. */
export function draft(name) {
  try {
    return parsed(localStorage.getItem(DRAFTS))?.[name];
  } catch {
    return undefined;
  }
}

export function keepDraft(name, value) {
  try {
    const drafts = parsed(localStorage.getItem(DRAFTS)) ?? {};
    return put(DRAFTS, { ...drafts, [name]: value });
  } catch {
    return false;
  }
}

function put(name, value) {
  try {
    localStorage.setItem(name, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}
