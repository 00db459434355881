// The last predictions that were recorded, newest first.

import { get } from "../api.js";
import { h, newId, replace } from "../dom.js";
import { counted, number, seconds } from "../format.js";
import { badge, timeMark } from "../parts/badge.js";
import { modelHead, pageHead } from "../parts/model_head.js";
import { notice } from "../parts/notice.js";
import { problem } from "../parts/problem.js";
import { table } from "../parts/table.js";
import { showLedger } from "../records/ledger.js";
import { link } from "../router.js";

const LIMITS = ["20", "100", "500"];

export async function render(page, { parameters: { model = "" }, query, signal }) {
  const limit = LIMITS.includes(query.get("limit")) ? query.get("limit") : LIMITS[0];
  // Records can be read while the server is away, and then the names of its models are not known.
  const { models } = model ? { models: [] } : await get("models", { signal }).catch((error) => {
    if (signal.aborted || !error.isServerAway) throw error;
    return { models: [] };
  });
  const chosen = model || (query.get("model") ?? "");
  const body = h("div", {});
  // The ledger is of all models.
  const ledger = model ? null : h("section", { "aria-label": "Ledger of records" });
  const refresh = h("button", { type: "button", class: "button", id: "refresh", onclick: () => read() }, "Refresh");
  const read = async () => {
    refresh.disabled = true;
    if (ledger) showLedger(ledger, signal);
    try {
      const { records, truncated } = await get("records", { query: { model: chosen, limit }, signal });
      replace(body, records.length === 0
        ? notice("empty", "No prediction is recorded yet", "Records appear here within a second or so of the answer.")
        : [truncated ? notice("info", `The last ${counted(records.length, "row")}`, "More of them would make the answer too long.") : null,
          recordTable(records, chosen)]);
    } catch (error) {
      if (!signal.aborted) replace(body, problem(error, { reload: read }));
    } finally {
      refresh.disabled = false;
    }
  };
  await read();
  const go = (changed) => { location.hash = link(model ? ["models", model, "records"] : ["records"], { model: model ? "" : chosen, limit, ...changed }); };
  const filters = [
    model ? null : pick("Model", chosen, [["", "All models"], ...models.map((each) => [each.name, each.name])], (value) => go({ model: value })),
    pick("Rows", limit, LIMITS.map((each) => [each, each]), (value) => go({ limit: value })),
    refresh,
  ];
  replace(page, model ? modelHead(model, "records") : pageHead("Records", "The last predictions that the server recorded, newest first."),
    ledger, h("div", { class: "toolbar" }, filters), body);
}

function pick(label, chosen, choices, onChange) {
  const id = newId("pick");
  const select = h("select", { id, onchange: () => onChange(select.value) }, choices.map(([value, text]) => h("option", { value, selected: value === chosen }, text)));
  return h("div", { class: "picker" }, h("label", { for: id }, label), select);
}

function recordTable(records, model) {
  return h("section", { class: "panel panel-flush" }, table("Recorded predictions", [
    { title: "Time", heading: true, cell: (each) => h("a", { href: link(["records", each.prediction_id]), title: each.prediction_id }, timeMark(each.time, { milliseconds: true })) },
    model ? null : { title: "Model", cell: (each) => each.model },
    { title: "Version", cell: (each) => each.version },
    { title: "Route", cell: (each) => (each.route_kind === "shadow" ? badge("shadow", "shadow") : each.route_kind) },
    { title: "Row", numeric: true, cell: (each) => String(each.row) },
    { title: "Answer", wide: true, cell: (each) => summary(each) },
    { title: "In the server", numeric: true, cell: (each) => seconds(each.server_time_us / 1e6) },
  ].filter(Boolean), records));
}

/** The outputs, or the error, in one line. */
export function summary(record) {
  if (record.error) return h("span", { class: "bad" }, `${record.error.reason} ${record.error.feature}`);
  return h("span", { class: "outputs" }, Object.entries(record.outputs).filter(([, value]) => value !== null).map(([name, value]) =>
    h("span", {}, h("span", { class: "soft" }, `${name} `), outputText(value))));
}

/** An output as text. */
export function outputText(value) {
  if (Array.isArray(value)) return value.map(outputText).join(", ");
  return typeof value === "number" ? number(value, 5) : value ?? "–";
}
