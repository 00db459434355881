// What each column contributes to a score.

import { h } from "../dom.js";
import { asNumber, counted, exact, number } from "../format.js";

/** How many columns the page asks for. */
export const SHOWN = 10;

/** Whether a version of a model explains any of its outputs; `found` is the answer to `GET /models/{name}`. */
export function explains(found) {
  const version = found.versions.find((each) => each.version === found.version);
  return (version?.explanations ?? []).some((each) => each.link !== "");
}

/**
 * The strongest columns of a row, with a bar for each.
 * @param {{output: string, link: string, margins: Array}} contributions
 * @param {string|undefined} label the predicted class, which is explained if it has a margin
 * @param {number} features how many columns the model has
 */
export function contributionsBlock({ output, link, margins }, label, features) {
  const margin = margins.find((each) => each.label === label) ?? margins[0];
  const named = Object.entries(margin.values).map(([name, value]) => ({ name, value: asNumber(value) }));
  named.sort((a, b) => Math.abs(b.value) - Math.abs(a.value));
  const left = features - named.length;
  if (left > 0) {
    const known = named.reduce((sum, each) => sum + each.value, asNumber(margin.base));
    named.push({ name: counted(left, "other column"), value: asNumber(margin.margin) - known });
  }
  const largest = Math.max(...named.map((each) => Math.abs(each.value)));
  const of = margin.label === undefined ? output : `${output}, ${margin.label}`;
  return h("section", { class: "output contributions" }, h("h3", {}, "Why ", h("span", { class: "soft" }, of)),
    h("ul", { class: "why" }, named.map((each) => bar(each, largest))),
    h("p", { class: "hint" },
      `The base ${number(margin.base, 4)} and the contributions of all columns add up to the margin ${number(margin.margin, 4)}; `
      + `link: ${link}.`));
}

function bar({ name, value }, largest) {
  const isUp = value >= 0;
  const drawn = h("span", { class: isUp ? "why-bar why-up" : "why-bar why-down" });
  const share = largest > 0 ? Math.abs(value) / largest : 0;
  drawn.style.width = `${Number.isFinite(share) ? share * 50 : 0}%`;
  return h("li", {},
    h("span", { class: "why-name" }, name),
    h("span", { class: "why-track", "aria-hidden": "true" }, drawn),
    h("span", { class: "why-value", title: exact(value) }, `${isUp ? "+" : ""}${number(value, 4)}`));
}
