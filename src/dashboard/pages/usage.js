// The bill, added up by day, key or model, and taken home as a file.

import * as api from "../api.js";
import { asTable, chart, legend } from "../chart.js";
import { h } from "../dom.js";
import { compact, count, dateOnly, decimalsFor, nano, startOfDay, usd } from "../format.js";
import { head } from "../page.js";
import { drawMore, drawn } from "../paging.js";
import { aligned, card, empty, icon, notify, segmented, table } from "../parts.js";
import { MEASURES, SPANS, columns, measured, overTime } from "../series.js";
import { nameOfKey, nameOfModel } from "./overview.js";

const GROUPS = /** @type {[string, string][]} */ ([["model", "Model"], ["key", "Key"], ["day", "Day"]]);

/** @type {import("../page.js").Page} */
export const usagePage = {
  title: "Usage",
  every: 10_000,
  async load({ query }) {
    const { starts, hourly } = columns(query.span ?? "30d");
    const since = new Date(starts[0] ?? 0).toISOString();
    const by = query.by ?? "model";
    const asked = { since, key: query.key, model: query.model };
    const [{ rows }, keys] = await Promise.all([api.usageOverTime({ ...asked, by: by === "day" ? "model" : by }, hourly), api.keys(true)]);
    return { rows, keys, by, asked };
  },
  view({ rows, keys, by, asked }, context) {
    const { query, state } = context;
    const span = query.span ?? "30d";
    const measure = /** @type {import("../series.js").Measure} */ (query.measure ?? "cost");
    const name = by === "key" ? nameOfKey : nameOfModel;
    const props = overTime({ rows: rows.filter((/** @type {any} */ row) => measured(row, measure) > 0), span, measure, group: by === "day" ? () => "All" : name, label: `Usage, ${measure}`, height: 260 });
    const lines = addUp(rows, by);
    const choose = (/** @type {string} */ what) => (/** @type {Event} */ event) => context.set({ [what]: /** @type {HTMLInputElement} */ (event.target).value });
    return [
      head("Usage", "What was used and what it cost, in your own days.", h("button", { type: "button", class: "button", disabled: lines.length === 0, onclick: () => download(asked, by) }, icon("download"), "Download CSV")),
      h("div", { class: "filters" },
        segmented("Time", SPANS, span, (value) => context.set({ span: value })),
        segmented("Group by", GROUPS, by, (value) => context.set({ by: value })),
        h("select", { "aria-label": "Key", value: query.key ?? "", onchange: choose("key") }, h("option", { value: "" }, "All keys"), keys.map((/** @type {any} */ key) => h("option", { value: key.id }, key.status === "revoked" ? `${key.name} (revoked)` : key.name))),
        h("input", { type: "search", "aria-label": "Model", placeholder: "Model, such as gpt-4*", value: query.model ?? "", onchange: choose("model") })),
      lines.length === 0 ? h("div", { class: "card" }, empty("Nothing was used in this time", "Choose a longer time, or clear the filters.", h("a", { class: "button", href: "#/usage" }, "Clear filters"))) : [
        card(h("div", { class: "card-title" }, segmented("What to show", MEASURES, measure, (value) => context.set({ measure: value }))),
          chart(props), props.series.length === 0 ? h("p", { class: "quiet chart-none" }, "Nothing of this in this time.") : by === "day" ? null : legend(props.series.map((one) => ({ name: one.name, figure: props.value(/** @type {any} */ (one).sum) }))), props.series.length === 0 ? null : asTable(props)),
        h("div", { class: "card card-table" }, sums(lines, by, state, context.redraw)),
        drawMore(context, lines.length),
      ],
    ];
  },
};

/** @typedef {{key: string, name: string, detail: string, at: number, link: string | null, calls: number, failed: number, estimated: number, input: number, cached: number, output: number, cost: bigint, adjusted: bigint}} Line */

/** @param {any[]} rows @param {string} by @returns {Line[]} */
function addUp(rows, by) {
  /** @type {Map<string, Line>} */
  const lines = new Map();
  for (const row of rows) {
    const day = startOfDay(0, new Date(row.at)).getTime();
    const key = by === "day" ? String(day) : by === "key" ? row.key_id ?? "" : `${row.provider ?? ""} ${row.model ?? ""}`;
    let line = lines.get(key);
    if (!line) {
      const name = by === "day" ? dateOnly(day) : by === "key" ? nameOfKey(row) : nameOfModel(row);
      line = { key, name, at: day, detail: by === "model" ? row.provider ?? "" : "", link: by === "key" && row.key_id ? `#/keys/${row.key_id}` : null, calls: 0, failed: 0, estimated: 0, input: 0, cached: 0, output: 0, cost: 0n, adjusted: 0n };
      lines.set(key, line);
    }
    line.calls += row.calls;
    line.failed += row.failed;
    line.estimated += row.estimated;
    line.input += row.input_tokens;
    line.cached += row.cached_input_tokens;
    line.output += row.output_tokens;
    line.cost += nano(row.cost_usd);
    line.adjusted += nano(row.charged_usd) - nano(row.credited_usd);
  }
  return [...lines.values()];
}

/** @param {Line[]} lines @param {string} by @param {any} state @param {() => void} redraw */
function sums(lines, by, state, redraw) {
  const decimals = decimalsFor(lines.map((line) => line.cost));
  const total = (/** @type {keyof Line} */ what) => lines.reduce((sum, line) => sum + Number(line[what]), 0);
  const cost = lines.reduce((sum, line) => sum + line.cost, 0n);
  const adjusted = lines.reduce((sum, line) => sum + line.adjusted, 0n);
  const isAdjusted = lines.some((line) => line.adjusted !== 0n);
  return table({
    caption: "Usage", rows: lines, most: drawn(state), key: (line) => line.key,
    sort: state.sort ?? (by === "day" ? { id: "name", down: true } : { id: "cost", down: true }), onsort: (sort) => { state.sort = sort; redraw(); },
    columns: [
      { id: "name", title: by === "day" ? "Day" : by === "key" ? "Key" : "Model", grow: true, value: (line) => (by === "day" ? line.at : line.name),
        cell: (line) => h("div", { class: "two-lines" }, line.link ? h("a", { href: line.link }, line.name) : h("span", null, line.name), line.detail ? h("span", { class: "quiet small" }, line.detail) : null) },
      { id: "calls", title: "Calls", end: true, value: (line) => line.calls, cell: (line) => count(line.calls) },
      { id: "failed", title: "Errors", end: true, narrow: false, value: (line) => line.failed, cell: (line) => count(line.failed) },
      { id: "input", title: "Tokens in", end: true, narrow: false, value: (line) => line.input, cell: (line) => compact(line.input) },
      { id: "cached", title: "Cached", end: true, narrow: false, value: (line) => line.cached, cell: (line) => compact(line.cached) },
      { id: "output", title: "Tokens out", end: true, narrow: false, value: (line) => line.output, cell: (line) => compact(line.output) },
      ...(isAdjusted ? [{ id: "adjusted", title: "Adjusted", end: true, narrow: false, value: (/** @type {Line} */ line) => line.adjusted, cell: (/** @type {Line} */ line) => usd(line.adjusted) }] : []),
      { id: "cost", title: "Cost", end: true, value: (line) => line.cost, cell: (line) => aligned(line.cost, decimals) },
    ],
    foot: h("tr", { class: "total" }, h("th", { scope: "row" }, "In all"), h("td", { class: "end num" }, count(total("calls"))),
      h("td", { class: "end num wide-only" }, count(total("failed"))), h("td", { class: "end num wide-only" }, compact(total("input"))), h("td", { class: "end num wide-only" }, compact(total("cached"))), h("td", { class: "end num wide-only" }, compact(total("output"))),
      isAdjusted ? h("td", { class: "end num wide-only" }, usd(adjusted)) : null, h("td", { class: "end num" }, aligned(cost, decimals))),
  });
}

/** Takes home what is shown as the API has it for spreadsheets. @param {any} asked @param {string} by */
async function download(asked, by) {
  const text = await api.usageSheet({ ...asked, by }).catch((/** @type {Error} */ error) => notify(error.message, "bad"));
  if (typeof text !== "string") return;
  const address = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  h("a", { href: address, download: `conduit-usage-by-${by}-${isoDay(Date.now())}.csv` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

/** @param {number} at */
function isoDay(at) {
  const day = new Date(at);
  return `${day.getFullYear()}-${String(day.getMonth() + 1).padStart(2, "0")}-${String(day.getDate()).padStart(2, "0")}`;
}
