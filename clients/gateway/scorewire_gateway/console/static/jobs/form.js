// The form of a new job: the table, and the settings that its kind has.

import { h } from "../dom.js";
import { Field } from "../parts/field.js";

const MODELS = [["repurchase", "Repurchase"], ["game-revenue", "Game revenue"]];
const KINDS = [["train", "Train a model"], ["features", "Make features only"]];

// Settings by name, as `scorewire train` has them: label, hint, and for what they are.
const SETTINGS = [
  { name: "version", label: "Version", hint: "of the new bundle, such as 1.2.0", kinds: ["train"] },
  { name: "trials", label: "Trials", hint: "settings of each kind of model that are tried", kinds: ["train"] },
  { name: "seed", label: "Seed", hint: "a whole number; the same seed gives the same model", kinds: ["train"] },
  { name: "date_format", label: "Format of dates", hint: "such as %d/%m/%Y", models: ["repurchase"] },
  { name: "cut", label: "Cutoff", hint: "the day that features end at", models: ["repurchase"] },
  { name: "horizon_days", label: "Horizon in days", hint: "days after the cutoff that the label covers", models: ["repurchase"] },
  { name: "column", label: "Columns", hint: "MEANING=NAME, one in a line, for columns with other names than usual", lines: true },
  { name: "delimiter", label: "Delimiter", hint: "between the fields of a CSV file; found out unless given" },
  { name: "decimal", label: "Decimal separator", hint: "in numbers of a CSV file; found out unless given" },
  { name: "encoding", label: "Encoding", hint: "of a CSV file, such as utf-8 or latin-1; found out unless given" },
];

/** The form; `element` is in no `form` yet. */
export class JobForm {
  constructor() {
    this.kind = new SettingField("kind", "What", h("select", {}, options(KINDS)));
    this.model = new SettingField("model", "Use case", h("select", {}, options(MODELS)),
      "which customers buy again, or what the new users of a game will pay");
    this.table = new SettingField("file", "Table", h("input", { type: "file", accept: ".csv,.parquet", required: true }), "a CSV or Parquet file");
    this.settings = SETTINGS.map((each) => [each, new SettingField(each.name, each.label,
      each.lines ? h("textarea", { rows: 1, spellcheck: "false" }) : h("input", { type: "text", autocomplete: "off", spellcheck: "false" }), each.hint)]);
    for (const field of [this.kind, this.model]) field.input.addEventListener("change", () => this.#show());
    this.more = h("details", { class: "more" }, h("summary", {}, "Settings"),
      h("div", { class: "fields more-fields" }, this.settings.map(([, field]) => field.element)));
    this.element = h("div", { class: "job-form" },
      h("div", { class: "fields" }, this.kind.element, this.model.element, this.table.element), this.more);
    this.#show();
  }

  /** The table that was chosen. */
  get file() {
    return this.table.input.files[0];
  }

  /** The parameters of the request: pairs, since a column may come several times. */
  query() {
    const found = [["kind", this.kind.input.value], ["model", this.model.input.value], ["name", this.file.name]];
    for (const [{ name, lines }, field] of this.settings) {
      if (field.element.hidden) continue;
      const values = lines ? field.input.value.split("\n") : [field.input.value];
      for (const value of values) if (value.trim()) found.push([name, value.trim()]);
    }
    return found;
  }

  /** Shows what is missing; returns whether nothing is. */
  check() {
    this.#all().forEach((field) => field.showError(""));
    if (!this.file) {
      this.table.showError("Choose a table.");
      this.table.input.focus();
    }
    return Boolean(this.file);
  }

  /** Shows errors of the gateway beside their fields; returns those that belong to none. */
  showErrors(violations) {
    const rest = [];
    let first = null;
    for (const { field: name, description } of violations) {
      const field = this.#all().find((each) => each.name === name || (name === "name" && each === this.table));
      if (!field) rest.push({ field: name, description });
      field?.showError(description);
      first ??= field;
    }
    if (first && this.more.contains(first.input)) this.more.open = true;
    first?.input.focus();
    return rest;
  }

  #all() {
    return [this.kind, this.model, this.table, ...this.settings.map(([, field]) => field)];
  }

  #show() {
    for (const [{ kinds, models }, field] of this.settings) {
      field.element.hidden = !((kinds?.includes(this.kind.input.value) ?? true) && (models?.includes(this.model.input.value) ?? true));
    }
  }
}

class SettingField extends Field {
  constructor(name, label, input, hint = "") {
    super(label, input, { hint });
    this.name = name;
  }
}

function options(choices) {
  return choices.map(([value, text]) => h("option", { value }, text));
}
