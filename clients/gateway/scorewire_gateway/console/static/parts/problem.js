// A failure, told so that one knows what to do.

import { hasAuthorization, setAuthorization } from "../api.js";
import { h, newId } from "../dom.js";
import { notice } from "./notice.js";

/**
 * The message for an error.
 * @param {Error} error
 * @param {{reload?: () => void}} options what "Try again" does
 */
export function problem(error, { reload } = {}) {
  if (error.needsCredentials) return signIn(error, reload);
  if (error.status === 404) {
    return notice("error", titleOf(error), textOf(error), h("a", { class: "button", href: "#/" }, "All models"));
  }
  const again = reload ? h("button", { type: "button", class: "button", onclick: () => reload() }, "Try again") : null;
  return notice("error", titleOf(error), textOf(error), again);
}

function titleOf(error) {
  if (error.isGatewayAway) return "The gateway does not answer";
  if (error.isServerAway) return "The server does not answer";
  if (error.status === 404) return "Not found";
  if (error.status === 403) return "Not allowed";
  if (error.status === 429) return "Too many calls";
  return "This did not work";
}

function textOf(error) {
  if (error.isGatewayAway) return `${error.message} Is it running, and can this machine reach it?`;
  if (error.isServerAway) return `The gateway runs, but it got no answer from the server of the models: ${error.message}`;
  if (error.reason === "PERMISSION_DENIED") return `${error.message}. To show another token, load the page again.`;
  return error.message;
}

function signIn(error, reload) {
  const id = newId("token");
  const input = h("input", { id, type: "password", name: "token", autocomplete: "off", required: true, spellcheck: "false" });
  const form = h("form", { class: "sign-in", onsubmit: (event) => {
    event.preventDefault();
    const text = input.value.trim();
    setAuthorization(text.includes(" ") ? text : `Bearer ${text}`);
    reload?.();
  } },
    h("label", { for: id }, "Token"),
    h("div", { class: "field-row" }, input, h("button", { type: "submit", class: "button button-main" }, "Go on")),
    h("p", { class: "hint" }, "It is sent as the header Authorization, and kept in this page's memory only: until you reload it."),
  );
  const title = hasAuthorization() ? "The server does not take this token" : "The server wants to know who you are";
  return notice("warning", title, error.message, form);
}
