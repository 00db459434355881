// One model: what it is, how it is routed, and what a version takes and gives.

import { address, get, pathOf, saving } from "../api.js";
import { h, replace } from "../dom.js";
import { bytes, count, number, percent } from "../format.js";
import { copyButton } from "../parts/copy.js";
import { modelHead } from "../parts/model_head.js";
import { notice } from "../parts/notice.js";
import { problem } from "../parts/problem.js";
import { routingFacts, versionTable } from "../parts/routing.js";
import { timeMark } from "../parts/badge.js";
import { facts, table } from "../parts/table.js";
import { versionPicker } from "../parts/version_picker.js";
import { limits } from "../score/values.js";

export async function render(page, { parameters: { model }, query, signal }) {
  const version = query.get("version") ?? "";
  const path = pathOf("models", model);
  let found;
  try {
    found = await get(path, { query: { version }, signal });
  } catch (error) {
    if (error.status === 404 || error.isGatewayAway || error.needsCredentials) throw error;
    // A model of which no version serves has no schema; its states tell why.
    return renderStatus(page, model, error, signal);
  }
  const { schema } = found;
  const failure = h("div", {});
  replace(page,
    modelHead(model, "overview", versionPicker(found, version, { to: ["models", model] })),
    failure,
    found.description ? h("p", { class: "lead" }, found.description) : null,
    found.warning ? notice("warning", "The routing is not fully in force", found.warning) : null,
    h("div", { class: "columns" },
      h("div", { class: "column-main" },
        panel("Versions", versionTable(found)),
        panel(`Features of ${found.version}`, featureTable(schema.features)),
        panel(`Outputs of ${found.version}`, outputTable(schema.outputs)),
      ),
      h("aside", { class: "column-side", "aria-label": "Routing and metrics" },
        panel("Routing", routingFacts(found)),
        panel(`Metrics of ${found.version}`, metrics(found.metrics)),
        panel("Limits", facts([
          ["Rows in a call", found.limits.max_rows ? count(found.limits.max_rows) : "not told"],
          ["Size of a message", found.limits.max_message_bytes ? bytes(found.limits.max_message_bytes) : "not told"],
        ])),
        panel("Bundle", facts([
          ["Exported", timeMark(found.created_at)],
          ["Files", downloads(path, found.version, (error) => replace(failure, problem(error)))],
          ["Fingerprint of the schema", h("span", { class: "code-line" }, h("code", {}, schema.fingerprint), copyButton(() => schema.fingerprint, { what: "the fingerprint" }))],
        ])),
      ),
    ),
  );
}

async function renderStatus(page, model, error, signal) {
  const { models } = await get("models", { signal });
  const status = models.find((each) => each.name === model);
  if (!status) throw error;
  replace(page, modelHead(model, "overview"), problem(error), panel("Versions", versionTable(status)), panel("Routing", routingFacts(status)));
}

/** Files that the gateway makes of a version: its schema, and its typed service for clients in other languages. */
function downloads(path, version, onError) {
  return h("ul", { class: "marks" }, [["schema", "Schema (JSON)"], ["proto", "Service (.proto)"]].map(([name, title]) => {
    const { pathname, search } = address(`${path}/${name}`, { version });
    return h("li", {}, h("a", { href: `${pathname}${search}`, download: true, onclick: saving("", onError) }, title));
  }));
}

function panel(title, ...children) {
  return h("section", { class: "panel" }, h("h2", {}, title), children);
}

function featureTable(features) {
  return table("Features", [
    { title: "Feature", heading: true, cell: (each) => [h("span", { class: "name" }, each.name), each.description ? h("small", {}, each.description) : null] },
    { title: "Kind", cell: (each) => each.kind },
    { title: "Missing", cell: (each) => (each.missing_allowed ? "allowed" : "error") },
    { title: "Missing in training", numeric: true, cell: (each) => percent(each.missing_share) },
    { title: "In training", numeric: true, cell: (each) => range(each) },
    { title: "Takes", wide: true, cell: (each) => limits(each) || (each.kind === "text" ? "any text" : "any number") },
  ], features);
}

function range(feature) {
  if (feature.kind === "text") return feature.vocabulary_size > 0 ? `${count(feature.vocabulary_size)} texts` : "–";
  const [low, high] = [number(feature.minimum, 4), number(feature.maximum, 4)];
  return low === "NaN" || low === "–" ? "–" : `${low} to ${high}`;
}

function outputTable(outputs) {
  return table("Outputs", [
    { title: "Output", heading: true, cell: (each) => h("span", { class: "name" }, each.name) },
    { title: "Kind", cell: (each) => each.kind },
    { title: "Values in a row", numeric: true, cell: (each) => count(each.width) },
    { title: "Classes", wide: true, cell: (each) => (each.class_labels.length > 0 ? each.class_labels.join(", ") : "–") },
  ], outputs);
}

function metrics(found) {
  const entries = Object.entries(found).sort(([a], [b]) => (a < b ? -1 : 1));
  if (entries.length === 0) return h("p", { class: "soft" }, "The bundle tells none.");
  return facts(entries.map(([name, value]) => [name.replaceAll("_", " "), number(value, 4)]));
}
