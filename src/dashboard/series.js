// From rows of the bill, of hours or of the viewer's own days, to the columns of a chart.

import { MOST_SERIES } from "./chart.js";
import { axisDuration, axisUsd, compact, count, dateOnly, dayOnly, duration, glance, hourOnly, inDollars, nano, startOfDay, toTheMinute } from "./format.js";

const HOUR = 3_600_000;

/** The spans of time that can be looked at. */
export const SPANS = /** @type {[string, string][]} */ ([["24h", "24 h"], ["7d", "7 days"], ["30d", "30 days"], ["90d", "90 days"]]);

/**
 * The columns of a span: hours of the last day, or the viewer's days.
 * @param {string} span @param {number} [now]
 */
export function columns(span, now = Date.now()) {
  /** @type {number[]} */
  const starts = [];
  if (span === "24h") {
    const last = now - (now % HOUR);
    for (let back = 23; back >= 0; back -= 1) starts.push(last - back * HOUR);
    return { starts, end: last + HOUR, hourly: true };
  }
  const days = Number.parseInt(span, 10) || 7;
  for (let back = days - 1; back >= 0; back -= 1) starts.push(startOfDay(back, new Date(now)).getTime());
  return { starts, end: startOfDay(-1, new Date(now)).getTime(), hourly: false };
}

/** @typedef {"cost" | "calls" | "tokens" | "failed"} Measure */
export const MEASURES = /** @type {[Measure, string][]} */ ([["cost", "Spend"], ["calls", "Calls"], ["tokens", "Tokens"], ["failed", "Errors"]]);

/** @param {any} row @param {Measure} measure */
export function measured(row, measure) {
  if (measure === "cost") return inDollars(nano(row.cost_usd));
  if (measure === "tokens") return row.input_tokens + row.output_tokens;
  return row[measure];
}

/**
 * A chart's properties from rows, the largest groups first, the rest added up.
 * @param {{rows: any[], span: string, measure: Measure, group: (row: any) => string, label: string, height?: number}} what
 */
export function overTime({ rows, span, measure, group, label, height }) {
  const { starts, end, hourly } = columns(span);
  /** @type {Map<string, {values: number[], sum: number}>} */
  const groups = new Map();
  for (const row of rows) {
    const at = columnOf(starts, end, Date.parse(row.at));
    if (at < 0) continue;
    const name = group(row);
    const one = groups.get(name) ?? { values: starts.map(() => 0), sum: 0 };
    groups.set(name, one);
    const value = measured(row, measure);
    one.values[at] = (one.values[at] ?? 0) + value;
    one.sum += value;
  }
  const sorted = [...groups].map(([name, one]) => ({ name, ...one })).sort((a, b) => b.sum - a.sum || a.name.localeCompare(b.name));
  const series = sorted.slice(0, sorted.length > MOST_SERIES ? MOST_SERIES - 1 : MOST_SERIES);
  const rest = sorted.slice(series.length);
  if (rest.length > 0) {
    series.push({
      name: `${rest.length} others`, sum: rest.reduce((sum, one) => sum + one.sum, 0),
      values: starts.map((_, at) => rest.reduce((sum, one) => sum + (one.values[at] ?? 0), 0)),
    });
  }
  const written = measure === "cost" ? writeDollars : count;
  return {
    label, starts, end, series, height, whole: measure !== "cost",
    axis: measure === "cost" ? axisUsd : compact,
    value: (/** @type {number} */ value) => written(value),
    ...wordsOfTime(hourly),
  };
}

/** @param {boolean} hourly */
const wordsOfTime = (hourly) => ({
  tick: hourly ? hourOnly : dayOnly,
  title: (/** @type {number} */ start, /** @type {number} */ stop) => (hourly ? `${toTheMinute(start)} – ${hourOnly(stop)}` : dateOnly(start)),
});

/** What is told of how long calls take. */
const TIMES = /** @type {["first_byte_ms" | "total_ms", "median" | "p95", string][]} */ ([
  ["first_byte_ms", "median", "First byte, median"], ["first_byte_ms", "p95", "First byte, 95 %"],
  ["total_ms", "median", "Whole call, median"], ["total_ms", "p95", "Whole call, 95 %"],
]);

/**
 * Lines of how long calls took, from rows of hours or days and nothing else.
 * @param {{rows: any[], total: any}} report @param {string} span @param {string} label
 */
export function timesOverTime({ rows, total }, span, label) {
  const { starts, end, hourly } = columns(span);
  const series = TIMES.map(([what, which, name]) => ({ name, of: total[what][which], values: /** @type {(number | null)[]} */ (starts.map(() => null)) }));
  for (const row of rows) {
    const at = columnOf(starts, end, Date.parse(row.at));
    if (at >= 0) TIMES.forEach(([what, which], line) => { if (series[line]) series[line].values[at] = row[what][which]; });
  }
  return { label, starts, end, series, height: 200, kind: /** @type {"line"} */ ("line"), whole: true, axis: axisDuration, value: duration, ...wordsOfTime(hourly) };
}

/** @param {number} dollars */
export const writeDollars = (dollars) => glance(BigInt(Math.round(dollars * 1e9)));

/** @param {number[]} starts @param {number} end @param {number} at */
function columnOf(starts, end, at) {
  if (at >= end || at < (starts[0] ?? Infinity)) return -1;
  let low = 0;
  let high = starts.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if ((starts[middle] ?? 0) <= at) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** What rows come to from an instant on. @param {any[]} rows @param {number} since */
export function sumSince(rows, since) {
  const sum = { cost: 0n, calls: 0, failed: 0, tokens: 0 };
  for (const row of rows) {
    if (Date.parse(row.at) < since) continue;
    sum.cost += nano(row.cost_usd) + nano(row.charged_usd) - nano(row.credited_usd);
    sum.calls += row.calls;
    sum.failed += row.failed;
    sum.tokens += row.input_tokens + row.output_tokens;
  }
  return sum;
}
