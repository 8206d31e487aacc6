// The configuration that is in force, and what is wrong with the file if it is not that one.

import * as api from "../api.js";
import { h } from "../dom.js";
import { fullTime, plural } from "../format.js";
import { head } from "../page.js";
import { badge, callout, card, copyButton, facts, money, when } from "../parts.js";

/** @type {import("../page.js").Page} */
export const configPage = {
  title: "Configuration",
  every: 3_000,
  async load() {
    const [config, status] = await Promise.all([api.config(), api.status()]);
    return { config, status };
  },
  view({ config, status }) {
    const failure = config.failure;
    return [
      head("Configuration", "The gateway takes a change as soon as the file is saved, and keeps the last good one if it is wrong."),
      failure ? h("section", { class: "card card-bad" },
        h("div", { class: "card-head" }, h("div", null, h("h2", null, failure.problems?.length > 1 ? `The file has ${failure.problems.length} mistakes` : "The file has a mistake"), h("p", { class: "quiet small" }, "found ", when(failure.at), "; the configuration in force is the one before")), copyButton(failure.text)),
        h("pre", { class: "code diagnostics", tabindex: "0", role: "region", "aria-label": "What is wrong with the file" }, h("code", null, failure.text))) : null,
      config.waiting_for_restart.length ? callout("warn", "Changed, but in force only after a restart: ", config.waiting_for_restart.join(", "), ".") : null,
      card("In force", facts([
        ["State", failure ? badge("An earlier file is in force", "warn") : badge("As the file says", "good")],
        ["File", h("code", { class: "breaks" }, config.file)],
        ["In force since", h("span", null, fullTime(config.in_force_since), " (", when(config.in_force_since), ")")],
        ["Taken since the start", config.generation === 1 ? "once" : `${config.generation} times`],
        ["Names", [plural(config.providers, "provider"), ", ", plural(config.models, "model")]],
        ["BLAKE3 of its text", h("code", { class: "breaks", title: config.digest }, `${config.digest.slice(0, 16)}…`)],
        ...config.overrides.map((/** @type {any} */ one) => /** @type {[string, any]} */ ([`Instead of ${one.option}`, h("code", null, one.variable)])),
      ])),
      card("Server", facts([
        ["Version", status.version], ["Store", h("code", { class: "breaks" }, status.store)], ["Keys", String(status.keys)],
        ["Held right now", money(status.held_usd)],
        ["Ledger", status.trouble ? badge(status.trouble, "bad") : badge("Recording", "good")],
      ])),
      card("Check a file before it is saved", h("p", { class: "quiet" }, "On the server, without touching what runs:"),
        h("pre", { class: "code", tabindex: "0" }, h("code", null, `conduit check ${config.file}`))),
    ];
  },
};
