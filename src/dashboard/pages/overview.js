// The first page: what was spent, how calls went, and which models and keys they were, as they come.

import * as api from "../api.js";
import { asTable, chart, legend } from "../chart.js";
import { h } from "../dom.js";
import { count, duration, nano, percent, plural, startOfDay, startOfMonth, startOfWeek } from "../format.js";
import { head, ifThere } from "../page.js";
import { about, callout, card, empty, icon, limitBar, segmented, tile } from "../parts.js";
import { MEASURES, SPANS, columns, measured, overTime, sumSince } from "../series.js";

/** How many of the last calls the times are taken from. */
const LAST = 200;

/** @param {any} row */
export const nameOfKey = (row) => row.key_name ?? row.key_id ?? "adjustments";
/** @param {any} row */
export const nameOfModel = (row) => row.model ?? "adjustments";

/** @type {import("../page.js").Page} */
export const overview = {
  title: "Overview",
  every: 5_000,
  async load({ query }) {
    const { starts } = columns(query.span ?? "7d");
    const shown = new Date(starts[0] ?? 0);
    const since = new Date(Math.min(startOfMonth().getTime(), startOfWeek().getTime())).toISOString();
    const [byModel, byKey, keys, receipts, status] = await Promise.all([
      api.usageByHour({ since: shown.toISOString(), by: "model" }),
      api.usageByHour({ since: new Date(Math.min(shown.getTime(), Date.parse(since))).toISOString(), by: "key" }),
      api.keys(), api.receipts({ limit: LAST }), ifThere(api.status()),
    ]);
    return { byModel, byKey, keys, receipts, status, shown: shown.getTime() };
  },
  view(data, context) {
    const { query } = context;
    const span = query.span ?? "7d";
    const measure = /** @type {import("../series.js").Measure} */ (query.measure ?? "cost");
    if (data.keys.length === 0 && data.receipts.length === 0) return [head("Overview"), warnings(data), welcome()];
    const chooser = h("div", { class: "choosers" },
      segmented("What to show", MEASURES, measure, (value) => context.set({ measure: value })),
      segmented("Time", SPANS, span, (value) => context.set({ span: value })));
    return [
      head("Overview", null, h("span", { class: "live" }, h("span", { class: "live-dot", "aria-hidden": "true" }), "Live")),
      warnings(data),
      tiles(data),
      chooser,
      breakdown("By model", data.byModel, nameOfModel, span, measure),
      breakdown("By key", data.byKey.filter((/** @type {any} */ row) => Date.parse(row.at) >= data.shown), nameOfKey, span, measure),
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

/** @param {any} data */
function tiles({ byKey, receipts }) {
  const today = sumSince(byKey, startOfDay().getTime());
  const week = sumSince(byKey, startOfWeek().getTime());
  const month = sumSince(byKey, startOfMonth().getTime());
  const times = (/** @type {string} */ name) => receipts.filter((/** @type {any} */ r) => r.status < 400 && r[name] !== null).map((/** @type {any} */ r) => r[name]).sort((/** @type {number} */ a, /** @type {number} */ b) => a - b);
  const first = times("first_byte_ms");
  const total = times("total_ms");
  const at = (/** @type {number[]} */ list, /** @type {number} */ share) => (list.length ? list[Math.min(list.length - 1, Math.floor(list.length * share))] : null);
  return h("div", { class: "tiles" },
    tile("Spend today", about(today.cost), plural(today.calls, "call")),
    tile("This week", about(week.cost), plural(week.calls, "call")),
    tile("This month", about(month.cost), plural(month.calls, "call")),
    tile("Errors today", percent(today.calls ? today.failed / today.calls : 0), `${count(today.failed)} of ${plural(today.calls, "call")}`),
    tile("First byte, median", duration(at(first, 0.5)), first.length ? `95 % within ${duration(at(first, 0.95))}` : "no calls yet"),
    tile("Whole call, median", duration(at(total, 0.5)), total.length ? `last ${plural(total.length, "good call")}` : "no calls yet"));
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

