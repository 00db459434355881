// What the gateway says of itself and of the server, asked every few seconds while the page is seen.

import { get } from "./api.js";
import { h, replace } from "./dom.js";
import { every } from "./refresh.js";

const SECONDS = 10;

let last = null;

/** The last answer of /status; null before the first one. */
export function lastStatus() {
  return last;
}

/** Whether a part of the gateway is on: "records", "files" or "jobs". */
export function hasPart(part) {
  return last?.gateway?.parts?.includes(part) ?? false;
}

/**
 * Shows in an element whether the server answers, from now on. Resolves when the first attempt to ask is over.
 * @param {HTMLElement} element
 * @param {(status: Object|null) => void} onStatus called with each answer
 */
export function watchStatus(element, onStatus) {
  let told = "";
  const { promise, resolve } = Promise.withResolvers();
  const show = (kind, text) => {
    // A live region speaks when it changes, so it changes only if there is news.
    if (text !== told) replace(element, h("span", { class: `health-dot health-${kind}`, "aria-hidden": "true" }), h("span", { class: "health-text" }, text));
    told = text;
  };
  every(SECONDS, new AbortController().signal, async () => {
    last = await get("status");
    onStatus(last);
    show("good", "Serving");
    resolve();
  }, (error) => {
    if (error.needsCredentials) show("off", "Token needed");
    else if (error.isForbidden) show("off", "Not allowed");
    else if (error.status === 429) show("off", "Too many calls");
    else show("bad", error.isGatewayAway ? "Gateway away" : "Server away");
    resolve();
  });
  return promise;
}
