// Where calls go: providers and how they are, models and what they cost, and which have no price.

import * as api from "../api.js";
import { h } from "../dom.js";
import { compact, plural, usd } from "../format.js";
import { head, ifThere } from "../page.js";
import { badge, callout, card, empty, table, when } from "../parts.js";

/** @type {import("../page.js").Page} */
export const modelsPage = {
  title: "Providers & models",
  every: 5_000,
  async load() {
    const [providers, models] = await Promise.all([ifThere(api.providers()), ifThere(api.models())]);
    return { providers, models };
  },
  view({ providers, models }, context) {
    return [
      head("Providers & models", "As the configuration file names them. A change there is in force as soon as it is saved."),
      "missing" in providers ? notThere("Providers") : providerCards(providers),
      "missing" in models ? notThere("Models") : modelTable(models, context),
    ];
  },
};

/** @param {string} what */
const notThere = (what) => card(what, empty("This server does not say", "It is of an earlier version than this page. The configuration file has them all."));

const STATES = /** @type {Record<string, ["good" | "warn" | "bad" | "plain", string]>} */ ({
  ok: ["good", "Healthy"], healthy: ["good", "Healthy"], up: ["good", "Healthy"], cooling: ["warn", "Cooling down"], cooldown: ["warn", "Cooling down"], degraded: ["warn", "Degraded"],
  down: ["bad", "Down"], open: ["bad", "Down"], idle: ["plain", "Not called yet"], unknown: ["plain", "Not called yet"], no_key: ["bad", "Has no key"],
});

/** @param {any[]} providers */
function providerCards(providers) {
  if (providers.length === 0) return card(null, empty("No providers", "Name one in the configuration file under [providers.NAME]; its kind fills in the rest."));
  return h("div", { class: "provider-list" }, providers.map((provider) => {
    // An earlier server says nothing of how a provider is.
    const [kind, words] = provider.state ? STATES[provider.state] ?? ["plain", String(provider.state)] : provider.has_key || provider.base_url === null ? [] : ["warn", "No key"];
    const last = provider.last_error;
    return h("section", { class: "card provider", "data-key": provider.name },
      h("div", { class: "card-head" }, h("div", null, h("h2", null, provider.name), provider.kind === provider.name ? null : h("p", { class: "quiet small" }, provider.kind)), words ? badge(words, kind) : null),
      h("p", { class: "quiet small mono breaks" }, provider.base_url ?? "answers by itself"),
      provider.cooldown_until ? h("p", { class: "small" }, "No calls go there until ", when(provider.cooldown_until), ".") : null,
      last ? h("p", { class: "small bad-text" }, typeof last === "string" ? last : [last.message ?? `status ${last.status}`, last.at ? [" · ", when(last.at)] : null]) : null,
      h("p", { class: "quiet small" }, provider.base_url === null ? "Needs no key" : provider.has_key ? "Key is there" : "Calls carry no key",
        provider.is_default ? " · takes what no name fits" : "",
        provider.models !== undefined ? ` · ${plural(Array.isArray(provider.models) ? provider.models.length : provider.models, "model")}` : "",
        provider.calls_in_flight ? ` · ${plural(provider.calls_in_flight, "call")} under way` : ""));
  }));
}

/** What the first place that a model leads to says of its price. @param {any} model */
const first = (model) => model.targets[0] ?? {};

/** Dollars per million of a class, where they are told. @param {any} target @param {string} name */
function rate(target, name) {
  const value = target.rates?.[name] ?? target.usd_per_million?.[name];
  return value === undefined || value === null ? null : String(value);
}

/** @param {any} model */
function priceCell(model) {
  const target = first(model);
  const [input, output] = [rate(target, "input"), rate(target, "output")];
  if (input || output) return [input ? usd(input) : "–", h("span", { class: "quiet" }, " / "), output ? usd(output) : "–"];
  const [words, kind] = /** @type {Record<string, [string, "good" | "bad" | "plain"]>} */ ({
    priced: ["Priced", "good"], free: ["Free", "good"], unknown: ["No price", "bad"], depends: ["By its name", "plain"],
  })[target.price] ?? [String(target.price ?? "–"), "plain"];
  return badge(words, kind);
}

/** @param {any[]} models @param {import("../page.js").Context} context */
function modelTable(models, context) {
  if (models.length === 0) return card("Models", empty("No models", "Name one in the configuration file under [models.\"NAME\"], or set routing.default_provider."));
  const without = models.filter((model) => model.targets.some((/** @type {any} */ target) => target.price === "unknown"));
  const { state, query } = context;
  const search = (query.search ?? "").toLowerCase();
  const shown = models.filter((model) => !search || model.name.toLowerCase().includes(search) || targets(model).toLowerCase().includes(search));
  return [
    without.length ? callout("warn", `${plural(without.length, "model has", "models have")} no price: ${without.slice(0, 5).map((model) => model.name).join(", ")}${without.length > 5 ? " …" : ""}. Keys with limits cannot call ${without.length === 1 ? "it" : "them"}. Give a price in the configuration file.`) : null,
    h("section", { class: "card card-table" },
      h("div", { class: "card-head" }, h("h2", null, "Models"), h("input", { type: "search", "aria-label": "Search models", placeholder: "Search models", value: query.search ?? "", oninput: (/** @type {Event} */ e) => context.set({ search: /** @type {HTMLInputElement} */ (e.target).value }) })),
      table({
        caption: "Models", stack: "models", rows: shown, key: (model) => model.name, sort: state.sort ?? { id: "name", down: false }, onsort: (sort) => { state.sort = sort; context.redraw(); },
        columns: [
          { id: "name", title: "Name", grow: true, value: (model) => model.name, cell: (model) => h("div", { class: "two-lines" }, h("code", null, model.name), model.aliases?.length ? h("span", { class: "quiet small" }, "also ", model.aliases.join(", ")) : null) },
          { id: "target", title: "Goes to", value: targets, cell: (model) => targets(model) },
          { id: "price", title: "In / out, per million", end: true, value: (model) => Number(rate(first(model), "input") ?? -1), cell: priceCell },
          { id: "source", title: "Price from", narrow: false, cell: (model) => h("span", { class: "quiet small nowrap" }, first(model).price_source ?? "–") },
          { id: "output", title: "Longest answer", end: true, narrow: false, value: (model) => first(model).max_output_tokens ?? 0, cell: (model) => (first(model).max_output_tokens ? compact(first(model).max_output_tokens) : "–") },
        ],
      })),
  ];
}

/** @param {any} model */
function targets(model) {
  return model.targets.map((/** @type {any} */ target) => `${target.provider}${target.model && target.model !== model.name ? ` · ${target.model}` : ""}`).join(", then ");
}
