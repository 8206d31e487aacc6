// Where calls go: providers and how they are, models and what they cost, and which have no price.

import * as api from "../api.js";
import { h } from "../dom.js";
import { compact, count, plural, usd } from "../format.js";
import { head, ifThere } from "../page.js";
import { badge, callout, card, empty, table, when } from "../parts.js";
import { catalogueCard, showRates } from "./prices.js";

/** @type {import("../page.js").Page} */
export const modelsPage = {
  title: "Providers & models",
  every: 5_000,
  async load() {
    const [providers, models, prices] = await Promise.all([ifThere(api.providers()), ifThere(api.models()), ifThere(api.prices())]);
    return { providers, models, prices };
  },
  view({ providers, models, prices }, context) {
    return [
      head("Providers & models", "As the configuration file names them. A change there is in force as soon as it is saved."),
      "missing" in providers ? notThere("Providers") : providerCards(providers),
      "missing" in models ? notThere("Models") : modelTable(models, context),
      "missing" in prices ? notThere("Price catalogue") : catalogueCard(prices, context.refresh),
    ];
  },
};

/** @param {string} what */
const notThere = (what) => card(what, empty("This server does not say", "It is of an earlier version than this page. The configuration file has them all."));

/** How a provider fares, from how the models there fare. @param {any} provider @returns {["good" | "warn" | "bad" | "plain", string]} */
function fares(provider) {
  const { targets } = provider;
  if (targets.some((/** @type {any} */ target) => target.cooling_until)) return ["warn", "Cooling down"];
  if (!provider.has_key && provider.base_url !== null && targets.every((/** @type {any} */ target) => target.failed)) return ["warn", "No key"];
  if (targets.length === 0) return ["plain", "Not called yet"];
  const troubled = targets.filter((/** @type {any} */ target) => target.failed > 0 && target.failed >= target.attempts);
  return troubled.length ? ["bad", "Failing"] : ["good", "Answering"];
}

/** @param {any[]} providers */
function providerCards(providers) {
  if (providers.length === 0) return card(null, empty("No providers", "Name one in the configuration file under [providers.NAME]; its kind fills in the rest."));
  return h("div", { class: "provider-list" }, providers.map((provider) => {
    const [kind, words] = fares(provider);
    return h("section", { class: "card provider", "data-key": provider.name },
      h("div", { class: "card-head" }, h("div", null, h("h2", null, provider.name), provider.kind === provider.name ? null : h("p", { class: "quiet small" }, provider.kind)), badge(words, kind)),
      h("p", { class: "quiet small mono breaks" }, provider.base_url ?? "answers by itself"),
      h("p", { class: "quiet small" }, provider.base_url === null ? "Needs no key" : provider.has_key ? "Key is there" : "Calls carry no key",
        provider.is_default ? " · takes what no name fits" : "", ` · ${plural(provider.models.length, "model")}`),
      provider.targets.length === 0 ? null : h("ul", { class: "fares" }, provider.targets.map((/** @type {any} */ target) => h("li", { class: "small", "data-key": target.model },
        h("div", { class: "fares-line" }, h("code", { class: "breaks" }, target.model), h("span", { class: "quiet num nowrap" }, `${count(target.failed)} of ${count(target.attempts)} failed`)),
        target.cooling_until ? h("p", null, "No calls go there until ", when(target.cooling_until), ".") : null,
        target.last_failure ? h("p", { class: "bad-text breaks" }, target.last_failure, target.last_failure_at ? [" · ", when(target.last_failure_at)] : null) : null))));
  }));
}

/** What the first place that a model leads to says of its price. @param {any} model */
const first = (model) => model.targets[0] ?? {};

/** Dollars per million tokens of a class, the ordinary rate. @param {any} target @param {string} what */
const rate = (target, what) => target.rates?.find((/** @type {any} */ one) => one.what === what && !one.when)?.usd ?? null;

const PRICES = /** @type {Record<string, [string, "good" | "bad" | "plain"]>} */ ({
  priced: ["Priced", "plain"], free: ["Free", "good"], unknown: ["No price", "bad"], "by name": ["By its name", "plain"],
});

/** @param {any} model */
function priceCell(model) {
  const target = first(model);
  const [input, output] = [rate(target, "input"), rate(target, "output")];
  if (target.state === "priced" && (input || output)) {
    const others = target.rates.length - Number(Boolean(input)) - Number(Boolean(output));
    return h("button", { type: "button", class: "button-link plain", "aria-haspopup": "dialog", title: "Show every rate", onclick: () => showRates(model) },
      input ? usd(input) : "–", " / ", output ? usd(output) : "–", others > 0 ? ` +${others}` : null);
  }
  const [words, kind] = PRICES[target.state] ?? [String(target.state ?? "–"), "plain"];
  if (target.state !== "priced") return badge(words, kind);
  // Neither tokens in nor out: images, audio, calls.
  return h("button", { type: "button", class: "button-link plain", "aria-haspopup": "dialog", onclick: () => showRates(model) }, plural(target.rates.length, "rate"));
}

/** @param {any[]} models @param {import("../page.js").Context} context */
function modelTable(models, context) {
  if (models.length === 0) return card("Models", empty("No models", "Name one in the configuration file under [models.\"NAME\"], or set routing.default_provider."));
  const without = models.filter((model) => model.targets.some((/** @type {any} */ target) => target.state === "unknown"));
  const { state, query } = context;
  const search = (query.search ?? "").toLowerCase();
  const shown = models.filter((model) => !search || model.name.toLowerCase().includes(search) || targets(model).toLowerCase().includes(search));
  return [
    without.length ? callout("warn", `${plural(without.length, "model has", "models have")} no price: ${without.slice(0, 5).map((model) => model.name).join(", ")}${without.length > 5 ? " …" : ""}. Keys with limits cannot call ${without.length === 1 ? "it" : "them"}. Update the price catalogue below, or give a price in the configuration file.`) : null,
    h("section", { class: "card card-table" },
      h("div", { class: "card-head" }, h("h2", null, "Models"), h("input", { type: "search", "aria-label": "Search models", placeholder: "Search models", value: query.search ?? "", oninput: (/** @type {Event} */ e) => context.set({ search: /** @type {HTMLInputElement} */ (e.target).value }) })),
      table({
        caption: "Models", stack: "models", rows: shown, key: (model) => model.name, sort: state.sort ?? { id: "name", down: false }, onsort: (sort) => { state.sort = sort; context.redraw(); },
        columns: [
          { id: "name", title: "Name", grow: true, value: (model) => model.name, cell: (model) => h("div", { class: "two-lines" }, h("code", null, model.name), model.aliases.length ? h("span", { class: "quiet small" }, "also ", model.aliases.join(", ")) : null) },
          { id: "target", title: "Goes to", value: targets, cell: (model) => targets(model) },
          { id: "price", title: "In / out, per million", end: true, value: (model) => Number(rate(first(model), "input") ?? -1), cell: priceCell },
          { id: "source", title: "Price from", narrow: false, cell: (model) => h("span", { class: "quiet small" }, first(model).from || "–") },
          { id: "output", title: "Longest answer", end: true, narrow: false, value: (model) => first(model).max_output_tokens ?? 0, cell: (model) => (first(model).max_output_tokens ? compact(first(model).max_output_tokens) : "–") },
        ],
      })),
  ];
}

/** @param {any} model */
function targets(model) {
  return model.targets.map((/** @type {any} */ target) => `${target.provider}${target.upstream_model !== model.name ? ` · ${target.upstream_model}` : ""}`).join(", then ");
}
