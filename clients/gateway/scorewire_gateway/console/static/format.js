// Numbers, shares, durations, sizes and times as people read them.

const COUNT = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const MISSING = "–";

/** A number of the JSON API: the texts "NaN", "Infinity" and "-Infinity" stand for what JSON lacks. */
export function asNumber(value) {
  return value === null || value === undefined ? NaN : Number(value);
}

/** A number with as many significant digits; very large and very small ones with an exponent. */
export function number(value, digits = 6) {
  const found = asNumber(value);
  if (Number.isNaN(found)) return value === null || value === undefined ? MISSING : "NaN";
  if (!Number.isFinite(found)) return found > 0 ? "∞" : "−∞";
  const size = Math.abs(found);
  if (size !== 0 && (size < 1e-4 || size >= 1e12)) {
    return found.toExponential(Math.max(0, digits - 1)).replace(/\.?0+e/, "e").replace("e+", "e").replaceAll("-", "−");
  }
  return signed(new Intl.NumberFormat("en", { maximumSignificantDigits: digits }).format(found));
}

/** A number where there is little room: "200B". */
export function short(value) {
  const found = asNumber(value);
  if (!(Math.abs(found) >= 1e5 && Math.abs(found) < 1e12)) return number(found, 3);
  return signed(new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 }).format(found));
}

/** Every digit of a number, to copy it. */
export function exact(value) {
  return String(asNumber(value));
}

/** A whole number with separators of thousands. */
export function count(value) {
  const found = asNumber(value);
  return Number.isFinite(found) ? signed(COUNT.format(found)) : MISSING;
}

/** "1 row", "2 rows". */
export function counted(value, singular, plural = `${singular}s`) {
  return `${count(value)} ${Number(value) === 1 ? singular : plural}`;
}

/** A share, 0 to 1, in percent. */
export function percent(value, digits = 3) {
  const found = asNumber(value);
  if (!Number.isFinite(found)) return MISSING;
  if (found !== 0 && Math.abs(found) < 1e-4) return found > 0 ? "< 0.01 %" : "> −0.01 %";
  const shown = new Intl.NumberFormat("en", { maximumSignificantDigits: digits }).format(found * 100);
  return `${signed(shown)} %`;
}

/** A p-value. */
export function probability(value) {
  const found = asNumber(value);
  if (!Number.isFinite(found)) return MISSING;
  return found < 1e-4 ? "< 0.0001" : number(found, 2);
}

/** A number of events in a second. */
export function rate(value) {
  const found = asNumber(value);
  return Number.isFinite(found) ? number(found, 3) : MISSING;
}

/** A short time in seconds, with a fitting unit. */
export function seconds(value) {
  const found = asNumber(value);
  if (!Number.isFinite(found)) return MISSING;
  for (const [size, unit] of [[1, "s"], [1e-3, "ms"], [1e-6, "µs"]]) {
    if (Math.abs(found) >= size) return `${number(found / size, 3)} ${unit}`;
  }
  return `${number(found / 1e-9, 3)} ns`;
}

/** A long time in seconds: its two largest units. */
export function duration(value) {
  let left = Math.floor(asNumber(value));
  if (!Number.isFinite(left)) return MISSING;
  const parts = [];
  for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]]) {
    if (left >= size || (unit === "s" && parts.length === 0)) parts.push(`${Math.floor(left / size)} ${unit}`);
    else if (parts.length > 0) break;
    left %= size;
    if (parts.length === 2) break;
  }
  return parts.join(" ");
}

/** A number of bytes in binary units. */
export function bytes(value) {
  let size = asNumber(value);
  if (!Number.isFinite(size)) return MISSING;
  for (const unit of ["bytes", "KiB", "MiB", "GiB"]) {
    if (Math.abs(size) < 1024) return unit === "bytes" && size === 1 ? "1 byte" : `${number(size, 3)} ${unit}`;
    size /= 1024;
  }
  return `${number(size, 3)} TiB`;
}

/** A time of the API as a `Date`; null if it is none. */
export function asTime(value) {
  const found = value ? new Date(value) : null;
  return found && !Number.isNaN(found.getTime()) ? found : null;
}

/** A time in the zone of the reader, with the zone: "2026-11-29 20:48:54 UTC". */
export function time(value, { milliseconds = false } = {}) {
  const found = asTime(value);
  if (found === null) return MISSING;
  const parts = Object.fromEntries(
    new Intl.DateTimeFormat("en-GB", {
      year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit",
      hourCycle: "h23", fractionalSecondDigits: milliseconds ? 3 : undefined, timeZoneName: "short",
    }).formatToParts(found).map((part) => [part.type, part.value]),
  );
  const fraction = milliseconds ? `.${parts.fractionalSecond}` : "";
  return `${parts.year}-${parts.month}-${parts.day} ${parts.hour}:${parts.minute}:${parts.second}${fraction} ${parts.timeZoneName}`;
}

/** How long ago a time was: "12 s ago". */
export function ago(value, now = Date.now()) {
  const found = asTime(value);
  if (found === null) return MISSING;
  const passed = (now - found.getTime()) / 1000;
  return passed < 1 ? "just now" : `${duration(passed)} ago`;
}

function signed(text) {
  return text.replace(/^-/, "−");
}
