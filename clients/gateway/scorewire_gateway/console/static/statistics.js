// Sums of the statistics of routes.

import { quantile } from "./histogram.js";

/** How many calls or rows failed, of a count for each reason. */
export function failures(byReason) {
  return Object.values(byReason ?? {}).reduce((all, each) => all + each, 0);
}

/** The statistics of several routes together. */
export function sum(routes) {
  const add = (of) => routes.reduce((all, each) => all + of(each), 0);
  const calls = add((each) => each.calls);
  const failed = add((each) => each.failed);
  const buckets = joined(routes.map((each) => each.latency_seconds.buckets));
  return {
    calls,
    failed,
    attempts: calls + failed,
    rows: add((each) => each.rows),
    failedRows: add((each) => each.failed_rows),
    latency: (wanted) => quantile(buckets, wanted),
  };
}

function joined(histograms) {
  const found = new Map();
  for (const bucket of histograms.flat()) {
    const key = `${bucket.inner} ${bucket.outer}`;
    const before = found.get(key);
    found.set(key, before ? { ...before, count: before.count + bucket.count } : bucket);
  }
  return [...found.values()].sort((a, b) => a.inner + a.outer - b.inner - b.outer);
}

/** What tells one route from another. */
export function routeKey({ model, version, route, shadow }) {
  return JSON.stringify([model, version, route, shadow]);
}
