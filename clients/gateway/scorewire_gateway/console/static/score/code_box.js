// Programs in several languages, one of which is shown.

import { h, newId, replace } from "../dom.js";
import { copyButton } from "../parts/copy.js";

/** A box with `element` and `show([[name, text], ...])`. */
export function codeBox() {
  let texts = [];
  let chosen = 0;
  const name = newId("language");
  const choices = h("div", { class: "choices", role: "radiogroup", "aria-label": "Language" });
  const code = h("code", {});
  const block = h("pre", { class: "code", tabindex: "0", role: "region", "aria-label": "Program" }, code);
  const show = () => { code.textContent = texts[chosen]?.[1] ?? ""; };
  return {
    element: h("div", { class: "code-box" }, h("div", { class: "code-head" }, choices, copyButton(() => texts[chosen][1], { what: "the program" })), block),
    show(found) {
      const isNew = texts.length !== found.length;
      texts = found;
      if (isNew) replace(choices, found.map(([title], index) => choice(name, title, index === chosen, () => { chosen = index; show(); })));
      show();
    },
  };
}

function choice(name, title, checked, onChoose) {
  return h("label", { class: "choice" }, h("input", { type: "radio", name, checked, onchange: onChoose }), h("span", {}, title));
}
