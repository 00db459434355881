// Charts in SVG: histograms of two versions, and small lines of what happens now.

import { h, newId, replace, s } from "../dom.js";
import { number, percent } from "../format.js";
import { bulk, quantile, shares, ticks, total } from "../histogram.js";

const HEIGHT = 210;
const EDGE = { top: 14, right: 8, bottom: 30, left: 8 };
const BINS = 48;

/**
 * Histograms of the same quantity, one over the other.
 * @param {{title: string, series: Array<{name: string, buckets: Array}>, format: (value: number) => string,
 *     logarithmic?: boolean, axis: string}} options
 */
export function histogramChart({ title, series, format, logarithmic = false, axis }) {
  const drawn = series.filter((each) => total(each.buckets) > 0);
  const scale = logarithmic ? (value) => Math.log10(Math.max(value, 1e-9)) : (value) => value;
  const range = bulk(drawn.map((each) => each.buckets))?.map(scale);
  const figure = h("figure", { class: "chart" }, h("figcaption", {}, title));
  if (!range) {
    figure.append(h("p", { class: "chart-empty" }, "Nothing was counted yet."));
    return figure;
  }
  const bounds = range[0] < range[1] ? range : [range[0] - 0.5, range[1] + 0.5];
  const bins = drawn.map((each) => ({ ...each, shares: shares(each.buckets, bounds, BINS, scale) }));
  const readout = h("p", { class: "chart-readout", "aria-hidden": "true" });
  const canvas = h("div", { class: "chart-canvas" });
  figure.append(legend(series, drawn, format), canvas, readout, numbers(drawn, format, axis));
  new ResizeObserver(([entry]) => {
    const width = Math.round(entry.contentRect.width);
    if (width > 0) replace(canvas, histogram({ title, bins, bounds, width, scale, format, logarithmic, axis, readout }));
  }).observe(canvas);
  return figure;
}

function legend(series, drawn, format) {
  return h("ul", { class: "legend" }, series.map((each, index) => h("li", {},
    h("span", { class: `swatch series-${index}`, "aria-hidden": "true" }), each.name,
    h("span", { class: "soft" }, drawn.includes(each) ? ` median ${format(quantile(each.buckets, 0.5))}` : " nothing yet"),
  )));
}

function histogram({ title, bins, bounds: [low, high], width, scale, format, logarithmic, axis, readout }) {
  const inside = { width: width - EDGE.left - EDGE.right, height: HEIGHT - EDGE.top - EDGE.bottom };
  const most = Math.max(...bins.flatMap((each) => each.shares)) || 1;
  const x = (value) => EDGE.left + ((value - low) / (high - low)) * inside.width;
  const y = (share) => EDGE.top + inside.height * (1 - share / most);
  const id = newId("chart");
  const told = bins.map((each) => `${each.name}: median ${format(quantile(each.buckets, 0.5))}`).join("; ");
  const marks = logarithmic
    ? decades(low, high).map((each) => [scale(each), format(each)])
    : ticks(low, high, Math.max(2, Math.floor(width / 64))).map((each) => [each, format(each)]);
  const cursor = s("line", { class: "chart-cursor", y1: EDGE.top, y2: HEIGHT - EDGE.bottom, visibility: "hidden" });
  const show = (event) => {
    const at = (event.offsetX - EDGE.left) / inside.width;
    const bin = Math.min(BINS - 1, Math.max(0, Math.floor(at * BINS)));
    const value = (edge) => low + ((high - low) * edge) / BINS;
    const shown = (edge) => format(logarithmic ? 10 ** value(edge) : value(edge));
    const middle = x(value(bin + 0.5));
    cursor.setAttribute("x1", middle);
    cursor.setAttribute("x2", middle);
    cursor.setAttribute("visibility", "visible");
    readout.textContent = `${shown(bin)} to ${shown(bin + 1)}: ${bins.map((each) => `${each.name} ${percent(each.shares[bin])}`).join(", ")}`;
  };
  return s("svg", { class: "chart-drawing", role: "img", "aria-labelledby": id, width, height: HEIGHT,
    viewBox: `0 0 ${width} ${HEIGHT}`, onpointermove: show,
    onpointerleave: () => { cursor.setAttribute("visibility", "hidden"); readout.textContent = ""; } },
    s("title", { id }, `${title}. ${told}.`),
    marks.map(([at, text]) => [
      s("line", { class: "chart-grid", x1: x(at), x2: x(at), y1: EDGE.top, y2: HEIGHT - EDGE.bottom }),
      s("text", { class: "chart-text", x: x(at), y: HEIGHT - 12, "text-anchor": anchor(x(at), width) }, text),
    ]),
    bins.map((each, index) => s("path", { class: `chart-area series-${index}`, d: steps(each.shares, x, y, low, high) })),
    bins.map((each, index) => {
      const at = x(scale(quantile(each.buckets, 0.5)));
      return s("line", { class: `chart-median series-${index}`, x1: at, x2: at, y1: EDGE.top - 6, y2: HEIGHT - EDGE.bottom });
    }),
    s("line", { class: "chart-axis", x1: EDGE.left, x2: width - EDGE.right, y1: HEIGHT - EDGE.bottom, y2: HEIGHT - EDGE.bottom }),
    s("text", { class: "chart-text", x: EDGE.left, y: EDGE.top + 2, "text-anchor": "start" }, percent(most, 2)),
    cursor,
    s("text", { class: "unseen" }, axis),
  );
}

function steps(values, x, y, low, high) {
  const width = (high - low) / values.length;
  const points = values.flatMap((share, bin) => [
    `L${x(low + bin * width).toFixed(1)} ${y(share).toFixed(1)}`,
    `L${x(low + (bin + 1) * width).toFixed(1)} ${y(share).toFixed(1)}`,
  ]);
  return `M${x(low).toFixed(1)} ${y(0).toFixed(1)}${points.join("")}L${x(high).toFixed(1)} ${y(0).toFixed(1)}Z`;
}

function anchor(at, width) {
  if (at < 30) return "start";
  return at > width - 30 ? "end" : "middle";
}

/** 1, 2 and 5 times the powers of ten between two logarithms; only powers where they are many. */
function decades(low, high) {
  const steps = high - low > 1.5 ? (high - low > 4 ? [1] : [1, 3]) : [1, 2, 5];
  const found = [];
  for (let power = Math.floor(low); power <= Math.ceil(high); power += 1) {
    for (const step of steps) {
      const value = Number((step * 10 ** power).toPrecision(3));
      if (Math.log10(value) >= low && Math.log10(value) <= high) found.push(value);
    }
  }
  return found;
}

/** The same as figures, for those who do not see the drawing. */
function numbers(drawn, format, axis) {
  const wanted = [0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99];
  return h("details", { class: "chart-numbers" },
    h("summary", {}, "Quantiles as numbers"),
    h("div", { class: "table-frame" }, h("table", { class: "table table-tight" },
      h("caption", { class: "unseen" }, `Quantiles: ${axis}`),
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "quantile"),
        drawn.map((each) => h("th", { scope: "col", class: "number" }, each.name)))),
      h("tbody", {}, wanted.map((each) => h("tr", {}, h("th", { scope: "row" }, number(each)),
        drawn.map(({ buckets }) => h("td", { class: "number" }, format(quantile(buckets, each)))))))),
    ));
}

/** A small line of the last values, oldest first. */
export function sparkline(values, label, { width = 120, height = 28 } = {}) {
  const known = values.filter(Number.isFinite);
  const most = Math.max(...known, 0) || 1;
  const step = width / Math.max(1, values.length - 1);
  const points = values
    .map((value, index) => [index * step, height - 3 - (height - 6) * (value / most)])
    .filter(([, y]) => Number.isFinite(y));
  const line = points.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" ");
  return s("svg", { class: "sparkline", role: "img", "aria-label": label, width, height, viewBox: `0 0 ${width} ${height}` },
    points.length > 1 ? [
      s("polygon", { class: "sparkline-area", points: `${points[0][0].toFixed(1)},${height} ${line} ${points.at(-1)[0].toFixed(1)},${height}` }),
      s("polyline", { class: "sparkline-line", points: line }),
    ] : null);
}
