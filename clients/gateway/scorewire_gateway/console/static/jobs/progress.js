// A bar that tells how far something is.

import { h } from "../dom.js";

/** A bar with `element` and `set(share, text)`; `share` is 0 to 1. */
export function progressBar(share, label) {
  const bar = h("div", { class: "progress-bar" });
  const frame = h("div", { class: "progress", role: "progressbar", "aria-label": label, "aria-valuemin": 0, "aria-valuemax": 100 }, bar);
  const text = h("span", { class: "hint" });
  const set = (now, words) => {
    const percent = Math.round(Math.min(1, Math.max(0, now)) * 100);
    bar.style.width = `${percent}%`;
    frame.setAttribute("aria-valuenow", percent);
    text.textContent = words;
  };
  set(share, "");
  return { element: h("div", { class: "progress-line" }, frame, text), set };
}
