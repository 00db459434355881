// One recorded prediction: what came, what was answered, and how.

import { get, pathOf } from "../api.js";
import { h, replace } from "../dom.js";
import { counted, exact, number, percent, seconds } from "../format.js";
import { badge, timeMark } from "../parts/badge.js";
import { copyButton } from "../parts/copy.js";
import { notice } from "../parts/notice.js";
import { facts, table } from "../parts/table.js";
import { link } from "../router.js";
import { outputText } from "./records.js";

export async function render(page, { parameters: { id }, signal }) {
  const { records: rows, truncated } = await get(pathOf("records", id), { signal });
  const [first] = rows;
  replace(page,
    h("div", { class: "head" },
      h("nav", { class: "crumbs", "aria-label": "Breadcrumb" }, h("a", { href: link(["records"], { model: first.model }) }, "Records"), h("span", { "aria-hidden": "true" }, " / "), h("span", { "aria-current": "true" }, id)),
      h("div", { class: "head-row" }, h("h1", {}, `Prediction of ${first.model}`), h("div", { class: "head-side" }, copyButton(() => id, { label: "Copy the id" }))),
    ),
    h("section", { class: "panel call-facts" }, h("h2", {}, "Call"), facts([
      ["Time", timeMark(first.time, { milliseconds: true })],
      ["Model", h("a", { href: link(["models", first.model]) }, first.model)],
      ["Version", badge(first.version, "main")],
      ["Route", first.route ? `${first.route_kind}: ${first.route}` : first.route_kind],
      first.shadow_of ? ["Copy of", h("a", { href: link(["records", first.shadow_of]) }, h("code", {}, first.shadow_of))] : null,
      ["In the server", `${seconds(first.server_time_us / 1e6)}, of which the model took ${seconds(first.model_time_us / 1e6)}`],
      ["Caller", first.caller ?? "not recorded"],
      first.principal ? ["Principal", first.principal] : null,
      first.routing_key ? ["Routing key", first.routing_key] : null,
      first.share < 1 ? ["Sampled", `1 of ${number(1 / first.share, 3)} predictions is recorded (${percent(first.share)})`] : null,
      ["Rows", truncated ? `more than ${counted(rows.length, "row")}, of which the first are here` : counted(rows.length, "row")],
    ])),
    rows.map((row) => rowPanel(row, rows.length > 1)),
  );
}

function rowPanel(row, isNumbered) {
  return h("section", { class: "panel" }, h("h2", {}, isNumbered ? `Row ${row.row}` : "Row"),
    row.error ? notice("error", "This row has an error", `${row.error.reason}: feature ${row.error.feature}`) : outputs(row.outputs),
    table("Features", [
      { title: "Feature", heading: true, cell: ([name]) => h("span", { class: "name" }, name) },
      { title: "Value", wide: true, cell: ([, value]) => (value === null ? h("span", { class: "soft" }, "missing") : typeof value === "number" ? exact(value) : value) },
    ], Object.entries(row.features)));
}

function outputs(found) {
  return facts(Object.entries(found).map(([name, value]) => [name, h("strong", {}, outputText(value))]));
}
