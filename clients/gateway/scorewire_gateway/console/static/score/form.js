// A form made from a schema: one field for each feature.

import { h, newId } from "../dom.js";
import { Field } from "../parts/field.js";
import { hint, parse, shown } from "./values.js";

const FILTER_FROM = 13;

/** The fields of a schema, their values and their errors. */
export class RowForm {
  /**
   * @param {Array} features
   * @param {() => void} onChange called when a value changes
   */
  constructor(features, onChange) {
    this.fields = features.map((feature) => new FeatureField(feature, onChange));
    const grid = h("div", { class: "fields" }, this.fields.map((field) => field.element));
    this.element = h("div", {}, features.length >= FILTER_FROM ? this.#filter() : null, grid);
  }

  /** Puts a row into the fields. */
  fill(row) {
    for (const field of this.fields) field.text = shown(row[field.feature.name]);
  }

  /** The row that the fields say, without missing values; errors are shown only by `check`. */
  row() {
    const row = {};
    for (const field of this.fields) {
      const { value } = parse(field.feature, field.text);
      if (value !== undefined) row[field.feature.name] = value;
    }
    return row;
  }

  /** Shows what is wrong with the fields, and moves to the first that is. Returns whether all are right. */
  check() {
    for (const field of this.fields) field.showError(parse(field.feature, field.text).error ?? "");
    return this.#moveToError();
  }

  /**
   * Shows errors of the server beside their fields.
   * @param {Array<{feature: string, message: string}>} errors
   * @returns {Array} the errors that belong to no field
   */
  showErrors(errors) {
    const rest = [];
    for (const error of errors) {
      const field = this.fields.find((each) => each.feature.name === error.feature);
      if (field) field.showError(error.message);
      else rest.push(error);
    }
    this.#moveToError();
    return rest;
  }

  #moveToError() {
    const wrong = this.fields.find((field) => field.hasError);
    if (wrong) {
      wrong.element.hidden = false;
      wrong.input.focus();
    }
    return !wrong;
  }

  #filter() {
    const id = newId("field-filter");
    const input = h("input", { id, type: "search", placeholder: `Filter ${this.fields.length} features`, oninput: () => {
      const wanted = input.value.trim().toLowerCase();
      for (const field of this.fields) field.element.hidden = !field.feature.name.toLowerCase().includes(wanted);
    } });
    return h("div", { class: "search" }, h("label", { class: "unseen", for: id }, "Filter features by name"), input);
  }
}

class FeatureField extends Field {
  constructor(feature, onChange) {
    const known = feature.known_texts ?? [];
    const listId = known.length > 0 ? newId("known") : null;
    const attributes = {
      name: feature.name,
      autocomplete: "off",
      spellcheck: "false",
      placeholder: feature.missing_allowed ? "missing" : "",
      "aria-required": feature.missing_allowed ? null : "true",
      oninput: () => { this.showError(""); onChange(); },
    };
    const told = hint(feature);
    const isLong = feature.kind === "text" && feature.vocabulary_size === 0;
    const input = isLong
      ? h("textarea", { ...attributes, rows: 1 })
      : h("input", { ...attributes, type: "text", inputmode: feature.kind === "number" ? "decimal" : null, list: listId });
    super(feature.name, input, {
      beside: h("span", { class: "field-kind" }, feature.kind, feature.missing_allowed ? null : h("span", { class: "needed" }, " needed")),
      hint: [feature.description, feature.description && told ? ". " : "", told],
      more: listId ? h("datalist", { id: listId }, known.map((text) => h("option", { value: text }))) : null,
    });
    this.feature = feature;
  }

  get text() {
    return this.input.value;
  }

  set text(value) {
    this.input.value = value;
    this.showError("");
  }
}
