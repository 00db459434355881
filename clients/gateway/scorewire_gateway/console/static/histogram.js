// Histograms of the API as bins of equal width, which a chart can draw.
//
// The server's buckets are at most a sixteenth of an octave wide: `inner` is the bound nearer to zero. A bin gets
// of each bucket the share that lies in it.

import { asNumber } from "./format.js";

/** How many numbers a histogram has. */
export function total(buckets) {
  return buckets.reduce((sum, bucket) => sum + bucket.count, 0);
}

/** The range of a bucket, the smaller bound first. */
function range({ inner, outer }) {
  const [a, b] = [asNumber(inner), asNumber(outer)];
  return a < b ? [a, b] : [b, a];
}

/**
 * The range that holds all but a small share of the numbers at either end, so that a single one far away does not
 * press all others together.
 */
export function bulk(histograms, share = 0.002) {
  let [low, high] = [Infinity, -Infinity];
  for (const buckets of histograms) {
    const all = total(buckets);
    let seen = 0;
    for (const bucket of buckets) {
      const [from, to] = range(bucket);
      if (!Number.isFinite(from) || !Number.isFinite(to)) { seen += bucket.count; continue; }
      if (seen + bucket.count > all * share) low = Math.min(low, from);
      if (seen < all * (1 - share)) high = Math.max(high, to);
      seen += bucket.count;
    }
  }
  return low <= high ? [low, high] : null;
}

/**
 * The shares of the numbers in bins of equal width.
 * @param {Array} buckets
 * @param {[number, number]} bounds in the scale's units
 * @param {number} bins
 * @param {(value: number) => number} scale what a value becomes first, such as its logarithm
 */
export function shares(buckets, [low, high], bins, scale = (value) => value) {
  const all = total(buckets);
  const found = new Array(bins).fill(0);
  const width = (high - low) / bins;
  for (const bucket of buckets) {
    const [from, to] = range(bucket).map(scale);
    if (to < low || from > high || !(to >= from)) continue;
    const first = Math.min(bins - 1, Math.max(0, Math.floor((from - low) / width)));
    const last = Math.min(bins - 1, Math.max(0, Math.ceil((to - low) / width) - 1));
    for (let bin = first; bin <= Math.max(first, last); bin += 1) {
      const left = Math.max(from, low + bin * width);
      const right = Math.min(to, low + (bin + 1) * width);
      const part = to > from ? Math.max(0, right - left) / (to - from) : 1;
      found[bin] += (bucket.count * part) / all;
    }
  }
  return found;
}

/** The middle of the bucket that holds a quantile, 0 to 1; NaN without numbers. */
export function quantile(buckets, wanted) {
  const rank = Math.max(1, Math.ceil(wanted * total(buckets)));
  let seen = 0;
  for (const bucket of buckets) {
    seen += bucket.count;
    if (seen >= rank) return asNumber(bucket.inner) === 0 ? 0 : (asNumber(bucket.inner) + asNumber(bucket.outer)) / 2;
  }
  return NaN;
}

/** Round numbers between two bounds, at most `most` of them. */
export function ticks(low, high, most) {
  const rough = (high - low) / Math.max(1, most);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough);
  const found = [];
  for (let index = Math.ceil(low / step); index * step <= high + step * 1e-9; index += 1) {
    found.push(Number((index * step).toPrecision(12)));
  }
  return found;
}
