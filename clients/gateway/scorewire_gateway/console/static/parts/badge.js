// Small marks: states of versions, and how calls are routed.

import { h } from "../dom.js";
import { percent, time, asTime, ago } from "../format.js";

const STATES = {
  serving: "good",
  loading: "busy",
  retiring: "busy",
  refused: "bad",
  unloaded: "off",
  succeeded: "good",
  running: "busy",
  uploading: "busy",
  failed: "bad",
};

/** A short word in a coloured frame. */
export function badge(text, kind = "off") {
  return h("span", { class: `badge badge-${kind}` }, text);
}

/** The state of a version. */
export function state(name) {
  return h("span", { class: `badge badge-${STATES[name] ?? "off"} badge-dot` }, name);
}

/** The shares of the versions of a split, as a bar with a legend. */
export function splitBar(shares) {
  return h("div", { class: "split" },
    h("div", { class: "split-bar", "aria-hidden": "true" }, shares.map(({ share }, index) => {
      const part = h("span", { class: `split-part series-${index % 6}` });
      part.style.flexGrow = String(share);
      return part;
    })),
    h("ul", { class: "split-legend" }, shares.map(({ version, share }, index) =>
      h("li", {}, h("span", { class: `swatch series-${index % 6}`, "aria-hidden": "true" }), version, " ",
        h("span", { class: "soft" }, percent(share))))),
  );
}

/** A time, with how long ago it was when one points at it. */
export function timeMark(value, options) {
  const found = asTime(value);
  if (found === null) return "–";
  return h("time", { datetime: found.toISOString(), title: `${ago(found)} (${found.toISOString()})` }, time(found, options));
}
