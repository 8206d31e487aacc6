// The price catalogue: which edition holds, and how a newer list takes its place.

import * as api from "../api.js";
import { h } from "../dom.js";
import { count, plural } from "../format.js";
import { FieldProblem, callout, card, confirm, dialog, facts, field, formDialog, notify, table } from "../parts.js";

/** More than these are told as a number. */
const SHOWN = 200;

/** @param {any} prices @param {() => void} done */
export function catalogueCard(prices, done) {
  const { embedded, update, update_models: models, trouble } = prices;
  return card(h("div", { class: "card-title" }, h("h2", null, "Price catalogue"), h("div", { class: "buttons" },
    update || trouble ? h("button", { type: "button", class: "button button-small", onclick: () => goBack(done) }, "Go back to the built-in prices") : null,
    h("button", { type: "button", class: "button button-small", onclick: () => takeUpdate(done) }, "Update prices"))),
  trouble ? callout("bad", h("strong", null, "The update is not in force: "), trouble) : null,
  facts([
    ["Built in", h("code", null, embedded)],
    ["Update", update ? h("span", null, h("code", null, update), `, ${plural(models, "model")}`) : "None"],
  ]),
  h("p", { class: "quiet small" }, "A price in the configuration file goes before the update, and the update before what is built in. Receipts keep the prices that they were made with."));
}

/** @param {() => void} done */
function goBack(done) {
  confirm({
    title: "Go back to the built-in prices?", action: "Go back",
    words: h("p", null, "The update is removed. Calls from now on cost what the catalogue inside the program says; receipts stay as they are."),
    submit: () => api.resetPrices(),
    done: () => {
      notify("The built-in prices are in force.");
      done();
    },
  });
}

/** Asks for a file and says what it would change. @param {() => void} done */
function takeUpdate(done) {
  /** @type {string} */
  let text = "";
  formDialog({
    title: "Update prices", action: "See what would change",
    fields: [h("p", null, "Choose a price list that you downloaded: LiteLLM's ", h("code", null, "model_prices_and_context_window.json"), " or models.dev's ", h("code", null, "api.json"), ". Nothing is changed yet."),
      field("Price list", h("input", { type: "file", name: "list", accept: ".json,application/json" }))],
    submit: async (data) => {
      const file = /** @type {File} */ (data.get("list"));
      if (!file?.size) throw new FieldProblem("list", "Choose a file.");
      text = await file.text();
      return api.updatePrices(text, true).catch((error) => {
        throw new FieldProblem("list", error.message);
      });
    },
    done: (comparison) => showChanges(comparison, text, done),
  });
}

/** @param {any} comparison @param {string} text @param {() => void} done */
function showChanges(comparison, text, done) {
  const { added, changed, removed, unchanged, unreadable, left_out: leftOut } = comparison;
  const isNothing = added.length + changed.length + removed.length === 0;
  dialog("What would change", (close) => {
    const problem = h("div", { class: "form-problem" });
    const put = h("button", { type: "button", class: "button button-primary", disabled: isNothing, onclick: async () => {
      put.disabled = true;
      try {
        const made = await api.updatePrices(text, false);
        close();
        notify(`Prices of ${plural(made.models, "model")} are in force.`);
        done();
      } catch (error) {
        problem.replaceChildren(callout("bad", /** @type {Error} */ (error).message));
        put.disabled = false;
      }
    } }, "Put in force");
    return h("div", null, h("div", { class: "dialog-body" },
      isNothing ? callout("info", "Nothing would change: these prices are in force already.") : null,
      facts([["Changed", count(changed.length)], ["New", count(added.length)], ["Gone", count(removed.length)], ["As they are", count(unchanged)]]),
      changes("Changed", changed), changes("Gone", removed), changes("New", added),
      unreadable.length ? more(`${plural(unreadable.length, "model")} cannot be read and cost what they did`, unreadable.map((/** @type {any} */ one) => [one.name, one.reason])) : null,
      leftOut.length ? more("Left out, because nobody could sell it", leftOut.map((/** @type {any} */ one) => [one.reason, count(one.count)])) : null,
      problem),
    h("div", { class: "dialog-foot" }, h("button", { type: "button", class: "button", onclick: close }, "Cancel"), put));
  }, { wide: true });
}

/** @param {string} title @param {any[]} list */
function changes(title, list) {
  if (list.length === 0) return null;
  const rows = list.slice(0, SHOWN);
  return h("details", { class: "more", open: title === "Changed" }, h("summary", null, `${title}: ${plural(list.length, "model")}`),
    table({
      caption: title, rows, key: (one) => `${one.provider} ${one.model}`, columns: [
        { id: "model", title: "Model", cell: (one) => h("div", { class: "two-lines" }, h("code", { class: "breaks" }, one.model), h("span", { class: "quiet small" }, one.provider)) },
        { id: "what", title: "What", grow: true, cell: (one) => h("ul", { class: "small" }, one.what.map((/** @type {string} */ what) => h("li", null, what.replace("->", "→").replaceAll("_", " ")))) },
      ],
    }),
    list.length > SHOWN ? h("p", { class: "hint" }, `and ${count(list.length - SHOWN)} more`) : null);
}

/** @param {string} title @param {[string, string][]} pairs */
const more = (title, pairs) => h("details", { class: "more" }, h("summary", null, title), h("ul", { class: "small" }, pairs.slice(0, SHOWN).map(([name, words]) => h("li", null, h("strong", null, name), `: ${words}`))));

/** Every rate of a model, at each place its calls could go. @param {any} model */
export function showRates(model) {
  dialog(`Prices of ${model.name}`, (close) => h("div", null, h("div", { class: "dialog-body" },
    model.targets.map((/** @type {any} */ target) => h("section", { class: "rates" },
      h("h3", null, `${target.provider} · ${target.upstream_model}`),
      h("p", { class: "quiet small" }, `${WORDS[/** @type {keyof typeof WORDS} */ (target.state)] ?? target.state}${target.from ? `, from ${target.from}` : ""}${target.listed_as ? `, listed as ${target.listed_as}` : ""}.`),
      target.rates.length ? table({
        caption: `Rates at ${target.provider}`, rows: target.rates, key: (rate) => `${rate.what} ${rate.when}`, columns: [
          { id: "what", title: "What", cell: (rate) => rate.what.replaceAll("_", " ") },
          { id: "when", title: "When", grow: true, cell: (rate) => rate.when || h("span", { class: "quiet" }, "ordinarily") },
          { id: "usd", title: "Dollars", end: true, cell: (rate) => `$${rate.usd}` },
          { id: "per", title: "Per", cell: (rate) => rate.per },
        ],
      }) : null))),
  h("div", { class: "dialog-foot" }, h("button", { type: "button", class: "button button-primary", onclick: close }, "Close"))), { wide: true });
}

const WORDS = { priced: "Priced", free: "Free", unknown: "No price is known: keys with limits cannot call it", "by name": "As the name that is asked for says" };
