// What became of the rows that were to be recorded, as the server counts them.

import { get } from "../api.js";
import { h, replace } from "../dom.js";
import { count } from "../format.js";
import { notice } from "../parts/notice.js";
import { tiles } from "../parts/table.js";
import { failures } from "../statistics.js";

/** Reads the ledger and shows it in an element, which stays empty if the server cannot be asked or keeps no records. */
export async function showLedger(element, signal) {
  let found = null;
  try {
    found = (await get("stats/records", { signal })).records;
  } catch (error) {
    // The records themselves do not need the server.
    if (signal.aborted) return;
  }
  replace(element, found === null ? null : ledger(found));
}

function ledger(found) {
  const lost = failures(found.dropped);
  const causes = Object.entries(found.dropped).filter(([, rows]) => rows > 0)
    .map(([cause, rows]) => `${cause.replaceAll("_", " ")} ${count(rows)}`).join(", ");
  return [
    found.problem ? notice("warning", "Records are in trouble", found.problem) : null,
    tiles([
      ["Rows answered", count(found.offered), "since the server's start"],
      ["Left out", count(found.sampled_out), "by the policy"],
      ["Recorded", count(found.spooled), `${count(found.stored)} in the store, ${count(found.pending)} on the way`],
      ["Lost", h("span", { class: lost > 0 ? "bad" : null }, count(lost)), causes || "no row"],
    ]),
  ];
}
