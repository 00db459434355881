// A button that copies a text.

import { announce, h } from "../dom.js";

const SHOWN_MS = 1500;

/** @param {() => string} text what is copied, asked for when it is. */
export function copyButton(text, { label = "Copy", what = "" } = {}) {
  const button = h("button", { type: "button", class: "button button-small", "aria-label": what ? `${label} ${what}` : null,
    onclick: async () => {
      const done = await copied(text());
      button.textContent = done ? "Copied" : "Press Ctrl+C";
      announce(done ? `Copied ${what}` : "The browser does not let this page copy; select the text and press Ctrl+C");
      setTimeout(() => { button.textContent = label; }, SHOWN_MS);
    } }, label);
  return button;
}

async function copied(text) {
  try {
    // Only there on HTTPS and on this machine's own address.
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copiedBySelection(text);
  }
}

function copiedBySelection(text) {
  const area = h("textarea", { class: "unseen", "aria-hidden": "true", tabindex: "-1" });
  area.value = text;
  const before = document.activeElement;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  before?.focus();
  return done;
}
