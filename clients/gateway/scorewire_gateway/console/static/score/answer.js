// What a model answered, by output.

import { h } from "../dom.js";
import { asNumber, exact, number, percent, seconds } from "../format.js";
import { badge } from "../parts/badge.js";
import { copyButton } from "../parts/copy.js";
import { facts } from "../parts/table.js";
import { link } from "../router.js";
import { contributionsBlock } from "./contributions.js";
import { hasPart } from "../status.js";

/**
 * The answer to a row.
 * @param {{model: string, version: string, record_id?: string, prediction: Object, score: number,
 *     label?: string, contributions?: Object}} answered
 * @param {{features: Array, outputs: Array}} schema
 * @param {number} roundTrip seconds
 */
export function answer({ version, record_id: record, prediction, score, label, contributions }, { features, outputs }, roundTrip) {
  // "<prediction_id>/<row>"
  const id = record?.split("/")[0];
  return h("div", { class: "answer" },
    h("dl", { class: "heroes" },
      label === undefined ? null : hero("Label", label ?? "–", "figure figure-text"),
      hero("Score", number(score), "figure", exact(score))),
    contributions ? contributionsBlock(contributions, label, features.length) : null,
    outputs.filter((output) => output.name in prediction).map((output) => outputBlock(output, prediction[output.name])),
    facts([
      ["Version", badge(version, "main")],
      ["Round trip", `${seconds(roundTrip)} from this page to the model and back`],
      id ? ["Prediction", [h("span", { class: "code-line" }, hasPart("records") ? h("a", { href: link(["records", id]) }, h("code", {}, id)) : h("code", {}, id),
        copyButton(() => id, { what: "the id of the prediction" }))]] : null,
    ]),
  );
}

function hero(name, value, className, title) {
  return h("div", { class: "hero" }, h("dt", {}, name), h("dd", { class: className, title }, value));
}

function outputBlock(output, value) {
  const values = Array.isArray(value) ? value : [value];
  const body = output.kind === "probability" && values.length > 1
    ? bars(output, values)
    : values.length === 1 ? single(output, values[0]) : list(output, values);
  return h("section", { class: "output" }, h("h3", {}, output.name, " ", h("span", { class: "soft" }, output.kind)), body);
}

function single(output, value) {
  if (output.kind === "text") return h("p", {}, value);
  const label = output.kind === "class" ? output.class_labels[asNumber(value)] : undefined;
  return label === undefined
    ? h("p", { title: exact(value) }, output.kind === "probability" ? percent(value, 4) : number(value))
    : h("p", { title: exact(value) }, label);
}

function list(output, values) {
  return h("ol", { class: "values", start: 0 }, values.map((each) => h("li", {}, output.kind === "text" ? each : number(each))));
}

function bars(output, values) {
  const named = values.map((value, index) => ({ name: output.class_labels[index] ?? String(index), value }));
  const most = named.reduce((best, each) => (asNumber(each.value) > asNumber(best.value) ? each : best), named[0]);
  return h("ul", { class: "probabilities" }, named.map((each) => {
    const bar = h("span", { class: "probability-bar" });
    const share = asNumber(each.value);
    bar.style.width = `${Math.min(100, Math.max(0, Number.isFinite(share) ? share * 100 : 0))}%`;
    return h("li", { class: each === most ? "probability-most" : null },
      h("span", { class: "probability-name" }, each.name),
      h("span", { class: "probability-track", "aria-hidden": "true" }, bar),
      h("span", { class: "probability-value", title: exact(each.value) }, percent(each.value, 4)));
  }));
}
