// The administrator's own matters: password, sessions, tokens for programs, and how this browser shows things.

import * as api from "../api.js";
import { h } from "../dom.js";
import { head, ifThere } from "../page.js";
import { FieldProblem, badge, callout, card, confirm, copyButton, dialog, empty, field, fieldError, formDialog, notify, secretBox, table, trouble, when } from "../parts.js";
import { EXPIRIES, expiry } from "./key-form.js";
import { gatewayAddress } from "./secret.js";

/** @type {import("../page.js").Page} */
export const settingsPage = {
  title: "Settings",
  every: 15_000,
  async load() {
    const [sessions, tokens, gateway] = await Promise.all([ifThere(api.sessions()), ifThere(api.tokens()), gatewayAddress()]);
    return { sessions, tokens, gateway };
  },
  view({ sessions, tokens, gateway }, context) {
    return [head("Settings"), password(), sessionCard(sessions, context), tokenCard(tokens, context), browser(gateway)];
  },
};

function password() {
  const place = h("div", { class: "form-problem" });
  const problem = () => document.querySelector("#password-form .form-problem") ?? place;
  return card("Password", h("form", {
    id: "password-form", class: "narrow-form", novalidate: true,
    onsubmit: async (/** @type {Event} */ event) => {
      event.preventDefault();
      const form = /** @type {HTMLFormElement} */ (event.currentTarget);
      const data = new FormData(form);
      problem().replaceChildren();
      for (const name of ["current", "new", "again"]) fieldError(form, name);
      const fresh = String(data.get("new"));
      if (!data.get("current")) return void fieldError(form, "current", "Type the password that holds now.");
      if (fresh.length < 12) return void fieldError(form, "new", "Take at least 12 characters.");
      if (fresh !== data.get("again")) return void fieldError(form, "again", "The two are not the same.");
      try {
        await api.changePassword(String(data.get("current")), fresh);
        form.reset();
        notify("The password is changed. Other sessions have ended.");
      } catch (error) {
        const { member, message } = /** @type {any} */ (error);
        if (!member || !fieldError(form, member, message)) problem().replaceChildren(trouble(error));
      }
    },
  },
  h("input", { type: "text", name: "username", value: "admin", autocomplete: "username", class: "offscreen", tabindex: "-1", "aria-hidden": "true" }),
  field("Current password", h("input", { id: "password-current", type: "password", name: "current", autocomplete: "current-password" })),
  field("New password", h("input", { id: "password-new", type: "password", name: "new", autocomplete: "new-password" }), { hint: "At least 12 characters. A sentence is easier to keep than a riddle." }),
  field("New password again", h("input", { id: "password-again", type: "password", name: "again", autocomplete: "new-password" })),
  place, h("button", { type: "submit", class: "button" }, "Change password")));
}

/** @param {any} sessions @param {import("../page.js").Context} context */
function sessionCard(sessions, context) {
  if ("missing" in sessions) return null;
  const own = context.session.session?.id;
  const end = async (/** @type {any} */ one) => {
    try {
      await api.endSession(one.id);
      notify("That session has ended.");
      await context.refresh();
    } catch (error) {
      notify(/** @type {Error} */ (error).message, "bad");
    }
  };
  return card("Sessions", h("p", { class: "quiet" }, "Where somebody is signed in."), table({
    caption: "Sessions", rows: sessions, key: (one) => one.id, columns: [
      { id: "who", title: "Browser", grow: true, cell: (one) => h("div", { class: "two-lines" }, h("span", null, browserName(one.user_agent), one.id === own ? [" ", badge("This one", "accent")] : null), h("span", { class: "quiet small" }, one.address)) },
      { id: "since", title: "Signed in", cell: (one) => when(one.created_at) },
      { id: "seen", title: "Last seen", narrow: false, cell: (one) => when(one.last_seen_at) },
      { id: "end", title: "", label: "End", end: true, cell: (one) => (one.id === own ? null : h("button", { type: "button", class: "button button-small", onclick: () => end(one) }, "End")) },
    ],
  }));
}

/** @param {string | undefined} agent */
function browserName(agent) {
  if (!agent) return "A browser";
  const name = /Edg\//.test(agent) ? "Edge" : /Firefox\//.test(agent) ? "Firefox" : /Chrome\//.test(agent) ? "Chrome" : /Safari\//.test(agent) ? "Safari" : agent.slice(0, 40);
  const system = /Windows/.test(agent) ? "Windows" : /Android/.test(agent) ? "Android" : /iPhone|iPad/.test(agent) ? "iOS" : /Mac OS/.test(agent) ? "macOS" : /Linux/.test(agent) ? "Linux" : "";
  return system ? `${name} on ${system}` : name;
}

/** @param {any} tokens @param {import("../page.js").Context} context */
function tokenCard(tokens, context) {
  if ("missing" in tokens) return null;
  const create = () => {
    const [once, opened] = [api.attempt(), Date.now()];
    formDialog({
      title: "Create token", action: "Create token",
      fields: [field("Name", h("input", { name: "name", autocomplete: "off", maxlength: 128, autofocus: true, placeholder: "Billing export" })),
        field("May", h("select", { name: "role" }, h("option", { value: "viewer" }, "Look: see everything, change nothing"), h("option", { value: "admin" }, "Administer: everything that you can do"))),
        field("Expires", h("select", { name: "expiry", value: "never" }, EXPIRIES.map(([value, words]) => h("option", { value }, words))))],
      submit: (data) => {
        const name = String(data.get("name") ?? "").trim();
        if (!name) throw new FieldProblem("name", "Give the token a name.");
        return api.createToken({ name, role: String(data.get("role")), expires_at: expiry(data, opened) }, once);
      },
      done: (made) => {
        context.refresh();
        showToken(made);
      },
    });
  };
  return card(h("div", { class: "card-title" }, h("h2", null, "Tokens for programs"), h("button", { type: "button", class: "button button-small", onclick: create }, "Create token")),
    h("p", { class: "quiet" }, "For the admin API: they cannot call models, and keys cannot call the admin API."),
    tokens.length === 0 ? empty("No tokens", "Create one for a script that makes keys or reads the bill.") : table({
      caption: "Tokens", rows: tokens, key: (one) => one.id, columns: [
        { id: "name", title: "Name", grow: true, cell: (one) => h("div", { class: "two-lines" }, h("span", { class: "strong" }, one.name), h("span", { class: "quiet small" }, h("span", { class: "mono" }, `…${one.token_ends_in}`), one.expires_at ? [one.expired ? " · expired " : " · expires ", when(one.expires_at)] : "")) },
        { id: "role", title: "May", cell: (one) => badge(one.role === "admin" ? "Administer" : "Look", one.role === "admin" ? "accent" : "plain") },
        { id: "created", title: "Created", narrow: false, cell: (one) => when(one.created_at) },
        { id: "used", title: "Last used", narrow: false, cell: (one) => when(one.last_used_at) },
        { id: "end", title: "", label: "Revoke", end: true, cell: (one) => h("button", { type: "button", class: "button button-small", onclick: () => confirm({
          title: `Revoke ${one.name}?`, action: "Revoke token", words: h("p", null, "Programs that use it are refused from now on."),
          submit: () => api.revokeToken(one.id), done: () => { notify(`${one.name} is revoked.`); context.refresh(); },
        }) }, "Revoke") },
      ],
    }));
}

/** @param {any} made */
function showToken(made) {
  dialog(`The token ${made.name}`, (close) => {
    const box = secretBox(made.token, "Token");
    return h("div", null, h("div", { class: "dialog-body" }, callout("warn", h("strong", null, "Copy it now: it is shown this once.")),
      h("div", { class: "secret-line" }, box, copyButton(() => box.textContent, "Copy token"))),
    h("div", { class: "dialog-foot" }, h("button", { type: "button", class: "button button-primary", onclick: close }, "Done")));
  }, { persistent: true });
}

/** @param {string} gateway */
function browser(gateway) {
  return card("In this browser", h("form", {
    class: "narrow-form",
    onsubmit: (/** @type {Event} */ event) => {
      event.preventDefault();
      const value = String(new FormData(/** @type {HTMLFormElement} */ (event.currentTarget)).get("gateway") ?? "").trim().replace(/\/$/, "");
      try {
        if (value) localStorage.setItem("conduit.gateway", value);
        else localStorage.removeItem("conduit.gateway");
        notify("Examples now show that address.");
      } catch {
        notify("This browser keeps nothing for this page.", "bad");
      }
    },
  }, field("Address of the gateway in examples", h("input", { id: "gateway-address", name: "gateway", type: "url", autocomplete: "off", value: gateway }), { hint: "As programs reach it, without /v1. It changes what this browser shows and nothing else." }),
  h("button", { type: "submit", class: "button" }, "Save")));
}
