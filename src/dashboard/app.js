// Starts the dashboard: asks whether somebody is signed in, shows the frame, and follows the address.

import * as api from "./api.js";
import { h, show } from "./dom.js";
import { navigate, place, whenMoved } from "./place.js";
import { PageRun } from "./page.js";
import { icon, notify } from "./parts.js";
import { signInPage } from "./pages/sign-in.js";
import { overview } from "./pages/overview.js";
import { keysPage } from "./pages/keys.js";
import { keyPage } from "./pages/key.js";
import { teamsPage } from "./pages/teams.js";
import { usagePage } from "./pages/usage.js";
import { requestsPage } from "./pages/requests.js";
import { requestPage } from "./pages/request.js";
import { modelsPage } from "./pages/models.js";
import { configPage } from "./pages/config.js";
import { auditPage } from "./pages/audit.js";
import { settingsPage } from "./pages/settings.js";
import { choose, playgroundPage } from "./pages/playground.js";

/** @typedef {import("./page.js").Page} Page */

/** @type {[RegExp, Page][]} */
const ROUTES = [
  [/^\/$/, overview], [/^\/keys$/, keysPage], [/^\/keys\/([^/]+)$/, keyPage], [/^\/teams$/, teamsPage],
  [/^\/usage$/, usagePage], [/^\/requests$/, requestsPage], [/^\/requests\/([^/]+)$/, requestPage],
  [/^\/models$/, modelsPage], [/^\/config$/, configPage], [/^\/audit$/, auditPage], [/^\/settings$/, settingsPage],
  [/^\/playground$/, playgroundPage],
];

/** @type {{to: string, text: string, icon: Parameters<typeof icon>[0], group?: string}[]} */
const NAVIGATION = [
  { to: "/", text: "Overview", icon: "overview" },
  { to: "/keys", text: "API keys", icon: "keys" },
  { to: "/teams", text: "Teams", icon: "teams" },
  { to: "/playground", text: "Playground", icon: "playground" },
  { to: "/usage", text: "Usage", icon: "usage", group: "Bill" },
  { to: "/requests", text: "Requests", icon: "requests" },
  { to: "/models", text: "Providers & models", icon: "models", group: "Server" },
  { to: "/config", text: "Configuration", icon: "config" },
  { to: "/audit", text: "Audit log", icon: "audit" },
  { to: "/settings", text: "Settings", icon: "settings" },
];

const root = /** @type {HTMLElement} */ (document.getElementById("app"));
/** @type {any} */
let session = null;
/** @type {PageRun | null} */
let run = null;
/** @type {HTMLElement | null} */
let main = null;

async function start() {
  api.onSignedOut(() => {
    if (!session) return;
    session = null;
    notify("Your session has ended. Sign in again to go on.", "bad");
    askToSignIn();
  });
  whenMoved(follow);
  try {
    session = await api.session();
  } catch (error) {
    return askToSignIn(error instanceof api.ApiError && error.status !== 401 ? error : null);
  }
  frame();
}

/** @param {Error | null} [problem] */
function askToSignIn(problem = null) {
  run?.stop();
  run = null;
  main = null;
  choose("", "");
  for (const open of document.querySelectorAll("dialog")) open.close();
  document.title = "Sign in · Conduit";
  root.replaceChildren(signInPage(problem, (made) => {
    session = made;
    frame();
  }));
  /** @type {HTMLElement | null} */ (root.querySelector("[autofocus]"))?.focus();
}

async function signOut() {
  try {
    await api.signOut();
  } catch (error) {
    if (!(error instanceof api.ApiError && error.status === 401)) return notify(`You are still signed in: ${/** @type {Error} */ (error).message}`, "bad");
  }
  session = null;
  askToSignIn();
}

function frame() {
  const links = NAVIGATION.map((entry) => [
    entry.group ? h("li", { class: "nav-group", "aria-hidden": "true" }, entry.group) : null,
    h("li", null, h("a", { href: `#${entry.to}`, "data-to": entry.to, onclick: closeMenu }, icon(entry.icon), entry.text)),
  ]);
  const nav = h("nav", { id: "navigation", class: "nav", "aria-label": "Main" },
    h("a", { class: "brand", href: "#/", onclick: closeMenu }, h("img", { src: "assets/icon.svg", width: 26, height: 26, alt: "" }), "Conduit"),
    h("ul", null, links),
    h("div", { class: "nav-foot" },
      h("button", { type: "button", class: "nav-button", onclick: switchTheme }, icon("sun"), h("span", { class: "theme-word" }, themeWord())),
      h("button", { type: "button", class: "nav-button", onclick: signOut }, icon("out"), "Sign out")));
  const opener = h("button", { type: "button", class: "button-icon nav-opener", "aria-label": "Menu", "aria-controls": "navigation", "aria-expanded": "false", onclick: () => setMenu(!root.classList.contains("nav-open")) }, icon("menu"));
  const content = h("main", { id: "main", tabindex: "-1" });
  main = content;
  root.replaceChildren(
    h("a", { class: "skip", href: "#main", onclick: (/** @type {Event} */ event) => { event.preventDefault(); content.focus(); } }, "Skip to the content"),
    h("header", { class: "topbar" }, opener, h("a", { class: "brand", href: "#/" }, h("img", { src: "assets/icon.svg", width: 24, height: 24, alt: "" }), "Conduit")),
    nav, h("div", { class: "nav-shade", onclick: closeMenu }), content);
  follow();
}

/** @param {boolean} open */
function setMenu(open) {
  root.classList.toggle("nav-open", open);
  root.querySelector(".nav-opener")?.setAttribute("aria-expanded", String(open));
  if (open) /** @type {HTMLElement | null} */ (root.querySelector(".nav a"))?.focus();
}

function closeMenu() {
  setMenu(false);
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && root.classList.contains("nav-open")) closeMenu();
});

const THEMES = ["system", "light", "dark"];
const theme = () => document.documentElement.dataset.theme ?? "system";
const themeWord = () => ({ system: "Theme: system", light: "Theme: light", dark: "Theme: dark" })[theme()] ?? "";

function switchTheme() {
  const next = THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length] ?? "system";
  if (next === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  try {
    if (next === "system") localStorage.removeItem("conduit.theme");
    else localStorage.setItem("conduit.theme", next);
  } catch {
    // Then it holds until the page is left.
  }
  const word = root.querySelector(".theme-word");
  if (word) show(word, themeWord());
}

/** Shows the page that the address names. */
function follow() {
  if (!session || !main) return;
  const { path, query } = place();
  for (const link of root.querySelectorAll(".nav a[data-to]")) {
    const to = link.getAttribute("data-to") ?? "";
    if (to === path || (to !== "/" && path.startsWith(`${to}/`))) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  for (const [pattern, page] of ROUTES) {
    const match = pattern.exec(path);
    if (!match) continue;
    const argument = match[1] === undefined ? "" : decodeURIComponent(match[1]);
    if (run?.is(page, argument)) return run.moved(query);
    run?.stop();
    const isFirst = run === null;
    run = new PageRun(page, main, { argument, query, session });
    run.start();
    if (!isFirst) {
      scrollTo(0, 0);
      main.focus({ preventScroll: true });
    }
    return;
  }
  navigate("/");
}

start();
