// Who changed what.

import * as api from "../api.js";
import { h } from "../dom.js";
import { sentence, toTheSecond, fullTime } from "../format.js";
import { head, ifThere } from "../page.js";
import { joined, moreButton } from "../paging.js";
import { badge, empty, table } from "../parts.js";

const PAGE = 100;
const DOORS = { session: "Administrator", token: "Token", socket: "Unix socket", command_line: "Command line", stranger: "Not signed in" };

/** What was done, as people say it. */
const VERBS = {
  "session/create": "Sign in", "session/end": "Sign out", "sessions/end": "End sessions", "password/set": "Change the password",
  "tokens/create": "Create a token", "tokens/revoke": "Revoke a token",
  "keys/create": "Create a key", "keys/set": "Change a key", "keys/limits": "Change limits", "keys/rotate": "Rotate a secret", "keys/revoke": "Revoke a key",
  "teams/create": "Create a team", "teams/limits": "Change a team's limits", "teams/delete": "Delete a team",
  "adjustments/create": "Adjust spend", "prices/update": "Update prices", "prices/reset": "Reset prices", backup: "Back up", "backup/beside": "Back up",
};

/** @param {any} entry */
function what(entry) {
  if (entry.verb === "keys/disable") return entry.parameters?.disabled ? "Disable a key" : "Enable a key";
  if (entry.verb === "prices/update" && entry.parameters?.dry_run) return "Compare prices";
  return VERBS[/** @type {keyof typeof VERBS} */ (entry.verb)] ?? entry.verb;
}

/** Whoever signs in is known only afterwards. @param {any} entry */
const who = (entry) => (entry.by.door === "stranger" && entry.outcome === "done" ? "Administrator" : DOORS[/** @type {keyof typeof DOORS} */ (entry.by.door)] ?? entry.by.door);

/** @type {import("../page.js").Page} */
export const auditPage = {
  title: "Audit log",
  every: 10_000,
  async load({ state }) {
    const [page, keys] = await Promise.all([ifThere(api.auditPage({ limit: PAGE })), api.keys(true)]);
    return { entries: "missing" in page ? page : joined(state, "", page), names: new Map(keys.map((/** @type {any} */ key) => [key.id, key.name])) };
  },
  view({ entries: first, names }, context) {
    const top = head("Audit log", "Every change that an administrator or a program made, newest first.");
    if ("missing" in first) return [top, h("div", { class: "card" }, empty("This server keeps no audit log", "It is of an earlier version than this page."))];
    const entries = [...first, ...context.state.more];
    if (entries.length === 0) return [top, h("div", { class: "card" }, empty("Nothing was changed yet", "Keys that are made, limits that are raised and the like appear here."))];
    const search = (context.query.search ?? "").toLowerCase();
    const shown = entries.filter((/** @type {any} */ entry) => !search || `${JSON.stringify(entry)} ${what(entry)} ${names.get(entry.target) ?? ""}`.toLowerCase().includes(search));
    return [top,
      h("div", { class: "filters" }, h("input", { type: "search", "aria-label": "Search the log", placeholder: "Search: a key, a person, an action", value: context.query.search ?? "", oninput: (/** @type {Event} */ e) => context.set({ search: /** @type {HTMLInputElement} */ (e.target).value }) })),
      h("div", { class: "card card-table" }, shown.length === 0 ? empty("Nothing fits", "Change the search, or show more of the log.") : table({
        caption: "Audit log", stack: "audit", rows: shown, key: (entry) => String(entry.id ?? `${entry.at} ${entry.action}`),
        columns: [
          { id: "at", title: "When", cell: (entry) => h("time", { datetime: entry.at, title: fullTime(entry.at), class: "nowrap num" }, toTheSecond(entry.at)) },
          { id: "who", title: "Who", cell: (entry) => h("div", { class: "two-lines" }, h("span", null, entry.by.name ?? who(entry)), h("span", { class: "quiet small" }, entry.by.name ? DOORS[/** @type {keyof typeof DOORS} */ (entry.by.door)] : "", entry.by.address ? ` ${entry.by.address}` : "")) },
          { id: "what", title: "What", cell: (entry) => [h("span", { title: entry.verb, class: "nowrap" }, what(entry)), entry.outcome === "done" ? null : [" ", badge(sentence(entry.outcome), entry.outcome === "begun" ? "plain" : "bad")]] },
          { id: "target", title: "On", cell: (entry) => target(entry, names) },
          { id: "detail", title: "Details", grow: true, narrow: false, cell: (entry) => h("span", { class: "quiet small breaks" }, entry.reason ? `${sentence(entry.reason)}. ` : "", detail(entry.parameters)) },
        ],
      })),
      moreButton(context, (after) => api.auditPage({ limit: PAGE, after }))];
  },
};

/** @param {any} entry @param {Map<string, string>} names */
function target(entry, names) {
  const id = entry.target;
  if (!id) return h("span", { class: "quiet" }, "–");
  return id.startsWith("key_") ? h("a", { href: `#/keys/${id}` }, names.get(id) ?? id) : h("code", null, id);
}

/** @param {Record<string, any>} parameters */
function detail(parameters) {
  return Object.entries(parameters ?? {}).filter(([, value]) => value !== null && value !== "" && !(Array.isArray(value) && value.length === 0))
    .map(([name, value]) => `${name.replaceAll("_", " ")}: ${written(value)}`).filter((text) => !text.endsWith(": ")).join(", ");
}

/** @param {any} value @returns {string} */
function written(value) {
  if (Array.isArray(value)) return value.map(written).join(" ");
  if (value && typeof value === "object") return detail(value);
  return String(value);
}
