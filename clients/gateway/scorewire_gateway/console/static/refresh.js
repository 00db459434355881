// Runs something again and again while a view is shown and seen.

import { nextAuthorization } from "./api.js";

const SLOWEST_S = 60;

/**
 * Runs `task` now and then every few seconds, until `signal` aborts. A page that is hidden waits. After a failure,
 * the wait doubles each time, up to a minute; where credentials are missing, it lasts until there are some.
 * @param {number} seconds
 * @param {AbortSignal} signal
 * @param {() => Promise<void>} task
 * @param {(error: Error) => void} onError
 */
export async function every(seconds, signal, task, onError) {
  let wait = seconds;
  while (!signal.aborted) {
    try {
      await task();
      wait = seconds;
    } catch (error) {
      if (signal.aborted) return;
      onError(error);
      wait = Math.min(2 * wait, SLOWEST_S);
      // Nothing may draw over the form in which somebody writes a token.
      if (error.needsCredentials) {
        await Promise.race([nextAuthorization(), aborted(signal)]);
        continue;
      }
    }
    await pause(wait, signal);
    await seen(signal);
  }
}

function pause(seconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
  });
}

function aborted(signal) {
  return new Promise((resolve) => { signal.addEventListener("abort", resolve, { once: true }); });
}

function seen(signal) {
  if (document.visibilityState === "visible") return Promise.resolve();
  return new Promise((resolve) => {
    document.addEventListener("visibilitychange", () => resolve(), { once: true, signal });
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
