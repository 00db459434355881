// Calls of the gateway. Every failure is an `ApiError` with a text for people.

const BASE = new URL("../", document.baseURI);
const TIMEOUT_MS = 30_000;
// For events and files, which last as long as they last.
const FOLLOWED_MS = 24 * 3600 * 1000;
const AGAIN_MS = 2_000;

// Kept in this page's memory only: no other page, and no later visit, can read it.
let authorization = "";
let onAuthorization = Promise.withResolvers();

export class ApiError extends Error {
  /**
   * @param {string} message
   * @param {{status?: number, name?: string, reason?: string, violations?: Array, retryAfter?: number}} about
   *     `status` is that of HTTP, 0 if nothing answered.
   */
  constructor(message, { status = 0, name = "", reason = "", violations = [], retryAfter = NaN } = {}) {
    super(message);
    this.status = status;
    this.name = name || "NO_ANSWER";
    this.reason = reason;
    this.violations = violations;
    this.retryAfter = retryAfter;
  }

  /** Whether the gateway itself did not answer. */
  get isGatewayAway() {
    return this.status === 0;
  }

  /** Whether the gateway answered, but the server behind it did not. */
  get isServerAway() {
    return this.status === 502 || this.status === 503 || this.status === 504;
  }

  get needsCredentials() {
    return this.status === 401;
  }

  /** Whether the server knows the caller, who has no right to this. */
  get isForbidden() {
    return this.status === 403;
  }
}

/** Credentials for the calls that follow: what the header `Authorization` says. */
export function setAuthorization(value) {
  authorization = value;
  onAuthorization.resolve();
  onAuthorization = Promise.withResolvers();
}

/** Resolves when credentials are given the next time. */
export function nextAuthorization() {
  return onAuthorization.promise;
}

export function hasAuthorization() {
  return authorization !== "";
}

/** The address of a path of the gateway; `parts` are escaped. */
export function address(path, query = {}) {
  const url = new URL(path, BASE);
  for (const [name, value] of Object.entries(query)) {
    if (value !== "" && value !== null && value !== undefined) url.searchParams.set(name, value);
  }
  return url;
}

/** Joins parts to a path, each of them escaped. */
export function pathOf(...parts) {
  return parts.map(encodeURIComponent).join("/");
}

/** The JSON that a path answers. */
export async function get(path, { query, ...options } = {}) {
  return (await call(address(path, query), options)).json();
}

/** The JSON that answers a JSON body. */
export async function post(path, body, { signal } = {}) {
  const headers = { "Content-Type": "application/json" };
  return (await call(address(path), { method: "POST", body: JSON.stringify(body), headers, signal })).json();
}

/** The response to a request; it is an error unless its status is that of success. */
export async function call(url, { headers = {}, signal, timeoutMs = TIMEOUT_MS, ...options } = {}) {
  const timeout = AbortSignal.timeout(timeoutMs);
  const credentials = authorization ? { Authorization: authorization } : {};
  let response;
  try {
    response = await fetch(url, {
      ...options,
      headers: { Accept: "application/json", ...headers, ...credentials },
      credentials: "same-origin",
      signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(timeout.aborted ? "The gateway did not answer in time." : "The gateway does not answer.");
  }
  if (!response.ok) throw errorOf(response.status, parsed(await response.text()), response.headers.get("Retry-After"));
  return response;
}

/**
 * Follows the events of a path, with the credentials, which an EventSource cannot send. Connects again after the
 * connection broke; ends when `onEvent` returns false, `signal` aborts, or the gateway refuses.
 * @param {(name: string, data: string) => boolean} onEvent
 */
export async function follow(path, signal, onEvent) {
  let last = "";
  while (!signal.aborted) {
    try {
      const headers = { Accept: "text/event-stream", ...(last ? { "Last-Event-ID": last } : {}) };
      const response = await call(address(path), { headers, signal, timeoutMs: FOLLOWED_MS });
      if (response.status === 204) return;
      for await (const event of eventsOf(response.body)) {
        last = event.id || last;
        if (event.data && !onEvent(event.event, event.data)) return;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error.status >= 400 && error.status < 500 && error.status !== 429) throw error;
    }
    await new Promise((resolve) => { setTimeout(resolve, AGAIN_MS); });
  }
}

/** The events of a body of text/event-stream, each as its fields by name. */
async function* eventsOf(body) {
  let text = "";
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (let { value, done } = await reader.read(); !done; { value, done } = await reader.read()) {
      const blocks = (text + value).split("\n\n");
      text = blocks.pop();
      for (const block of blocks) {
        yield Object.fromEntries(block.split("\n").map((line) => line.split(/: (.*)/s, 2)));
      }
    }
  } finally {
    await reader.cancel();
  }
}

/**
 * A handler for a click on a link to a file: with credentials, which a link does not send, the file is fetched and
 * saved. It is never opened, since a page of it would have the rights of this one.
 * @param {string} name the name of the file; "" for that which the gateway gives
 * @param {(error: Error) => void} onError
 */
export function saving(name, onError) {
  return async (event) => {
    if (!authorization) return;
    event.preventDefault();
    const { href } = event.currentTarget;
    try {
      const response = await call(href, { headers: { Accept: "*/*" }, timeoutMs: FOLLOWED_MS });
      const given = /filename="([^"]+)"/.exec(response.headers.get("Content-Disposition") ?? "")?.[1];
      const url = URL.createObjectURL(await response.blob());
      const anchor = document.createElement("a");
      anchor.href = url;
      anchor.download = name || given || "file";
      anchor.click();
      setTimeout(() => URL.revokeObjectURL(url), AGAIN_MS);
    } catch (error) {
      onError(error);
    }
  };
}

/**
 * Sends a file as the body; the JSON of the answer.
 * @param {Array<[string, string]>} query
 * @param {(share: number) => void} onProgress called with the share that was sent, 0 to 1
 */
export function upload(path, file, { query, signal, onProgress }) {
  const url = new URL(path, BASE);
  for (const pair of query) url.searchParams.append(...pair);
  // fetch does not tell how much of a body was sent.
  const request = new XMLHttpRequest();
  request.open("POST", url);
  request.setRequestHeader("Content-Type", file.name.endsWith(".csv") ? "text/csv" : "application/octet-stream");
  if (authorization) request.setRequestHeader("Authorization", authorization);
  signal.addEventListener("abort", () => request.abort(), { once: true });
  request.upload.addEventListener("progress", ({ loaded, total }) => onProgress(total > 0 ? loaded / total : 0));
  return new Promise((resolve, reject) => {
    request.addEventListener("load", () => {
      const answered = parsed(request.responseText);
      if (request.status < 300) resolve(answered);
      else reject(errorOf(request.status, answered, request.getResponseHeader("Retry-After")));
    });
    for (const event of ["error", "abort"]) {
      request.addEventListener(event, () => reject(new ApiError("The connection broke while the file was sent.")));
    }
    request.send(file);
  });
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    // A proxy in front of the gateway answers in its own words.
    return {};
  }
}

function errorOf(status, answered, retryAfter) {
  const error = answered.error ?? {};
  return new ApiError(error.message ?? `The gateway answered with the status ${status}.`, {
    status,
    name: error.status,
    reason: error.reason,
    violations: error.violations,
    retryAfter: Number(retryAfter ?? NaN),
  });
}
