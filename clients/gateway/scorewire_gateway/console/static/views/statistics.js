// What every version did on every route, and does now.

import { get } from "../api.js";
import { h, replace } from "../dom.js";
import { count, number, rate, seconds } from "../format.js";
import { quantile } from "../histogram.js";
import { badge } from "../parts/badge.js";
import { sparkline } from "../parts/chart.js";
import { modelHead, pageHead } from "../parts/model_head.js";
import { notice } from "../parts/notice.js";
import { problem } from "../parts/problem.js";
import { table } from "../parts/table.js";
import { every } from "../refresh.js";
import { link } from "../router.js";
import { failures, routeKey } from "../statistics.js";

const SECONDS = 2;
const KEPT = 60;

export async function render(page, { parameters: { model = "" }, signal, reload }) {
  const history = new History();
  const body = h("div", {});
  const failure = h("div", {});
  let isPaused = false;
  const pause = h("button", { type: "button", class: "button", id: "pause", "aria-pressed": "false", onclick: () => {
    isPaused = !isPaused;
    pause.setAttribute("aria-pressed", String(isPaused));
    replace(pause, isPaused ? "Go on" : "Pause");
  } }, "Pause");
  const read = async () => {
    if (isPaused) return;
    const found = await get("stats", { query: { model }, signal });
    history.add(found.statistics);
    replace(failure);
    replace(body, found.statistics.length === 0
      ? notice("empty", "No call was answered yet", "Figures appear with the first call that names a model here.")
      : routes(found.statistics, history, model));
  };
  await read();
  let isFirst = true;
  const readAgain = async () => {
    // The reading above is the first one: rates need some time between two.
    if (!isFirst) await read();
    isFirst = false;
  };
  const note = `Since each version was loaded. Read every ${SECONDS} seconds.`;
  replace(page, model ? modelHead(model, "statistics", pause) : pageHead("Statistics", note, pause), failure, body);
  every(SECONDS, signal, readAgain, (error) => replace(failure, problem(error, { reload })));
}

/** The numbers of calls at the last readings, by route. */
class History {
  #readings = [];

  add(routes) {
    this.#readings.push({ at: performance.now() / 1000, calls: new Map(routes.map((each) => [routeKey(each), each.calls + each.failed])) });
    if (this.#readings.length > KEPT + 1) this.#readings.shift();
  }

  /** Calls a second between each reading and the one before it, NaN where a route is not known. */
  rates(route) {
    const key = routeKey(route);
    return this.#readings.slice(1).map((reading, index) => {
      const before = this.#readings[index];
      const difference = reading.calls.get(key) - (before.calls.get(key) ?? 0);
      // A version that was loaded anew counts from 0.
      return difference < 0 ? NaN : difference / (reading.at - before.at);
    });
  }
}

function routes(found, history, model) {
  return h("section", { class: "panel panel-flush" }, table("Statistics of versions by route", [
    model ? null : { title: "Model", heading: true, cell: (each) => h("a", { id: `go-${routeKey(each)}`, href: link(["models", each.model]) }, each.model) },
    { title: "Version", heading: Boolean(model), cell: (each) => each.version },
    { title: "Route", cell: (each) => (each.shadow ? badge("shadow", "shadow") : each.route ? badge(each.route, "plain") : "default") },
    { title: "Calls/s now", numeric: true, cell: (each) => now(history.rates(each)) },
    { title: "Calls", numeric: true, cell: (each) => count(each.calls) },
    { title: "Rows", numeric: true, cell: (each) => count(each.rows) },
    { title: "Failed calls", numeric: true, cell: (each) => reasons(each.errors) },
    { title: "Row errors", numeric: true, cell: (each) => reasons(each.row_errors) },
    { title: "Median", numeric: true, cell: (each) => seconds(quantile(each.latency_seconds.buckets, 0.5)) },
    { title: "99 %", numeric: true, cell: (each) => seconds(quantile(each.latency_seconds.buckets, 0.99)) },
    { title: "Median score", numeric: true, cell: (each) => number(quantile(each.scores.buckets, 0.5), 4).replace("NaN", "–") },
  ].filter(Boolean), found, { className: "table-dense" }));
}

function now(rates) {
  const last = rates.at(-1) ?? NaN;
  return h("span", { class: "rate" }, sparkline(rates.slice(-30), "Calls a second in the last minute", { width: 72, height: 22 }), h("span", { class: "rate-figure" }, rate(last)));
}

function reasons(byReason) {
  const all = failures(byReason);
  if (all === 0) return "0";
  return h("span", { class: "bad" }, count(all), Object.entries(byReason).map(([reason, each]) => h("small", {}, `${reason.toLowerCase().replaceAll("_", " ")} ${count(each)}`)));
}
