// How the calls of a model are routed, and what its versions are.

import { h } from "../dom.js";
import { percent } from "../format.js";
import { aliases, role, splitShares } from "../models.js";
import { badge, splitBar, state, timeMark } from "./badge.js";
import { facts, table } from "./table.js";

/** The routing in words and as a bar. */
export function routingFacts(status) {
  const shares = splitShares(status.routing);
  const named = aliases(status.routing);
  const { shadow } = status.routing ?? {};
  return facts([
    ["Calls without a version", answering(status, shares)],
    shadow ? ["Shadow", [h("strong", {}, shadow.version), ` gets copies of ${percent(shadow.share)} of the calls`]] : null,
    named.length > 0 ? ["Aliases", aliasList(named)] : null,
    status.rollbacks > 0 ? ["Undo", `${status.rollbacks} change${status.rollbacks === 1 ? "" : "s"} can be rolled back`] : null,
  ]);
}

function answering(status, shares) {
  if (shares.length > 1) return splitBar(shares);
  if (!status.default_version) return "No version answers";
  return [h("strong", {}, status.default_version), shares.length === 1 ? " is pinned" : ", the highest release that serves"];
}

/** Aliases as marks: "champion → 1.0.0". */
export function aliasList(named) {
  return h("ul", { class: "marks" }, named.map(([alias, version]) => h("li", { class: "mark" }, alias, h("span", { class: "soft" }, " → ", version))));
}

/** A table of all versions of a model. */
export function versionTable(status) {
  return table(`Versions of ${status.name}`, [
    { title: "Version", heading: true, cell: (each) => each.version },
    { title: "State", cell: (each) => state(each.state) },
    { title: "Routing", cell: (each) => roleMarks(status, each.version) },
    { title: "Serving since", cell: (each) => timeMark(each.serving_since) },
    { title: "Runs on", cell: (each) => each.runs_on || "–" },
    { title: "Remark", wide: true, cell: (each) => each.reason || each.runs_on_details || "–" },
  ], status.versions);
}

function roleMarks(status, version) {
  const found = role(status, version);
  if (found.length === 0) return "–";
  return h("span", { class: "badges" }, found.map(({ name, share }) =>
    badge(share === undefined ? name : `${name} ${percent(share)}`, name === "shadow" ? "shadow" : "main")));
}
