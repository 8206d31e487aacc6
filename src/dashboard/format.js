// How amounts, counts and times are written. Money is exact: whole nano-dollars in big integers, never a
// floating-point number, except where a chart needs a height.

const NANO = 1_000_000_000n;

/** Nano-dollars from the text of an amount, such as `-0.50`. @param {string | null | undefined} text @returns {bigint} */
export function nano(text) {
  if (!text) return 0n;
  const negative = text.startsWith("-");
  const [whole, fraction = ""] = (negative ? text.slice(1) : text).split(".");
  const value = BigInt(whole || "0") * NANO + BigInt(fraction.slice(0, 9).padEnd(9, "0") || "0");
  return negative ? -value : value;
}

/** For the height of a bar. @param {bigint} amount */
export const inDollars = (amount) => Number(amount) / 1e9;

/** How many decimal places an amount needs, at least two. @param {bigint} amount */
function places(amount) {
  const text = (amount < 0n ? -amount : amount).toString().padStart(10, "0").slice(-9).replace(/0+$/, "");
  return Math.max(2, text.length);
}

/**
 * An amount in full: `$1,234.50`, `$0.000123`.
 * @param {string | bigint | null | undefined} amount @param {number} [decimals] never fewer than it needs
 */
export function usd(amount, decimals = 2) {
  const value = typeof amount === "bigint" ? amount : nano(amount);
  const size = value < 0n ? -value : value;
  const whole = (size / NANO).toString().replace(/\B(?=(\d{3})+$)/g, ",");
  const fraction = (size % NANO).toString().padStart(9, "0").slice(0, Math.max(decimals, places(value)));
  return `${value < 0n ? "−" : ""}$${whole}.${fraction}`;
}

/** Decimal places that fit a whole column, so that its points stand below each other. @param {(string | bigint)[]} amounts */
export function decimalsFor(amounts) {
  return amounts.reduce((most, a) => Math.max(most, places(typeof a === "bigint" ? a : nano(a))), 2);
}

/**
 * An amount at a glance: two places from a dollar on, below that three digits that count. The exact one
 * stands beside it wherever this is used.
 * @param {string | bigint | null | undefined} amount
 */
export function glance(amount) {
  const value = typeof amount === "bigint" ? amount : nano(amount);
  const size = value < 0n ? -value : value;
  if (size === 0n) return "$0.00";
  const leading = size >= NANO ? 2 : Math.min(9, Math.max(2, 9 - size.toString().length + 3));
  const step = 10n ** BigInt(9 - leading);
  const rounded = ((size + step / 2n) / step) * step;
  return usd(value < 0n ? -rounded : rounded, 2);
}

const COUNT = new Intl.NumberFormat("en-US");
const COMPACT = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 });
/** @param {number} value */
export const count = (value) => COUNT.format(value);
/** @param {number} value */
export const compact = (value) => (Math.abs(value) < 10_000 ? COUNT.format(value) : COMPACT.format(value));

/** For an axis. @param {number} dollars */
export function axisUsd(dollars) {
  if (dollars === 0) return "$0";
  if (dollars >= 10_000) return `$${COMPACT.format(dollars)}`;
  const digits = dollars >= 10 ? 0 : Math.min(9, Math.max(2, 1 - Math.floor(Math.log10(dollars))));
  const text = dollars.toFixed(digits);
  return `$${dollars >= 1 ? text.replace(/\.00$/, "") : text.replace(/(\.\d\d\d*?)0+$/, "$1")}`;
}

/** @param {number} value a share from 0 to 1 */
export function percent(value) {
  if (!Number.isFinite(value)) return "–";
  if (value > 0 && value < 0.001) return "<0.1%";
  return `${(value * 100).toFixed(value < 0.1 && value > 0 ? 1 : 0)}%`;
}

/** A length of time in milliseconds. @param {number | null | undefined} ms */
export function duration(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 1) return "<1 ms";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
  return span(ms);
}

/** For an axis. @param {number} ms */
export const axisDuration = (ms) => (ms === 0 ? "0" : ms < 1000 ? `${Math.round(ms)} ms` : ms < 60_000 ? `${Number((ms / 1000).toFixed(1))} s` : `${Number((ms / 60_000).toFixed(1))} min`);

/** A long time in its two largest units: `5 h 12 min`. @param {number} ms */
export function span(ms) {
  const minutes = Math.max(0, Math.round(ms / 60_000));
  if (minutes < 1) return "less than a minute";
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  const days = Math.floor(hours / 24);
  return hours % 24 ? `${days} d ${hours % 24} h` : `${days} d`;
}

/** `in 5 h 12 min`, `3 min ago`, `just now`. @param {string} text @param {number} [now] */
export function relative(text, now = Date.now()) {
  const ms = Date.parse(text) - now;
  if (Math.abs(ms) < 45_000) return ms > 0 ? "in a moment" : "just now";
  const words = Math.abs(ms) < 86_400_000 * 60 ? span(Math.abs(ms)) : dateOnly(text);
  if (words === dateOnly(text)) return words;
  return ms > 0 ? `in ${words}` : `${coarse(-ms)} ago`;
}

/** What has gone by is told in one unit. @param {number} ms */
function coarse(ms) {
  const minutes = ms / 60_000;
  if (minutes < 60) return `${Math.max(1, Math.round(minutes))} min`;
  if (minutes < 60 * 24) return `${Math.round(minutes / 60)} h`;
  const days = Math.round(minutes / 60 / 24);
  return days === 1 ? "1 day" : `${days} days`;
}

const FULL = new Intl.DateTimeFormat(undefined, {
  year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short",
});
const MINUTE = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
const DAY = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });
const DATE = new Intl.DateTimeFormat(undefined, { year: "numeric", month: "short", day: "numeric" });
const HOUR = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const SECOND = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit" });

/** In the viewer's zone, in full. @param {string | number} time */
export const fullTime = (time) => FULL.format(new Date(time));
/** @param {string | number} time */
export const toTheMinute = (time) => MINUTE.format(new Date(time));
/** @param {string | number} time */
export const toTheSecond = (time) => SECOND.format(new Date(time));
/** @param {string | number} time */
export const dayOnly = (time) => DAY.format(new Date(time));
/** @param {string | number} time */
export const dateOnly = (time) => DATE.format(new Date(time));
/** @param {string | number} time */
export const hourOnly = (time) => HOUR.format(new Date(time));

/** The beginning of the viewer's day. @param {number} [days] how many days before it */
export function startOfDay(days = 0, now = new Date()) {
  return new Date(now.getFullYear(), now.getMonth(), now.getDate() - days);
}

/** Monday of the viewer's week. */
export function startOfWeek(now = new Date()) {
  return startOfDay((now.getDay() + 6) % 7, now);
}

/** The first of the viewer's month. */
export const startOfMonth = (now = new Date()) => new Date(now.getFullYear(), now.getMonth(), 1);

/** @param {string} word */
export const sentence = (word) => word.charAt(0).toUpperCase() + word.slice(1).replaceAll("_", " ");

/** `1 call`, `2 calls`. @param {number} n @param {string} one @param {string} [many] */
export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;
