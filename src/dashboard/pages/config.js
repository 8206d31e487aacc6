// The configuration that is in force, and what is wrong with the file if it is not that one.

import * as api from "../api.js";
import { h } from "../dom.js";
import { fullTime } from "../format.js";
import { head } from "../page.js";
import { badge, callout, card, copyButton, facts, money, when } from "../parts.js";

/** @type {import("../page.js").Page} */
export const configPage = {
  title: "Configuration",
  every: 3_000,
  load: () => api.status(),
  view(status) {
    const config = status.config;
    return [
      head("Configuration", "The gateway takes a change as soon as the file is saved, and keeps the last good one if it is wrong."),
      config?.last_error ? h("section", { class: "card card-bad" },
        h("div", { class: "card-head" }, h("div", null, h("h2", null, "The file has a mistake"), h("p", { class: "quiet small" }, "found ", when(config.failed_at), "; the configuration in force is the one before")), copyButton(config.last_error)),
        h("pre", { class: "code diagnostics", tabindex: "0", role: "region", "aria-label": "What is wrong with the file" }, h("code", null, config.last_error))) : null,
      config?.waiting_for_restart?.length ? callout("warn", "Changed, but in force only after a restart: ", config.waiting_for_restart.join(", "), ".") : null,
      config ? card("In force", facts([
        ["State", config.last_error ? badge("An earlier file is in force", "warn") : badge("As the file says", "good")],
        ["File", h("code", { class: "breaks" }, config.file)],
        ["In force since", h("span", null, fullTime(config.in_force_since), " (", when(config.in_force_since), ")")],
        ["Taken since the start", `${config.generation} ${config.generation === 1 ? "time" : "times"}`],
      ])) : callout("info", "No server runs with a configuration."),
      card("Server", facts([
        ["Version", status.version], ["Store", h("code", { class: "breaks" }, status.store)], ["Keys", String(status.keys)],
        ["Held right now", money(status.held_usd)],
        ["Ledger", status.trouble ? badge(status.trouble, "bad") : badge("Recording", "good")],
      ])),
      card("Check a file before it is saved", h("p", { class: "quiet" }, "On the server, without touching what runs:"),
        h("pre", { class: "code", tabindex: "0" }, h("code", null, `conduit check ${config?.file ?? "conduit.toml"}`))),
    ];
  },
};
