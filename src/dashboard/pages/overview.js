// The first page: what was spent, how calls went, and which models and keys they were, as they come.

import * as api from "../api.js";
import { asTable, chart, legend } from "../chart.js";
import { h } from "../dom.js";
import { count, duration, nano, percent, plural, startOfDay, startOfMonth, startOfWeek } from "../format.js";
import { head, ifThere } from "../page.js";
import { about, callout, card, empty, icon, limitBar, segmented, tile } from "../parts.js";
import { MEASURES, SPANS, columns, measured, overTime, sumSince, timesOverTime } from "../series.js";

/** @param {any} row */
export const nameOfKey = (row) => row.key_name ?? row.key_id ?? "adjustments";
/** @param {any} row */
export const nameOfModel = (row) => row.model ?? "adjustments";

/** @type {import("../page.js").Page} */
export const overview = {
  title: "Overview",
  every: 5_000,
  async load({ query }) {
    const { starts, hourly } = columns(query.span ?? "7d");
    const shown = new Date(starts[0] ?? 0).toISOString();
    const since = new Date(Math.min(startOfMonth().getTime(), startOfWeek().getTime())).toISOString();
    const [days, byModel, byKey, times, keys, status] = await Promise.all([
      api.usageOverTime({ since }, false),
      api.usageOverTime({ since: shown, by: "model" }, hourly),
      api.usageOverTime({ since: shown, by: "key" }, hourly),
      api.usageOverTime({ since: shown }, hourly),
      api.keys(), ifThere(api.status()),
    ]);
    return { days: days.rows, byModel: byModel.rows, byKey: byKey.rows, times, keys, status };
  },
  view(data, context) {
    const { query } = context;
    const span = query.span ?? "7d";
    const measure = /** @type {import("../series.js").Measure} */ (query.measure ?? "cost");
    if (data.keys.length === 0 && data.times.total.calls === 0 && data.days.length === 0) return [head("Overview"), warnings(data), welcome()];
    const chooser = h("div", { class: "choosers" },
      segmented("What to show", MEASURES, measure, (value) => context.set({ measure: value })),
      segmented("Time", SPANS, span, (value) => context.set({ span: value })));
    return [
      head("Overview", null, h("span", { class: "live" }, h("span", { class: "live-dot", "aria-hidden": "true" }), "Live")),
      warnings(data),
      tiles(data, span),
      chooser,
      breakdown("By model", data.byModel, nameOfModel, span, measure),
      breakdown("By key", data.byKey, nameOfKey, span, measure),
      timesCard(data.times, span),
      nearLimits(data.keys),
    ];
  },
};

/** @param {any} data */
function warnings({ status }) {
  if (!status || status.missing) return null;
  return [
    status.trouble ? callout("bad", h("strong", null, "Spending cannot be recorded: "), status.trouble) : null,
    status.config?.last_error ? callout("warn", "The configuration file has a mistake; the last good one stays in force. ", h("a", { href: "#/config" }, "See what is wrong")) : null,
  ];
}

/** @param {any} data @param {string} span */
function tiles({ days, times }, span) {
  const today = sumSince(days, startOfDay().getTime());
  const week = sumSince(days, startOfWeek().getTime());
  const month = sumSince(days, startOfMonth().getTime());
  const { first_byte_ms: first, total_ms: whole } = times.total;
  const words = SPANS.find(([value]) => value === span)?.[1] ?? span;
  const within = (/** @type {any} */ of) => (of.calls ? `median · 95 %: ${duration(of.p95)}` : "no good calls");
  return h("div", { class: "tiles" },
    tile("Spend today", about(today.cost), plural(today.calls, "call")),
    tile("This week", about(week.cost), plural(week.calls, "call")),
    tile("This month", about(month.cost), plural(month.calls, "call")),
    tile("Errors today", percent(today.calls ? today.failed / today.calls : 0), `${count(today.failed)} of ${plural(today.calls, "call")}`),
    tile(`First byte, ${words}`, duration(first.median), within(first)),
    tile(`Whole call, ${words}`, duration(whole.median), within(whole)));
}

/** How long calls took. @param {{rows: any[], total: any}} times @param {string} span */
export function timesCard(times, span) {
  if (times.total.total_ms.calls === 0) return null;
  const props = timesOverTime(times, span, "How long calls take");
  return card(h("div", { class: "card-title" }, h("h2", null, "How long calls take"), h("span", { class: "num quiet" }, plural(times.total.total_ms.calls, "good call"))),
    chart(props), legend(props.series.map((one) => ({ name: one.name, figure: props.value(one.of) }))), asTable(props));
}

/**
 * A chart and its legend.
 * @param {string} title @param {any[]} rows @param {(row: any) => string} group @param {string} span
 * @param {import("../series.js").Measure} measure
 */
export function breakdown(title, rows, group, span, measure) {
  const wanted = rows.filter((row) => measured(row, measure) > 0);
  const props = overTime({ rows: wanted, span, measure, group, label: `${title}, ${measure}` });
  const total = props.series.reduce((sum, one) => sum + (/** @type {any} */ (one).sum), 0);
  return card(h("div", { class: "card-title" }, h("h2", null, title), h("span", { class: "num quiet" }, props.value(total), " in all")),
    chart(props),
    props.series.length ? legend(props.series.map((one) => ({ name: one.name, figure: props.value(/** @type {any} */ (one).sum) })))
      : h("p", { class: "quiet chart-none" }, "Nothing in this time."),
    props.series.length ? asTable(props) : null);
}

/** @param {any[]} keys */
function nearLimits(keys) {
  const near = keys.flatMap((key) => key.windows.filter((/** @type {any} */ w) => w.limit && nano(w.limit) > 0n && nano(w.spent) * 10n >= nano(w.limit) * 8n).map((/** @type {any} */ window) => ({ key, window })));
  if (near.length === 0) return null;
  near.sort((a, b) => (nano(b.window.spent) * nano(a.window.limit) > nano(a.window.spent) * nano(b.window.limit) ? 1 : -1));
  return card("Near a limit", h("div", { class: "limit-list" }, near.slice(0, 8).map(({ key, window }) =>
    h("div", { class: "limit-row" }, h("a", { href: `#/keys/${key.id}` }, key.name), limitBar(window)))));
}

function welcome() {
  const step = (/** @type {string} */ title, /** @type {any} */ words) => h("li", null, h("strong", null, title), h("span", { class: "quiet" }, words));
  return h("section", { class: "card welcome" },
    empty("Nothing has been called yet", "Three steps to the first call:"),
    h("ol", { class: "steps" },
      step("Name a provider", ["in the configuration file; ", h("a", { href: "#/models" }, "see which there are"), ". The provider ", h("code", null, "echo"), " answers without an account."]),
      step("Create a key", "with the limits that it must not pass."),
      step("Call", "with any OpenAI client: the page that shows the key has the lines to paste.")),
    h("a", { class: "button button-primary", href: "#/keys?create=1" }, icon("plus"), "Create the first key"));
}

