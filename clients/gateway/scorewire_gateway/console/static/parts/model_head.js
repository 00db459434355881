// The head of each page of a model: its name, and the tabs.

import { h } from "../dom.js";
import { link } from "../router.js";
import { hasPart } from "../status.js";

// The tabs, in order; `part` is the part of the gateway that has to be on.
const TABS = [
  { name: "overview", title: "Overview", path: [] },
  { name: "score", title: "Score a row", path: ["score"] },
  { name: "comparison", title: "Comparison", path: ["comparison"] },
  { name: "statistics", title: "Statistics", path: ["statistics"] },
  { name: "records", title: "Records", path: ["records"], part: "records" },
];

/**
 * The head.
 * @param {string} model
 * @param {string} tab the name of the tab that is shown
 * @param {...(Node|string)} besides what stands beside the name
 */
export function modelHead(model, tab, ...besides) {
  return h("div", { class: "head" },
    h("nav", { class: "crumbs", "aria-label": "Breadcrumb" }, h("a", { href: "#/" }, "Models"), h("span", { "aria-hidden": "true" }, " / "),
      h("span", { "aria-current": "true" }, model)),
    h("div", { class: "head-row" }, h("h1", {}, model), h("div", { class: "head-side" }, besides)),
    h("nav", { class: "tabs", "aria-label": `Pages of ${model}` }, h("ul", {}, TABS.filter((each) => !each.part || hasPart(each.part)).map((each) =>
      h("li", {}, h("a", { id: `tab-${each.name}`, href: link(["models", model, ...each.path]), "aria-current": each.name === tab ? "page" : null }, each.title))))),
  );
}

/** The head of a page that is not of a model. */
export function pageHead(title, text, ...besides) {
  return h("div", { class: "head" },
    h("div", { class: "head-row" }, h("div", {}, h("h1", {}, title), text ? h("p", { class: "lead" }, text) : null), h("div", { class: "head-side" }, besides)));
}
