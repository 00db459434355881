// A field of a form, with its hint and its error.

import { h, newId, replace } from "../dom.js";

/** A label, an input, a hint, and the error that stands below them. */
export class Field {
  #error;

  /**
   * @param {string} label
   * @param {HTMLElement} input
   * @param {{beside?: any, hint?: any, more?: any}} options `beside` stands beside the label, `more` below the input
   */
  constructor(label, input, { beside = null, hint = null, more = null } = {}) {
    const id = newId("field");
    input.id = id;
    input.setAttribute("aria-describedby", `${id}-hint ${id}-error`);
    this.input = input;
    this.#error = h("p", { id: `${id}-error`, class: "field-error" });
    this.element = h("div", { class: "field" },
      h("div", { class: "field-head" }, h("label", { for: id }, label), beside),
      input, more, h("p", { id: `${id}-hint`, class: "hint" }, hint), this.#error);
  }

  get hasError() {
    return this.#error.textContent !== "";
  }

  /** Shows an error, or none for an empty text. */
  showError(message) {
    replace(this.#error, message);
    this.element.classList.toggle("field-wrong", message !== "");
    if (message) this.input.setAttribute("aria-invalid", "true");
    else this.input.removeAttribute("aria-invalid");
  }
}
