// Two versions of a model against each other, as `scorewire models compare` compares them.

import { get, pathOf } from "../api.js";
import { h, newId, replace } from "../dom.js";
import { count, number, percent, probability, seconds, short } from "../format.js";
import { quantile } from "../histogram.js";
import { hasComparison } from "../models.js";
import { badge } from "../parts/badge.js";
import { histogramChart } from "../parts/chart.js";
import { modelHead } from "../parts/model_head.js";
import { notice, skeleton } from "../parts/notice.js";
import { problem } from "../parts/problem.js";
import { table } from "../parts/table.js";
import { every } from "../refresh.js";
import { link } from "../router.js";

const SECONDS = 5;
// What a comparison takes besides the time in which it counts.
const MARGIN_MS = 30_000;
const WINDOWS = [["", "all since loading"], ["10", "next 10 seconds"], ["60", "next 60 seconds"]];

export async function render(page, { parameters: { model }, query, signal, reload }) {
  const { models } = await get("models", { signal });
  const status = models.find((each) => each.name === model);
  if (!status) throw new Error(`The server has no model ${model}.`);
  const versions = status.versions.filter((each) => each.state === "serving").map((each) => each.version);
  const chosen = { a: query.get("a") ?? "", b: query.get("b") ?? "", seconds: query.get("seconds") ?? "" };
  const result = h("div", { "aria-busy": "true" }, skeleton());
  replace(page, modelHead(model, "comparison"), versions.length > 1 ? picker(model, versions, chosen) : null, result);
  if (versions.length < 2) {
    return replace(result, notice("empty", "There is one version only", "A comparison needs two versions that serve: share calls out by a split, or send copies to a shadow."));
  }
  if (!hasComparison(status) && !(chosen.a && chosen.b)) {
    return replace(result, notice("empty", "Nothing to compare by itself",
      "This model has neither a split over two versions nor a shadow. Choose two versions that have answered calls without a version.",
      h("code", { class: "command" }, `scorewire models split ${model} ${versions[1]}=90 ${versions[0]}=10`)));
  }
  if (chosen.seconds) replace(result, notice("info", `Counting calls for ${chosen.seconds} seconds`, "The comparison appears when the time is over."));
  let shown = "";
  const read = async () => {
    const found = await get(`${pathOf("models", model)}/comparison`, { query: chosen, signal, timeoutMs: 1000 * Number(chosen.seconds) + MARGIN_MS });
    const text = JSON.stringify(found);
    // Nothing is drawn anew while nothing has changed, so that one can read and select.
    if (text !== shown) replace(result, comparison(found));
    shown = text;
    result.removeAttribute("aria-busy");
  };
  const fail = (error) => {
    shown = "";
    replace(result, error.reason === "NOT_COMPARABLE" ? notice("empty", "Nothing to compare yet", error.message) : problem(error, { reload }));
  };
  if (chosen.seconds) read().catch((error) => { if (!signal.aborted) fail(error); });
  else every(SECONDS, signal, read, fail);
}

function picker(model, versions, chosen) {
  const go = () => {
    location.hash = link(["models", model, "comparison"], { a: a.value, b: b.value, seconds: time.value });
  };
  const choose = (label, value, choices) => {
    const id = newId("choice");
    const select = h("select", { id }, choices.map(([name, text]) => h("option", { value: name, selected: name === value }, text)));
    return [select, h("div", { class: "picker" }, h("label", { for: id }, label), select)];
  };
  const names = [["", "by the routing"], ...versions.map((each) => [each, each])];
  const [a, pickA] = choose("Version A", chosen.a, names);
  const [b, pickB] = choose("Version B", chosen.b, names);
  const [time, pickTime] = choose("Calls", chosen.seconds, WINDOWS);
  return h("form", { class: "toolbar", onsubmit: (event) => { event.preventDefault(); go(); } }, pickA, pickB, pickTime,
    h("button", { type: "submit", class: "button" }, "Compare"));
}

function comparison(found) {
  const series = [found.a, found.b].map((side) => ({ ...side, name: sideName(side) }));
  return [
    verdict(found),
    h("section", { class: "panel" }, h("h2", {}, "Figures"), figures(found)),
    h("div", { class: "charts" },
      h("section", { class: "panel" }, h("h2", {}, "Scores"),
        histogramChart({ title: "Share of rows by score", axis: "score", format: short,
          series: series.map(({ name, scores }) => ({ name, buckets: scores.buckets })) })),
      h("section", { class: "panel" }, h("h2", {}, "Latency"),
        histogramChart({ title: "Share of calls by time in the server", axis: "latency", format: seconds, logarithmic: true,
          series: series.map(({ name, latency_seconds: latency }) => ({ name, buckets: latency.buckets })) })),
    ),
  ];
}

function sideName(side) {
  return side.role === "shadow" ? `${side.version} (shadow)` : side.version;
}

function verdict(found) {
  const differences = [["scores", found.scores], ["errors of calls", found.errors], ["errors of rows", found.row_errors], ["latency", found.latency]]
    .filter(([, each]) => each?.differs).map(([name]) => name);
  if (found.in_doubt) {
    return notice("warning", "The calls were not split by the weights",
      `The numbers of calls do not fit the weights (p ${probability(found.sample_ratio)}), so that the versions may have got different kinds of calls, and no other difference can be trusted.`);
  }
  if (differences.length === 0) {
    return notice("good", "No significant difference", `None of the tests is significant at the level ${found.levels.difference}. That is no proof that the versions are equal: few calls show only large differences.`);
  }
  return notice("info", `The versions differ: ${differences.join(", ")}`, `Significant at the level ${found.levels.difference}.`);
}

function figures({ a, b, sample_ratio: ratio, errors, row_errors: rowErrors, latency, scores, in_doubt: inDoubt, levels }) {
  const rows = [
    { name: "Weight in the split", of: (side) => (side.weight === null ? "–" : count(side.weight)) },
    { name: "Calls", of: (side) => count(side.calls + side.failed), test: ratio === null ? null : { p_value: ratio, differs: inDoubt, word: inDoubt ? "not by the weights" : "by the weights" }, hint: `level ${levels.sample_ratio}` },
    { name: "Rows", of: (side) => count(side.rows) },
    { name: "Calls that failed", of: (side) => percent(side.error_rate), test: errors },
    { name: "Rows with an error", of: (side) => percent(side.row_error_rate), test: rowErrors },
    { name: "Latency, median", of: (side) => seconds(quantile(side.latency_seconds.buckets, 0.5)), test: latency },
    { name: "Latency, 99 %", of: (side) => seconds(quantile(side.latency_seconds.buckets, 0.99)) },
    { name: "Score, median", of: (side) => number(quantile(side.scores.buckets, 0.5), 4), test: scores },
    { name: "Score, 10 % to 90 %", of: (side) => `${number(quantile(side.scores.buckets, 0.1), 3)} to ${number(quantile(side.scores.buckets, 0.9), 3)}` },
    a.dropped || b.dropped ? { name: "Copies that were skipped", of: (side) => (side.role === "shadow" ? count(side.dropped) : "–") } : null,
  ].filter(Boolean);
  return table("Figures of both versions", [
    { title: "Figure", heading: true, cell: (each) => each.name },
    { title: sideName(a), numeric: true, cell: (each) => each.of(a) },
    { title: sideName(b), numeric: true, cell: (each) => each.of(b) },
    { title: "p", numeric: true, hint: "The probability of such a difference between equal versions", cell: (each) => (each.test ? probability(each.test.p_value) : "–") },
    { title: "Finding", cell: (each) => (each.test ? badge(each.test.word ?? (each.test.differs ? "differs" : "no difference"), each.test.differs ? "warn" : "off") : "–") },
  ], rows);
}
