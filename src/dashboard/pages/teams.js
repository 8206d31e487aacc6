// Teams: limits that several keys share.

import * as api from "../api.js";
import { h } from "../dom.js";
import { plural } from "../format.js";
import { head } from "../page.js";
import { FieldProblem, confirm, empty, field, formDialog, icon, limitLine, menu, notify, when } from "../parts.js";

const PERIODS = /** @type {const} */ (["daily", "weekly", "monthly"]);

/** @type {import("../page.js").Page} */
export const teamsPage = {
  title: "Teams",
  every: 5_000,
  load: () => api.teams(),
  view(teams, context) {
    const create = () => edit(null, context.refresh);
    const button = h("button", { type: "button", class: "button button-primary", onclick: create }, icon("plus"), "Create team");
    return [
      head("Teams", "What the keys of a team spend counts against the team's limits as well as their own.", button),
      teams.length === 0 ? h("div", { class: "card" }, empty("No teams yet", "Make one to give several keys a limit together; keys join it when they are created or edited.", h("button", { type: "button", class: "button button-primary", onclick: create }, "Create team")))
        : h("div", { class: "team-list" }, teams.map((/** @type {any} */ team) => card(team, context))),
    ];
  },
};

/** @param {any} team @param {import("../page.js").Context} context */
function card(team, context) {
  return h("section", { class: "card", "data-key": team.id },
    h("div", { class: "card-head" }, h("div", null, h("h2", null, team.name), h("p", { class: "quiet small" }, plural(team.keys.length, "key"), " · made ", when(team.created_at), team.calls_in_flight ? ` · ${plural(team.calls_in_flight, "call")} under way` : "")),
      menu(`Actions for ${team.name}`, [{ text: "Change limits", run: () => edit(team, context.refresh) }, { text: "Delete", danger: true, run: () => remove(team, context.refresh) }])),
    h("div", { class: "limit-lines" }, team.windows.map((/** @type {any} */ window) => limitLine(window))),
    team.keys.length ? h("div", { class: "chips" }, team.keys.map((/** @type {any} */ key) => h("a", { class: "chip", href: `#/keys/${key.id}` }, key.name)))
      : h("p", { class: "quiet small" }, "No keys are in it. Choose it when you create or edit a key."));
}

/** @param {any} team or none to make one @param {() => void} done */
function edit(team, done) {
  const once = api.attempt();
  const limit = (/** @type {string} */ period) => team?.windows.find((/** @type {any} */ w) => w.period === period)?.limit ?? "";
  formDialog({
    title: team ? `Limits of ${team.name}` : "Create team", action: team ? "Save" : "Create team",
    fields: [
      team ? null : field("Name", h("input", { name: "name", autocomplete: "off", maxlength: 128, autofocus: true, placeholder: "Research" })),
      h("fieldset", null, h("legend", null, "Spending limits", h("span", { class: "quiet" }, " optional")), h("div", { class: "fields-3" }, PERIODS.map((period) =>
        field({ daily: "Daily", weekly: "Weekly", monthly: "Monthly" }[period], h("div", { class: "input-usd" }, h("span", { "aria-hidden": "true" }, "$"), h("input", { name: period, inputmode: "decimal", autocomplete: "off", placeholder: "No limit", value: limit(period) })))))),
    ],
    submit: (data) => {
      const limits = Object.fromEntries(PERIODS.map((period) => {
        const text = String(data.get(period) ?? "").trim().replace(/[$_,]/g, "");
        if (text && !/^\d+(\.\d{1,9})?$/.test(text)) throw new FieldProblem(period, "Write an amount in dollars, such as 50 or 2.50.");
        return [period, text || null];
      }));
      if (team) return api.setTeamLimits(team.id, limits);
      const name = String(data.get("name") ?? "").trim();
      if (!name) throw new FieldProblem("name", "Give the team a name.");
      return api.createTeam({ name, limits }, once);
    },
    done: (made) => {
      notify(team ? `The limits of ${team.name} are changed.` : `${made.name} is made.`);
      done();
    },
  });
}

/** @param {any} team @param {() => void} done */
function remove(team, done) {
  confirm({
    title: `Delete ${team.name}?`, action: "Delete team", name: team.name,
    words: team.keys.length
      ? h("p", null, `${plural(team.keys.length, "key is", "keys are")} still in it: take them out of it first.`)
      : h("p", null, "Its limits go with it. What its keys spent stays in the bill."),
    submit: () => api.deleteTeam(team.id),
    done: () => {
      notify(`${team.name} is deleted.`);
      done();
    },
  });
}
