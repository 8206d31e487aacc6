// The dialogs about one key: create, edit, rotate, disable, revoke, adjust; and the one that shows a secret.

import * as api from "../api.js";
import { h } from "../dom.js";
import { nano, usd } from "../format.js";
import { FieldProblem, confirm, field, formDialog, notify } from "../parts.js";
import { showSecret } from "./secret.js";

const PERIODS = /** @type {const} */ (["daily", "weekly", "monthly"]);
const AMOUNT = /^\$?\d[\d_,]*(\.\d{1,9})?$/;
const GRACE = /** @type {[string, string][]} */ ([["0", "At once"], ["3600000", "After an hour"], ["86400000", "After a day"], ["604800000", "After a week"]]);

/** @param {FormData} data @param {string} name */
const text = (data, name) => String(data.get(name) ?? "").trim();

/** An amount or nothing, as the server writes it. @param {FormData} data @param {string} name */
function amount(data, name) {
  const written = text(data, name);
  if (!written) return null;
  if (!AMOUNT.test(written)) throw new FieldProblem(name, "Write an amount in dollars, such as 5, 2.50 or 0.001.");
  return written.replace(/[$_,]/g, "");
}

/** @param {FormData} data @param {string} name */
function whole(data, name) {
  const written = text(data, name);
  if (!written) return null;
  if (!/^\d{1,15}$/.test(written) || Number(written) === 0) throw new FieldProblem(name, "Write a whole number above 0, or nothing.");
  return Number(written);
}

/** What can be chosen of how long something is good, in days. */
export const EXPIRIES = /** @type {[string, string][]} */ ([["never", "Never"], ["7", "In 7 days"], ["30", "In 30 days"], ["90", "In 90 days"], ["365", "In a year"]]);

/**
 * Days count from when the dialog was opened, so that what is sent again after a lost answer is the same.
 * @param {FormData} data @param {number} opened
 */
export function expiry(data, opened) {
  const chosen = text(data, "expiry");
  if (chosen === "never") return null;
  if (chosen === "date") {
    const day = text(data, "expires_on");
    const [year = 0, month = 1, date = 1] = day.split("-").map(Number);
    // The end of that day where the viewer is.
    const end = new Date(year, month - 1, date + 1);
    if (!day || Number.isNaN(end.getTime())) throw new FieldProblem("expires_on", "Choose the last day.");
    if (end.getTime() <= Date.now()) throw new FieldProblem("expires_on", "That day has passed.");
    return end.toISOString();
  }
  return new Date(opened + Number(chosen) * 86_400_000).toISOString();
}

/** @param {FormData} data @param {string} name */
const list = (data, name) => text(data, name).split(/[\s,]+/).filter(Boolean);

/** What a key may be held to beside models, as the server names it; by whose API it is. */
export const ENDPOINTS = /** @type {[string, string[]][]} */ ([
  ["OpenAI", ["chat/completions", "completions", "embeddings", "moderations", "responses", "images/generations", "images/edits", "audio/speech", "audio/transcriptions", "audio/translations", "rerank"]],
  ["Anthropic", ["messages", "messages/count_tokens"]],
  ["Gemini", ["generateContent", "streamGenerateContent", "countTokens", "embedContent", "batchEmbedContents"]],
  ["Bedrock", ["converse", "converse-stream"]],
]);

/** One tag a line. @param {[string, string][]} tags */
const tagText = (tags) => tags.map(([name, value]) => `${name}=${value}`).join("\n");

/** @param {FormData} data @returns {[string, string][]} */
function tags(data) {
  return text(data, "tags").split("\n").map((line) => line.trim()).filter(Boolean).map((line) => {
    const at = line.indexOf("=");
    const [name, value] = [line.slice(0, at).trim(), line.slice(at + 1).trim()];
    if (at < 1 || !name || !value) throw new FieldProblem("tags", `Write a name, = and a value, such as team=web: “${line}” is not so.`);
    return [name, value];
  });
}

/** @param {any} [key] the one to edit */
function limitFields(key) {
  const set = (/** @type {string} */ period) => key?.windows?.find((/** @type {any} */ w) => w.period === period)?.limit ?? "";
  return h("fieldset", null, h("legend", null, "Spending limits", h("span", { class: "quiet" }, " optional")),
    h("div", { class: "fields-3" }, PERIODS.map((period) => field({ daily: "Daily", weekly: "Weekly", monthly: "Monthly" }[period],
      h("div", { class: "input-usd" }, h("span", { "aria-hidden": "true" }, "$"), h("input", { name: period, inputmode: "decimal", autocomplete: "off", placeholder: "No limit", value: set(period) }))))),
    h("p", { class: "hint" }, "In dollars. A limit is a ceiling: what calls can cost at most is set aside before they are sent. They reset every 24 hours, 7 days and 30 days, or by the calendar where the configuration says so."));
}

/** @param {any[]} teams @param {any[]} models @param {any} [key] */
function accessFields(teams, models, key) {
  const names = h("datalist", { id: "model-names" }, models.map((model) => h("option", { value: model.name })));
  const select = h("select", { name: "team", value: key?.team ?? "" }, h("option", { value: "" }, "No team"), teams.map((team) => h("option", { value: team.name }, team.name)));
  const dated = field("Last day", h("input", { type: "date", name: "expires_on", value: key?.expires_at ? localDay(key.expires_at) : "" }));
  dated.hidden = !key?.expires_at;
  const expires = h("select", {
    name: "expiry", value: key?.expires_at ? "date" : "never",
    onchange: (/** @type {Event} */ event) => { dated.hidden = /** @type {HTMLSelectElement} */ (event.target).value !== "date"; },
  }, [...EXPIRIES, ["date", "On a day…"]].map(([value, words]) => h("option", { value }, words)));
  return [
    h("div", { class: "fields-2" }, field("Team", select, { hint: teams.length ? "The team's limits hold as well." : "There are no teams yet." }),
      h("div", null, field("Expires", expires), dated)),
    field("Models", h("input", { name: "models", list: "model-names", autocomplete: "off", spellcheck: "false", placeholder: "All models", value: (key?.models ?? []).join(", ") }), { optional: true, hint: "Names with commas between them; a * stands for anything, as in gpt-4*." }), names,
    h("details", { class: "more", open: Boolean(key && (key.rpm || key.tpm || key.parallel || key.allow_ips?.length || key.enforcement)) }, h("summary", null, "Rates, networks and enforcement"),
      h("div", { class: "fields-3" },
        field("Requests / min", h("input", { name: "rpm", inputmode: "numeric", autocomplete: "off", placeholder: "No limit", value: key?.rpm ?? "" })),
        field("Tokens / min", h("input", { name: "tpm", inputmode: "numeric", autocomplete: "off", placeholder: "No limit", value: key?.tpm ?? "" })),
        field("At the same time", h("input", { name: "parallel", inputmode: "numeric", autocomplete: "off", placeholder: "No limit", value: key?.parallel ?? "" }))),
      field("Networks", h("input", { name: "allow_ips", autocomplete: "off", spellcheck: "false", placeholder: "Any", value: (key?.allow_ips ?? []).join(", ") }), { optional: true, hint: "From where the key may be used: 10.0.0.0/8, 192.0.2.1." }),
      field("Enforcement", h("select", { name: "enforcement", value: key?.enforcement ?? "" },
        h("option", { value: "" }, "As the configuration says"), h("option", { value: "hard" }, "Hard: never spend more than a limit"), h("option", { value: "soft" }, "Soft: admit calls while less is spent")),
      { hint: "Hard holds a call back until it surely fits. Soft can pass a limit by what is under way." })),
    h("details", { class: "more", open: Boolean(key?.endpoints?.length) }, h("summary", null, "Endpoints"),
      h("p", { class: "hint" }, "With none chosen the key may call all of them."),
      ENDPOINTS.map(([whose, names]) => h("fieldset", { class: "endpoints" }, h("legend", null, whose),
        h("div", { class: "checks" }, names.map((name) => h("label", { class: "check" }, h("input", { type: "checkbox", name: "endpoints", value: name, checked: Boolean(key?.endpoints?.includes(name)) }), h("code", null, name))))))),
    h("details", { class: "more", open: Boolean(key?.tags?.length) }, h("summary", null, "Tags"),
      field("Tags", h("textarea", { name: "tags", rows: 3, autocomplete: "off", spellcheck: "false", placeholder: "team=web", value: tagText(key?.tags ?? []) }), { optional: true, hint: "One on each line, as name=value. They stand on the key and change nothing about its calls." })),
  ];
}

/** The last whole day before an instant. @param {string} time */
function localDay(time) {
  const day = new Date(Date.parse(time) - 1);
  return `${day.getFullYear()}-${String(day.getMonth() + 1).padStart(2, "0")}-${String(day.getDate()).padStart(2, "0")}`;
}

/** @param {FormData} data @param {number} opened */
function read(data, opened) {
  const name = text(data, "name");
  if (!name) throw new FieldProblem("name", "Give the key a name, such as “Production server”.");
  return {
    name, expires_at: expiry(data, opened), models: list(data, "models"), team: text(data, "team") || null,
    rpm: whole(data, "rpm"), tpm: whole(data, "tpm"), parallel: whole(data, "parallel"), allow_ips: list(data, "allow_ips"),
    endpoints: data.getAll("endpoints").map(String), enforcement: text(data, "enforcement") || null, tags: tags(data),
  };
}

/** What the dialogs offer to choose from; they open without it if it cannot be had. */
async function choices() {
  const [teams, models] = await Promise.all([api.teams().catch(() => []), api.models().catch(() => [])]);
  return { teams, models };
}

const nameField = (value = "") => field("Name", h("input", { name: "name", autocomplete: "off", maxlength: 128, required: true, autofocus: true, placeholder: "Production server", value }), { hint: "What the key is for. You can change it." });

/** @param {() => void} done */
export async function createKey(done) {
  const { teams, models } = await choices();
  const [once, opened] = [api.attempt(), Date.now()];
  formDialog({
    title: "Create new key", action: "Create key", wide: true,
    fields: [nameField(), limitFields(), accessFields(teams, models)],
    submit: (data) => {
      const body = read(data, opened);
      const limits = Object.fromEntries(PERIODS.map((period) => [period, amount(data, period)]));
      return api.createKey({ ...body, limits }, once);
    },
    done: (made) => {
      done();
      showSecret(made, "Your new key", done);
    },
  });
}

/** @param {any} key @param {() => void} done */
export async function editKey(key, done) {
  const { teams, models } = await choices();
  formDialog({
    title: `Edit ${key.name}`, action: "Save", wide: true,
    fields: [nameField(key.name), limitFields(key), accessFields(teams, models, key)],
    submit: async (data) => {
      const limits = Object.fromEntries(PERIODS.map((period) => [period, amount(data, period)]));
      const body = read(data, Date.now());
      // What the form cannot write, such as a tag with = in its name, stays as long as nobody touches it.
      if (text(data, "tags") === tagText(key.tags).trim()) body.tags = key.tags;
      if (key.expires_at && text(data, "expiry") === "date" && localDay(key.expires_at) === text(data, "expires_on")) body.expires_at = key.expires_at;
      await api.changeKey(key.id, body);
      return api.setKeyLimits(key.id, limits);
    },
    done: () => {
      notify(`${key.name} is changed: the next call finds it so.`);
      done();
    },
  });
}

/** @param {any} key @param {() => void} done */
export function rotateKey(key, done) {
  formDialog({
    title: `Rotate ${key.name}`, action: "Make a new secret",
    fields: [h("p", null, "The key gets a new secret; its name, limits and spend stay as they are."),
      field("The old secret ends", h("select", { name: "grace", value: "86400000" }, GRACE.map(([value, words]) => h("option", { value }, words))), { hint: "Until then both are good, so that programs can be moved one by one." })],
    submit: (data) => api.rotateKey(key.id, Number(data.get("grace"))),
    done: (made) => {
      done();
      showSecret(made, `The new secret of ${key.name}`, done);
    },
  });
}

/** @param {any} key @param {boolean} disabled @param {() => void} done */
export async function setDisabled(key, disabled, done) {
  try {
    await api.setDisabled(key.id, disabled);
    notify(disabled ? `${key.name} is disabled: calls with it are refused.` : `${key.name} is enabled again.`);
    done();
  } catch (error) {
    notify(/** @type {Error} */ (error).message, "bad");
  }
}

/** @param {any} key @param {() => void} done */
export function revokeKey(key, done) {
  confirm({
    title: `Revoke ${key.name}?`, action: "Revoke key", name: key.name,
    words: [h("p", null, "Every program that uses ", h("strong", null, key.name), " (…", key.secret_ends_in, ") is refused from now on. ", h("strong", null, "This cannot be undone."), " Its receipts stay."),
      h("p", { class: "quiet" }, "To close it for a while, disable it instead.")],
    submit: () => api.revokeKey(key.id),
    done: () => {
      notify(`${key.name} is revoked.`);
      done();
    },
  });
}

/** @param {any} key @param {() => void} done */
export function adjustKey(key, done) {
  formDialog({
    title: `Adjust the spend of ${key.name}`, action: "Adjust",
    fields: [h("p", null, "Charges the key, or gives money back, besides what calls cost. It counts in the present windows and cannot be changed afterwards: only adjusted again."),
      field("What to do", h("select", { name: "kind" }, h("option", { value: "-" }, "Credit: give back"), h("option", { value: "" }, "Charge"))),
      field("Amount", h("div", { class: "input-usd" }, h("span", { "aria-hidden": "true" }, "$"), h("input", { name: "amount", inputmode: "decimal", autocomplete: "off", autofocus: true }))),
      field("Reason", h("input", { name: "why", maxlength: 500, autocomplete: "off" }), { hint: "It stands in the ledger beside the amount." })],
    submit: (data) => {
      const value = amount(data, "amount");
      if (!value || nano(value) === 0n) throw new FieldProblem("amount", "Write an amount above 0.");
      if (!text(data, "why")) throw new FieldProblem("why", "Say why.");
      return api.adjust({ key: key.id, amount_usd: `${data.get("kind")}${value}`, why: text(data, "why"), by: "dashboard" });
    },
    done: (made) => {
      notify(`${usd(made.amount_usd)} on ${key.name}.`);
      done();
    },
  });
}

/** What can be done with a key. @param {any} key @param {() => void} done @returns {({text: string, run: () => void, danger?: boolean} | null)[]} */
export const actionsFor = (key, done) => (key.status === "revoked" ? [] : [
  { text: "Edit", run: () => editKey(key, done) },
  { text: "Rotate secret", run: () => rotateKey(key, done) },
  { text: "Adjust spend", run: () => adjustKey(key, done) },
  key.status === "disabled" ? { text: "Enable", run: () => setDisabled(key, false, done) } : { text: "Disable", run: () => setDisabled(key, true, done) },
  { text: "Revoke", danger: true, run: () => revokeKey(key, done) },
]);
