// All keys: what each may spend and has spent, and everything that can be done with one.

import * as api from "../api.js";
import { h } from "../dom.js";
import { nano } from "../format.js";
import { head } from "../page.js";
import { drawMore, drawn } from "../paging.js";
import { about, empty, icon, keyStatus, limitLine, menu, segmented, table, when } from "../parts.js";
import { setQuery } from "../place.js";
import { actionsFor, createKey } from "./key-form.js";

/** @type {import("../page.js").Page} */
export const keysPage = {
  title: "API keys",
  every: 3_000,
  load: async () => ({ keys: await api.keys(true) }),
  view({ keys }, context) {
    const { query, state } = context;
    const create = () => createKey(context.refresh);
    if (query.create) {
      queueMicrotask(() => { setQuery({ create: null }); create(); });
    }
    const button = h("button", { type: "button", class: "button button-primary", onclick: create }, icon("plus"), "Create new key");
    const top = head("API keys", "Each program gets a key of its own, with limits that it cannot pass.", button);
    if (keys.length === 0) {
      return [top, h("div", { class: "card" }, empty("No keys yet", "A program needs a key to call. Create one, and optionally say what it may spend.", h("button", { type: "button", class: "button button-primary", onclick: create }, "Create new key")))];
    }
    const which = query.status ?? "open";
    const search = (query.search ?? "").toLowerCase();
    const shown = keys.filter((/** @type {any} */ key) => (which === "all" || (which === "revoked" ? key.status === "revoked" : key.status !== "revoked"))
      && (!search || [key.name, key.id, key.team ?? "", key.secret_ends_in].some((text) => text.toLowerCase().includes(search))));
    const number = (/** @type {string} */ state) => keys.filter((/** @type {any} */ k) => (state === "revoked") === (k.status === "revoked")).length;
    return [top,
      h("div", { class: "filters" },
        h("input", { type: "search", "aria-label": "Search keys", placeholder: "Search by name, team or last characters", value: query.search ?? "", oninput: (/** @type {Event} */ e) => context.set({ search: /** @type {HTMLInputElement} */ (e.target).value }) }),
        segmented("Which keys", [["open", `In use ${number("open")}`], ["revoked", `Revoked ${number("revoked")}`], ["all", "All"]], which, (value) => context.set({ status: value }))),
      shown.length === 0 ? h("div", { class: "card" }, empty("No key fits", "Change the search or show all keys.")) : h("div", { class: "card card-table" }, table({
        caption: "API keys", stack: "keys", rows: shown, most: drawn(state), key: (key) => key.id, link: (key) => `#/keys/${key.id}`,
        sort: state.sort ?? { id: "created", down: true }, onsort: (sort) => { state.sort = sort; context.redraw(); },
        columns: [
          { id: "name", title: "Name", value: (key) => key.name, cell: (key) => h("div", { class: "two-lines" }, h("a", { href: `#/keys/${key.id}`, class: "strong" }, key.name), h("span", { class: "quiet small" }, h("span", { class: "mono" }, `…${key.secret_ends_in}`), key.team ? ` · ${key.team}` : "")) },
          { id: "status", title: "Status", value: (key) => key.status, cell: (key) => h("div", { class: "two-lines" }, h("span", null, keyStatus(key.status)), statusWords(key)) },
          { id: "limits", title: "Limits", grow: true, value: (key) => share(key), cell: limits },
          { id: "spent", title: "Monthly spend", end: true, narrow: false, value: (key) => nano(month(key)?.spent), cell: (key) => about(month(key)?.spent ?? "0") },
          { id: "created", title: "Created", narrow: false, value: (key) => key.created_at, cell: (key) => when(key.created_at) },
          { id: "actions", title: "", label: "Actions", cell: (key) => { const actions = actionsFor(key, context.refresh); return actions.length ? menu(`Actions for ${key.name}`, actions) : null; } },
        ],
      })), drawMore(context, shown.length)];
  },
};

/** @param {any} key */
const month = (key) => key.windows.find((/** @type {any} */ window) => window.period === "monthly");

/** How near the key is to the limit that it is nearest to. @param {any} key */
export function share(key) {
  return Math.max(-1, ...key.windows.filter((/** @type {any} */ w) => w.limit).map((/** @type {any} */ w) => (nano(w.limit) > 0n ? Number((nano(w.spent) * 10_000n) / nano(w.limit)) : 10_000)));
}

/** @param {any} key */
function limits(key) {
  const limited = key.windows.filter((/** @type {any} */ window) => window.limit);
  if (limited.length === 0) return h("span", { class: "quiet" }, "No limits");
  return h("div", { class: "limit-lines" }, limited.map((/** @type {any} */ window) => limitLine(window)));
}

/** @param {any} key */
export function statusWords(key) {
  if (key.status === "active" && share(key) >= 10_000) return h("span", { class: "small bad-text" }, "limit reached");
  if (key.old_secret_until) return h("span", { class: "quiet small" }, "old secret ends ", when(key.old_secret_until));
  if (key.status === "revoked") return h("span", { class: "quiet small" }, when(key.revoked_at));
  if (key.expires_at) return h("span", { class: "quiet small" }, key.status === "expired" ? "" : "expires ", when(key.expires_at));
  if (key.calls_in_flight > 0) return h("span", { class: "quiet small" }, `${key.calls_in_flight} under way`);
  return null;
}
