// What a page says where it has nothing else to show.

import { h } from "../dom.js";

/**
 * A message with a title, a text and what one can do.
 * @param {"empty"|"info"|"good"|"warning"|"error"} kind
 */
export function notice(kind, title, text, ...actions) {
  return h("section", { class: `notice notice-${kind}`, role: kind === "error" ? "alert" : null },
    h("p", { class: "notice-title" }, title),
    text ? h("p", {}, text) : null,
    actions.length > 0 ? h("div", { class: "notice-actions" }, actions) : null,
  );
}

/** Grey bars that stand for a page that is on its way. */
export function skeleton() {
  return h("div", { class: "skeleton" },
    h("p", { class: "unseen", role: "status" }, "Loading"),
    Array.from({ length: 3 }, () => h("div", { class: "skeleton-bar", "aria-hidden": "true" })),
  );
}
