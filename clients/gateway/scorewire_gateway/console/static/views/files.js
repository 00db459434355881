// Files that the operator offers: reports, model cards, scores.

import { address, get, pathOf, saving } from "../api.js";
import { h, replace } from "../dom.js";
import { bytes } from "../format.js";
import { timeMark } from "../parts/badge.js";
import { pageHead } from "../parts/model_head.js";
import { notice } from "../parts/notice.js";
import { problem } from "../parts/problem.js";
import { table } from "../parts/table.js";
import { link } from "../router.js";

export async function render(page, { parameters: { rest = [] }, signal }) {
  const { entries, truncated = false } = await get(pathOf("files", ...rest), { signal });
  const failure = h("div", {});
  replace(page,
    pageHead("Files", "Reports, model cards and other files. Each comes with its SHA-256 in the header Repr-Digest."),
    rest.length > 0 ? crumbs(rest) : null,
    failure,
    truncated ? notice("info", "The folder has more entries", "The first ones are listed. A file that is not listed is still found by its path.") : null,
    entries.length === 0 ? notice("empty", "This folder is empty") : h("section", { class: "panel panel-flush" }, list(entries, rest, (error) => replace(failure, problem(error)))),
  );
}

function crumbs(rest) {
  const parts = [["Files", []], ...rest.map((name, index) => [name, rest.slice(0, index + 1)])];
  return h("nav", { class: "crumbs", "aria-label": "Folders" }, parts.map(([name, path], index) => (index === parts.length - 1
    ? h("span", { "aria-current": "page" }, name)
    : [h("a", { href: link(["files", ...path]) }, name), h("span", { "aria-hidden": "true" }, " / ")])));
}

function list(entries, rest, onError) {
  return table("Files and folders", [
    { title: "Name", heading: true, wide: true, cell: (each) => (each.kind === "folder"
      ? h("a", { href: link(["files", ...rest, each.name]) }, `${each.name}/`)
      : h("a", { href: address(pathOf("files", ...rest, each.name)).pathname, target: "_blank", rel: "noopener", onclick: saving(each.name, onError) }, each.name)) },
    { title: "Size", numeric: true, cell: (each) => (each.kind === "folder" ? "–" : bytes(each.bytes)) },
    { title: "Changed", cell: (each) => timeMark(each.modified) },
  ], entries);
}
