// One key: where it stands with its limits, what it called, and what is under way with it now.

import * as api from "../api.js";
import { h } from "../dom.js";
import { duration, fullTime, plural, usd } from "../format.js";
import { head } from "../page.js";
import { callout, card, empty, facts, icon, keyStatus, limitBar, menu, money, segmented, table, when } from "../parts.js";
import { MEASURES, SPANS, columns } from "../series.js";
import { breakdown, nameOfModel, timesCard } from "./overview.js";
import { actionsFor, editKey, rotateKey } from "./key-form.js";
import { receiptTable } from "./requests.js";

/** @type {import("../page.js").Page} */
export const keyPage = {
  title: (data) => data.key.name,
  every: 3_000,
  async load({ argument, query }) {
    const { starts, hourly } = columns(query.span ?? "7d");
    const since = new Date(starts[0] ?? 0).toISOString();
    const [key, { rows }, times, receipts, holds, adjustments] = await Promise.all([
      api.key(argument), api.usageOverTime({ key: argument, since, by: "model" }, hourly), api.usageOverTime({ key: argument, since }, hourly), api.receipts({ key: argument, limit: 10 }),
      api.holds(), api.adjustments({ key: argument, limit: 20 }).catch(() => []),
    ]);
    return { key, rows, times, receipts, adjustments, holds: holds.filter((/** @type {any} */ hold) => hold.key_id === key.id) };
  },
  view({ key, rows, times, receipts, holds, adjustments }, context) {
    const { query } = context;
    const span = query.span ?? "7d";
    const measure = /** @type {import("../series.js").Measure} */ (query.measure ?? "cost");
    const actions = actionsFor(key, context.refresh);
    const full = key.windows.filter((/** @type {any} */ w) => w.limit && w.remaining !== null && Number(w.remaining) === 0 && Number(w.spent) >= Number(w.limit));
    return [
      head(key.name, h("span", { class: "inline" }, keyStatus(key.status), h("code", null, key.id), ` secret ends in …${key.secret_ends_in}`),
        actions.length ? [h("button", { type: "button", class: "button", onclick: () => editKey(key, context.refresh) }, "Edit"), h("button", { type: "button", class: "button", onclick: () => rotateKey(key, context.refresh) }, "Rotate"), menu(`More for ${key.name}`, actions)] : null,
        h("a", { class: "back", href: "#/keys" }, icon("back"), "API keys")),
      key.status === "revoked" ? callout("warn", "This key is revoked. What it spent stays here.") : null,
      key.status === "disabled" ? callout("warn", "This key is disabled: calls with it are refused until it is enabled.") : null,
      key.status === "active" && full.length ? callout("bad", h("strong", null, `The ${full.map((/** @type {any} */ w) => w.period).join(" and ")} limit is reached: `), "calls are answered with 403 until it resets or is raised. ", h("button", { type: "button", class: "button-link", onclick: () => editKey(key, context.refresh) }, "Raise the limit")) : null,
      key.old_secret_until ? callout("info", "The secret before the last rotation is good until ", fullTime(key.old_secret_until), ".") : null,
      h("div", { class: "windows" }, key.windows.map((/** @type {any} */ window) => h("div", { class: "tile" }, limitBar(window), window.limit ? h("div", { class: "tile-foot quiet" }, `${usd(window.remaining ?? "0")} left`) : h("div", { class: "tile-foot quiet" }, "window ends ", when(window.resets_at))))),
      h("div", { class: "choosers" }, segmented("What to show", MEASURES, measure, (value) => context.set({ measure: value })), segmented("Time", SPANS, span, (value) => context.set({ span: value }))),
      breakdown("By model", rows, nameOfModel, span, measure),
      timesCard(times, span),
      card(h("div", { class: "card-title" }, h("h2", null, "Last requests"), h("a", { href: `#/requests?key=${key.id}` }, "All requests")),
        receipts.length ? receiptTable(receipts, context, { withKey: false }) : empty("No calls with this key yet", "Calls appear here as they end.")),
      holds.length ? card(h("div", { class: "card-title" }, h("h2", null, "Under way"), h("span", { class: "quiet" }, plural(holds.length, "call"))), table({
        caption: "Calls under way", rows: holds, key: (hold) => hold.id, columns: [
          { id: "model", title: "Model", cell: (hold) => hold.model }, { id: "provider", title: "Provider", narrow: false, cell: (hold) => hold.provider },
          { id: "age", title: "Since", end: true, cell: (hold) => duration(hold.age_ms) }, { id: "held", title: "Held", end: true, cell: (hold) => money(hold.amount_usd) },
        ],
      })) : null,
      adjustments.length ? card("Adjustments", table({
        caption: "Adjustments", rows: adjustments, key: (one) => one.id, columns: [
          { id: "at", title: "When", cell: (one) => when(one.at) }, { id: "why", title: "Why", grow: true, cell: (one) => one.why },
          { id: "by", title: "By", narrow: false, cell: (one) => one.by || "–" }, { id: "amount", title: "Amount", end: true, cell: (one) => money(one.amount_usd) },
        ],
      })) : null,
      card("Settings", facts([
        ["Created", when(key.created_at)], ["Expires", key.expires_at ? when(key.expires_at) : "Never"],
        ["Team", key.team ? h("a", { href: "#/teams" }, key.team) : "None"],
        ["Models", key.models.length ? h("span", { class: "chips" }, key.models.map((/** @type {string} */ name) => h("code", null, name))) : "All"],
        ["Requests per minute", key.rpm ?? "No limit"], ["Tokens per minute", key.tpm ?? "No limit"], ["At the same time", key.parallel ?? "No limit"],
        ["Endpoints", key.endpoints?.length ? key.endpoints.join(", ") : "All"], ["Networks", key.allow_ips?.length ? key.allow_ips.join(", ") : "Any"],
        ["Enforcement", { hard: "Hard: never spend more", soft: "Soft: admit while less is spent" }[/** @type {string} */ (key.enforcement)] ?? "As the configuration says"],
        ...(key.tags?.length ? [/** @type {[string, any]} */ (["Tags", key.tags.map((/** @type {[string, string]} */ [name, value]) => `${name}: ${value}`).join(", ")])] : []),
      ])),
    ];
  },
};
