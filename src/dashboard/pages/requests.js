// Receipts, one by one, newest first.

import * as api from "../api.js";
import { h } from "../dom.js";
import { compact, decimalsFor, duration, sentence, toTheSecond } from "../format.js";
import { head } from "../page.js";
import { joined, moreButton } from "../paging.js";
import { aligned, badge, empty, httpStatus, icon, table } from "../parts.js";

const PAGE = 50;
const STATUSES = /** @type {[string, string][]} */ ([["", "Any status"], ["2xx", "Good (2xx)"], ["4xx", "Refused (4xx)"], ["5xx", "Failed (5xx)"], ["429", "429"]]);
const SINCE = /** @type {[string, string][]} */ ([["", "Any time"], ["1", "Last hour"], ["24", "Last 24 hours"], ["168", "Last 7 days"], ["720", "Last 30 days"]]);

/** @type {import("../page.js").Page} */
export const requestsPage = {
  title: "Requests",
  every: 5_000,
  async load(context) {
    const { query, state } = context;
    const [keys, page] = await Promise.all([api.keys(true), api.receiptPage(filter(query))]);
    return { keys, rows: joined(state, query, page) };
  },
  view({ keys, rows }, context) {
    const { query, state } = context;
    const all = [...rows, ...state.more];
    const isFiltered = Boolean(query.key || query.model || query.status || query.since || query.recovered);
    const choose = (/** @type {string} */ name) => (/** @type {Event} */ event) => context.set({ [name]: /** @type {HTMLInputElement} */ (event.target).value });
    const select = (/** @type {string} */ name, /** @type {string} */ label, /** @type {[string, string][]} */ options) =>
      h("select", { "aria-label": label, value: query[name] ?? "", onchange: choose(name) }, options.map(([value, text]) => h("option", { value, selected: value === (query[name] ?? "") }, text)));
    return [
      head("Requests", "The receipt of every call: what it used, at which price, and what it cost."),
      h("div", { class: "filters" },
        select("key", "Key", [["", "All keys"], ...keys.map((/** @type {any} */ key) => [key.id, key.status === "revoked" ? `${key.name} (revoked)` : key.name])]),
        h("input", { type: "search", "aria-label": "Model", placeholder: "Model, such as gpt-4*", value: query.model ?? "", onchange: choose("model") }),
        select("status", "Status", STATUSES), select("since", "Time", SINCE),
        h("label", { class: "check" }, h("input", { type: "checkbox", checked: query.recovered === "1", onchange: (/** @type {Event} */ e) => context.set({ recovered: /** @type {HTMLInputElement} */ (e.target).checked ? "1" : null }) }), "Recovered only")),
      all.length === 0 ? h("div", { class: "card" }, isFiltered
        ? empty("No request fits", "Change the filters above.", h("a", { class: "button", href: "#/requests" }, "Clear them"))
        : empty("No requests yet", "A receipt appears here as soon as a call ends.", h("a", { class: "button", href: "#/playground" }, "Try one in the playground")))
        : h("div", { class: "card card-table" }, receiptTable(all, context)),
      moreButton(context, (after) => api.receiptPage({ ...filter(query), after })),
    ];
  },
};

/** @param {Record<string, string>} query */
function filter(query) {
  const hours = Number(query.since);
  return {
    key: query.key, model: query.model, status: query.status, recovered: query.recovered === "1" || undefined, limit: PAGE,
    since: hours ? new Date(Date.now() - hours * 3_600_000).toISOString() : undefined,
  };
}

/** @param {any[]} rows @param {import("../page.js").Context} context @param {{withKey?: boolean}} [options] */
export function receiptTable(rows, context, options = {}) {
  const decimals = decimalsFor(rows.map((row) => row.cost_usd));
  return table({
    caption: "Requests", stack: "receipts", rows, key: (row) => row.id, link: (row) => `#/requests/${row.id}`,
    columns: [
      { id: "at", title: "Time", cell: (row) => h("a", { href: `#/requests/${row.id}`, class: "num nowrap" }, toTheSecond(row.began)) },
      ...(options.withKey === false ? [] : [{ id: "key", title: "Key", cell: (/** @type {any} */ row) => row.key_name ?? row.key_id }]),
      { id: "model", title: "Model", grow: true, cell: (row) => h("div", { class: "two-lines" }, h("span", null, row.model), h("span", { class: "quiet small" }, `${row.provider}${row.upstream_model && row.upstream_model !== row.model ? ` · ${row.upstream_model}` : ""}`)) },
      { id: "status", title: "Status", cell: (row) => h("span", { class: "inline" }, httpStatus(row.status), row.ending !== "done" ? h("span", { class: "quiet small" }, sentence(row.ending)) : null, row.metered === "recovered" ? badge("Recovered", "warn") : null) },
      { id: "tokens", title: "Tokens in / out", end: true, narrow: false, cell: (row) => `${compact(row.input_tokens)} / ${compact(row.output_tokens)}` },
      { id: "first", title: "First byte", end: true, narrow: false, cell: (row) => duration(row.first_byte_ms) },
      { id: "total", title: "Total", end: true, narrow: false, cell: (row) => duration(row.total_ms) },
      { id: "cost", title: "Cost", end: true, cell: (row) => aligned(row.cost_usd, decimals) },
    ],
  });
}

export const backToRequests = () => h("a", { class: "back", href: "#/requests" }, icon("back"), "Requests");
