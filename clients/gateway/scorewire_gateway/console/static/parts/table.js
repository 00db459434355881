// Tables that become a list of cards where the page is narrow.

import { h } from "../dom.js";

/**
 * A table.
 * @param {string} caption what the table is, for screen readers
 * @param {Array<{title: string, cell: (row: any) => any, numeric?: boolean, heading?: boolean, wide?: boolean,
 *     hint?: string}>} columns
 *     `heading`: the cell names its row; `wide`: the column takes the room that is left
 * @param {Array} rows
 */
export function table(caption, columns, rows, { className = "", rowId = null } = {}) {
  const kind = (column, content) =>
    [column.numeric && "number", column.wide && "wide", content === "–" && "nothing"].filter(Boolean).join(" ") || null;
  // The roles are those that these elements have: a browser may forget them where style makes cards of the rows.
  return h("div", { class: "table-frame" },
    h("table", { class: `table ${className}`, role: "table" },
      h("caption", { class: "unseen" }, caption),
      h("thead", { role: "rowgroup" },
        h("tr", { role: "row" }, columns.map((column) =>
          h("th", { scope: "col", role: "columnheader", class: kind(column), title: column.hint }, column.title)))),
      h("tbody", { role: "rowgroup" }, rows.map((row) =>
        h("tr", { role: "row", id: rowId?.(row) }, columns.map((column) => {
          const dataset = { title: column.title };
          const content = column.cell(row);
          return column.heading
            ? h("th", { scope: "row", role: "rowheader", class: kind(column), dataset }, content)
            : h("td", { role: "cell", class: kind(column, content), dataset }, content);
        })))),
    ),
  );
}

/** Names and values, one below the other. */
export function facts(entries) {
  return h("dl", { class: "facts" }, entries.filter(Boolean).map(([name, value]) =>
    h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

/** Large figures side by side. */
export function tiles(entries) {
  return h("dl", { class: "tiles" }, entries.map(([name, value, hint]) =>
    h("div", { class: "tile" }, h("dt", {}, name), h("dd", {}, value, hint ? h("small", {}, hint) : null))));
}
