// Who changed what.

import * as api from "../api.js";
import { h } from "../dom.js";
import { sentence, toTheSecond, fullTime } from "../format.js";
import { head, ifThere } from "../page.js";
import { badge, empty, table } from "../parts.js";

/** @type {import("../page.js").Page} */
export const auditPage = {
  title: "Audit log",
  every: 10_000,
  load: () => ifThere(api.audit({ limit: 200 })),
  view(entries, context) {
    const top = head("Audit log", "Every change that an administrator or a program made, newest first.");
    if ("missing" in entries) return [top, h("div", { class: "card" }, empty("This server keeps no audit log", "It is of an earlier version than this page."))];
    if (entries.length === 0) return [top, h("div", { class: "card" }, empty("Nothing was changed yet", "Keys that are made, limits that are raised and the like appear here."))];
    const search = (context.query.search ?? "").toLowerCase();
    const shown = entries.filter((/** @type {any} */ entry) => !search || JSON.stringify(entry).toLowerCase().includes(search));
    return [top,
      h("div", { class: "filters" }, h("input", { type: "search", "aria-label": "Search the log", placeholder: "Search: a key, a person, an action", value: context.query.search ?? "", oninput: (/** @type {Event} */ e) => context.set({ search: /** @type {HTMLInputElement} */ (e.target).value }) })),
      h("div", { class: "card card-table" }, shown.length === 0 ? empty("Nothing fits", "Change the search.") : table({
        caption: "Audit log", rows: shown, key: (entry) => String(entry.id ?? `${entry.at} ${entry.action}`),
        columns: [
          { id: "at", title: "When", cell: (entry) => h("time", { datetime: entry.at, title: fullTime(entry.at), class: "nowrap num" }, toTheSecond(entry.at)) },
          { id: "who", title: "Who", cell: (entry) => [entry.by ?? entry.actor ?? entry.who ?? "–", entry.role ? [" ", badge(entry.role)] : null] },
          { id: "what", title: "What", cell: (entry) => sentence(String(entry.action ?? entry.verb ?? entry.what ?? "")) },
          { id: "target", title: "On", cell: (entry) => target(entry) },
          { id: "detail", title: "Details", grow: true, narrow: false, cell: (entry) => h("span", { class: "quiet small breaks" }, detail(entry.detail ?? entry.details ?? entry.changes)) },
        ],
      }))];
  },
};

/** @param {any} entry */
function target(entry) {
  const id = entry.target ?? entry.key_id ?? entry.subject ?? "";
  const text = entry.target_name ?? entry.key_name ?? id;
  return typeof id === "string" && id.startsWith("key_") ? h("a", { href: `#/keys/${id}` }, text) : String(text || "–");
}

/** @param {any} value */
function detail(value) {
  if (value === undefined || value === null) return "";
  if (typeof value === "string") return value;
  return Object.entries(value).map(([name, one]) => `${name}: ${typeof one === "object" ? JSON.stringify(one) : one}`).join(", ");
}
