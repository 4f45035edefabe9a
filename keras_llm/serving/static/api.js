/** Asks the server: JSON, streams of events, and the key. */

const KEY = "keras_llm.key";
const LOST =
  "The server cannot be reached. Nothing is lost: what you wrote is still " +
  "here. Try again in a moment.";

/** An answer that is an error, or none at all (status 0). */
export class ApiError extends Error {
  constructor(message, status = 0, param = null) {
    super(message);
    this.status = status;
    this.param = param; // the field of the request that is to blame
  }
}

let given = null; // the key, where the browser keeps nothing

export function setKey(key) {
  given = key;
  try {
    sessionStorage.setItem(KEY, key);
  } catch {
    // It lasts as long as the page.
  }
}

function theKey() {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return given;
  }
}

async function ask(path, body, signal) {
  const key = theKey();
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  const options = { headers, signal, cache: "no-store" };
  if (body !== undefined) {
    options.method = "POST";
    options.body = JSON.stringify(body);
    headers["Content-Type"] = "application/json";
  }
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    throw signal?.aborted ? error : new ApiError(LOST);
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

async function refusal(response) {
  const { status } = response;
  if (status === 401) {
    const isRefused = Boolean(theKey());
    dispatchEvent(new CustomEvent("key-needed", { detail: isRefused }));
  }
  try {
    const { error } = await response.json(); // of `:predict` a text
    return new ApiError(error.message ?? error, status, error.param);
  } catch {
    return new ApiError(`The server answered with ${status}.`, status);
  }
}

/** GET without a body, else POST. */
export async function json(path, body) {
  const response = await ask(path, body);
  try {
    return await response.json();
  } catch {
    throw new ApiError(LOST);
  }
}

/**
 * Asks for a stream.
 *
 * Returns {version, events}: which version of the model answers, and an async
 * iterator of lists of events, those that came together in one list.
 */
export async function stream(path, body, signal) {
  const response = await ask(path, { ...body, stream: true }, signal);
  return {
    version: response.headers.get("X-Model-Version") ?? "",
    events: read(response.body.getReader(), signal),
  };
}

async function* read(reader, signal) {
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    let chunk;
    try {
      chunk = await reader.read();
    } catch (error) {
      throw signal?.aborted ? error : new ApiError(LOST);
    }
    if (chunk.done) throw new ApiError("The answer broke off. Try again.");
    rest += decoder.decode(chunk.value, { stream: true });
    const lines = rest.split(/\r?\n/);
    rest = lines.pop();
    const found = [];
    for (const line of lines) {
      if (!line.startsWith("data:")) continue;
      const data = line.slice(5).trim();
      if (data === "[DONE]") {
        yield found;
        return;
      }
      const event = JSON.parse(data);
      if (event.error) {
        yield found;
        throw new ApiError(event.error.message, 500);
      }
      found.push(event);
    }
    if (found.length) yield found;
  }
}
