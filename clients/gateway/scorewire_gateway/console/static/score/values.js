// Values of features: what they may be, and what a text in a field means.

import { asNumber, count, number } from "../format.js";

// A limit beyond this is that of the number format, not of the model.
const LARGE = 1e38;

/** What a feature takes, in words; empty if it takes everything. */
export function limits(feature) {
  const found = [];
  if (feature.kind === "text") {
    if (feature.vocabulary_size > 0 && !feature.unknown_allowed) found.push(`one of ${count(feature.vocabulary_size)} known texts`);
    return found.join(", ");
  }
  if (feature.whole) found.push("whole numbers");
  // null where there is no limit
  const low = feature.lower_limit === null ? -Infinity : asNumber(feature.lower_limit);
  const high = feature.upper_limit === null ? Infinity : asNumber(feature.upper_limit);
  if (low > -LARGE && high < LARGE) found.push(`${number(low)} to ${number(high)}`);
  else if (low > -LARGE) found.push(`at least ${number(low)}`);
  else if (high < LARGE) found.push(`at most ${number(high)}`);
  return found.join(", ");
}

/** A hint for who fills the field in. */
export function hint(feature) {
  const found = [];
  const taken = limits(feature);
  if (taken) found.push(taken);
  if (feature.kind === "number" && Number.isFinite(asNumber(feature.minimum))) {
    found.push(`${number(feature.minimum, 4)} to ${number(feature.maximum, 4)} in training`);
  }
  if (feature.kind === "text" && feature.unknown_allowed && feature.vocabulary_size > 0) {
    found.push(`the model knows ${count(feature.vocabulary_size)} texts`);
  }
  return found.join("; ");
}

/**
 * What the text in a field means as a value of the JSON API.
 * @returns {{value?: number|string, error?: string}} neither for a missing value
 */
export function parse(feature, text) {
  if (feature.kind === "text") return text === "" ? missing(feature) : { value: text };
  const trimmed = text.trim().replaceAll("−", "-");
  if (trimmed === "") return missing(feature);
  const infinite = /^([+-]?)(?:inf|infinity|∞)$/i.exec(trimmed);
  if (infinite) return { value: infinite[1] === "-" ? "-Infinity" : "Infinity" };
  if (/^nan$/i.test(trimmed)) return missing(feature);
  const value = Number(trimmed);
  if (Number.isNaN(value) || /^[+-]?0[xob]/i.test(trimmed)) {
    return { error: trimmed.includes(",") ? "This is no number. The decimal separator is a point." : "This is no number." };
  }
  if (!Number.isFinite(value)) return { error: "This number is too large; write Infinity if you mean that." };
  if (/^[+-]?\d+$/.test(trimmed) && BigInt(trimmed) !== BigInt(value)) {
    return { error: "A double cannot hold this whole number; the score would be that of another one." };
  }
  return { value };
}

function missing(feature) {
  return feature.missing_allowed ? {} : { error: "The model needs a value here." };
}

/** A value of the JSON API as the text of a field. */
export function shown(value) {
  if (value === null || value === undefined || value === "NaN") return "";
  return String(value);
}
