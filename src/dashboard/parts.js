// What pages are built of: tables, dialogs, bars, badges, notices. Each says in words what it shows by
// colour, and works with the keyboard alone.

import { component, h, patch, s } from "./dom.js";
import { count, fullTime, glance, nano, percent, relative, sentence, usd } from "./format.js";

const ICONS = {
  overview: "M3 12.500V17h3.500v-4.500zM8.250 7.500V17h3.500V7.500zM13.500 3v14H17V3z",
  keys: "M7 8.500a4.500 4.500 0 1 1 3.300 4.330L9 14.100V16H7v2H3v-4l4.300-4.300A4.500 4.500 0 0 1 7 8.500zM12.500 6.500h.01",
  teams: "M7.500 9.500a3 3 0 1 0 0-6 3 3 0 0 0 0 6zM2.500 16.500c0-2.800 2.200-4.500 5-4.500s5 1.700 5 4.500M13 4a2.800 2.800 0 0 1 0 5.200M14.500 12.300c1.800.6 3 2 3 4.200",
  usage: "M2.500 17.500h15M3.500 13.500l4-5 3.500 3 5.500-7",
  requests: "M4 5h12M4 10h12M4 15h8",
  models: "M10 2.500l6.500 3.750v7.500L10 17.500l-6.500-3.750v-7.500zM3.700 6.300L10 10l6.300-3.700M10 10v7.300",
  config: "M4 6h6M14 6h2M4 14h2M10 14h6M12 4v4M8 12v4",
  audit: "M10 2.500l6 2.500v4.500c0 4-2.600 6.700-6 8-3.400-1.300-6-4-6-8V5zM7.300 10l2 2 3.500-4",
  settings: "M10 12.500a2.500 2.500 0 1 0 0-5 2.500 2.500 0 0 0 0 5zM10 2.500v2M10 15.500v2M2.500 10h2M15.500 10h2M4.700 4.700l1.400 1.400M13.900 13.900l1.400 1.400M4.700 15.300l1.400-1.400M13.900 6.100l1.400-1.400",
  playground: "M6 3.500v13l10.500-6.500z",
  copy: "M7 7V3.500h9.500V13H13M3.500 7H13v9.500H3.500z",
  check: "M4 10.500l4 4 8-9",
  close: "M5 5l10 10M15 5L5 15",
  menu: "M3 5.500h14M3 10h14M3 14.500h14",
  plus: "M10 4v12M4 10h12",
  more: "M5 10h.01M10 10h.01M15 10h.01",
  warning: "M10 3l7.500 13.500h-15zM10 8v4M10 14.200v.1",
  sun: "M10 13.500a3.500 3.500 0 1 0 0-7 3.500 3.500 0 0 0 0 7zM10 2v1.500M10 16.500V18M2 10h1.500M16.500 10H18M4.300 4.300l1.100 1.100M14.600 14.600l1.100 1.100M4.300 15.700l1.100-1.100M14.600 5.400l1.100-1.100",
  download: "M10 3v10M5.500 9L10 13.500 14.500 9M3.500 17h13",
  out: "M8 3.500H3.500v13H8M12.500 6.500L16 10l-3.500 3.500M16 10H8",
  back: "M12.500 4.500L7 10l5.500 5.500",
};

/** @param {keyof typeof ICONS} name */
export const icon = (name) =>
  s("svg", { class: `icon icon-${name}`, viewBox: "0 0 20 20", width: 18, height: 18, "aria-hidden": "true", focusable: "false" },
    s("path", { d: ICONS[name], fill: "none", stroke: "currentColor", "stroke-width": name === "more" ? 2.6 : 1.5, "stroke-linecap": "round", "stroke-linejoin": "round" }));

/** An amount in full. @param {string | bigint} amount @param {number} [decimals] */
export const money = (amount, decimals) => h("span", { class: "num" }, usd(amount, decimals));

/** An amount in a column: what is filled up so that the points stand below each other is faint. @param {string | bigint} amount @param {number} decimals */
export function aligned(amount, decimals) {
  const exact = usd(amount);
  const padded = usd(amount, decimals);
  return [exact, padded.length > exact.length ? h("span", { class: "padding", "aria-hidden": "true" }, padded.slice(exact.length)) : null];
}

/** An amount at a glance, the exact one on hover. @param {string | bigint} amount */
export function about(amount) {
  const short = glance(amount);
  const exact = usd(amount);
  return h("span", { class: "num", title: short === exact ? null : `Exactly ${exact}` }, short);
}

/** An instant in words, in full on hover. @param {string | null | undefined} time */
export const when = (time) => (time ? h("time", { datetime: time, title: fullTime(time) }, relative(time)) : h("span", { class: "quiet" }, "–"));

/** @param {string} text @param {"good" | "bad" | "warn" | "plain" | "accent"} kind */
export const badge = (text, kind = "plain") => h("span", { class: `badge badge-${kind}` }, text);

const STATUS = /** @type {const} */ ({ active: "good", disabled: "warn", expired: "warn", revoked: "bad" });
/** @param {keyof typeof STATUS} status */
export const keyStatus = (status) => badge(sentence(status), STATUS[status] ?? "plain");

/** @param {number} status */
export function httpStatus(status) {
  const kind = status < 400 ? "good" : status < 500 ? "warn" : "bad";
  return badge(String(status), kind);
}

/**
 * One window's bar: spent, held, and how much is left until when.
 * @param {{period: string, limit: string | null, spent: string, held: string, remaining: string | null, resets_at: string}} window
 */
export function limitBar(window) {
  const name = sentence(window.period);
  if (!window.limit) {
    return h("div", { class: "limit" },
      h("div", { class: "limit-head" }, h("span", null, name), h("span", { class: "quiet" }, about(window.spent), " · no limit")));
  }
  const { share, level, bar } = gauge(window);
  return h("div", { class: `limit limit-${level}` },
    h("div", { class: "limit-head" },
      h("span", null, name, level === "full" ? h("span", { class: "limit-word" }, "reached") : null),
      h("span", { class: "num" }, about(window.spent), h("span", { class: "quiet" }, ` / ${glance(window.limit)}`))),
    bar,
    h("div", { class: "limit-foot quiet" }, h("span", null, percent(share), nano(window.held) > 0n ? ` · ${glance(window.held)} held` : ""), h("span", null, "resets ", when(window.resets_at))));
}

/** The same on one line, for lists. @param {Parameters<typeof limitBar>[0]} window */
export function limitLine(window) {
  if (!window.limit) {
    return h("div", { class: "limit-line" }, h("span", { class: "quiet" }, sentence(window.period)), h("span", { class: "quiet" }, "no limit"),
      h("span", { class: "num end" }, about(window.spent)), h("span", { class: "quiet limit-reset" }, "resets ", when(window.resets_at)));
  }
  const { level, bar } = gauge(window);
  return h("div", { class: `limit-line limit-${level}` },
    h("span", { class: "quiet" }, sentence(window.period)), bar,
    h("span", { class: "num end" }, about(window.spent), h("span", { class: "quiet" }, ` / ${glance(window.limit)}`)),
    h("span", { class: "quiet limit-reset" }, "resets ", when(window.resets_at)));
}

/** @param {Parameters<typeof limitBar>[0]} window */
function gauge(window) {
  const spent = nano(window.spent);
  const held = nano(window.held);
  const limit = nano(window.limit);
  const share = limit > 0n ? Number((spent * 10_000n) / limit) / 10_000 : 1;
  const heldShare = limit > 0n ? Math.min(Number((held * 10_000n) / limit) / 10_000, Math.max(0, 1 - share)) : 0;
  const level = share >= 1 ? "full" : share >= 0.8 ? "near" : "fine";
  const words = `${sentence(window.period)}: ${usd(window.spent)} of ${usd(window.limit)} spent${held > 0n ? `, ${usd(window.held)} held` : ""}, resets ${relative(window.resets_at)}`;
  const bar = h("div", { class: "bar", role: "meter", "aria-label": words, title: words, "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": Math.min(100, Math.round(share * 100)) },
    h("span", { class: "bar-spent", style: { width: `${Math.min(100, share * 100)}%` } }),
    h("span", { class: "bar-held", style: { width: `${heldShare * 100}%` } }));
  return { share, level, bar };
}

/** Says what is not there and what to do about it. @param {string} title @param {any} words @param {any} [action] */
export const empty = (title, words, action) =>
  h("div", { class: "empty" }, h("p", { class: "empty-title" }, title), h("p", { class: "quiet" }, words), action ?? null);

/** @param {unknown} error @param {(() => void)} [again] */
export function trouble(error, again) {
  const message = error instanceof Error ? error.message : String(error);
  return h("div", { class: "callout callout-bad", role: "alert" }, icon("warning"),
    h("div", null, message), again ? h("button", { class: "button button-small", onclick: again }, "Try again") : null);
}

/** @param {"info" | "warn" | "bad"} kind @param {...any} children */
export const callout = (kind, ...children) => h("div", { class: `callout callout-${kind}` }, icon("warning"), h("div", null, ...children));

/** Says something for a few seconds, to screen readers as well. @param {string} text @param {"good" | "bad"} kind */
export function notify(text, kind = "good") {
  const place = document.getElementById("notices");
  const note = h("div", { class: `notice notice-${kind}` }, text);
  place?.append(note);
  setTimeout(() => note.remove(), 6000);
}

/** @param {string | (() => string)} text @param {string} [label] */
export function copyButton(text, label = "Copy") {
  return h("button", {
    type: "button", class: "button button-small copy",
    onclick: async (/** @type {MouseEvent} */ event) => {
      const words = /** @type {Element} */ (event.currentTarget).querySelector("span");
      if (!words) return;
      try {
        await writeClipboard(typeof text === "function" ? text() : text);
        words.textContent = "Copied";
      } catch {
        words.textContent = "Select it and copy by hand";
      }
      setTimeout(() => { words.textContent = label; }, 2000);
    },
  }, icon("copy"), h("span", { "aria-live": "polite" }, label));
}

/** The clipboard proper is closed to pages that come over plain HTTP from another machine. @param {string} text */
async function writeClipboard(text) {
  if (navigator.clipboard && isSecureContext) return navigator.clipboard.writeText(text);
  const holder = document.querySelector("dialog[open]") ?? document.body;
  const area = h("textarea", { class: "offscreen", value: text, "aria-hidden": "true", tabindex: "-1" });
  holder.append(area);
  const before = /** @type {HTMLElement | null} */ (document.activeElement);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  before?.focus();
  if (!done) throw new Error("not copied");
}

/** A secret, in full and easy to select. @param {string} text @param {string} label */
export const secretBox = (text, label) => h("code", {
  class: "secret", tabindex: "0", role: "textbox", "aria-readonly": "true", "aria-label": label, autofocus: true,
  onfocus: (/** @type {Event} */ event) => getSelection()?.selectAllChildren(/** @type {Node} */ (event.currentTarget)),
}, text);

let ids = 0;
/** @param {string} stem */
export const freshId = (stem) => `${stem}-${(ids += 1)}`;

/**
 * A label with its control, a hint, and a place for what is wrong with it.
 * @param {string} label @param {any} control @param {{hint?: any, optional?: boolean}} [options]
 */
export function field(label, control, options = {}) {
  const input = control.matches("input,select,textarea") ? control : control.querySelector("input,select,textarea");
  input.id ||= freshId("field");
  const hint = options.hint ? h("p", { class: "hint", id: `${input.id}-hint` }, options.hint) : null;
  const error = h("p", { class: "field-error", id: `${input.id}-error`, role: "alert" });
  input.setAttribute("aria-describedby", `${hint ? `${input.id}-hint ` : ""}${input.id}-error`);
  return h("div", { class: "field", "data-field": input.name },
    h("label", { for: input.id }, label, options.optional ? h("span", { class: "quiet" }, " optional") : null), control, hint, error);
}

/** Shows under a field what is wrong with it, or clears it. @param {Element} form @param {string} name @param {string} [message] */
export function fieldError(form, name, message = "") {
  const place = form.querySelector(`[data-field="${CSS.escape(name)}"] .field-error`);
  const input = /** @type {HTMLElement | null} */ (form.querySelector(`[name="${CSS.escape(name)}"]`));
  if (place) place.textContent = message;
  if (message) input?.closest("details")?.setAttribute("open", "");
  if (message) input?.setAttribute("aria-invalid", "true");
  else input?.removeAttribute("aria-invalid");
  if (message) input?.focus();
  return Boolean(place);
}

/**
 * Opens a dialog that keeps the focus and closes by Escape.
 * @param {string} title @param {(close: () => void) => any} content
 * @param {{wide?: boolean, persistent?: boolean, onclose?: () => void}} [options] a persistent one is not closed by Escape
 */
export function dialog(title, content, options = {}) {
  const id = freshId("dialog");
  const before = /** @type {HTMLElement | null} */ (document.activeElement);
  const close = () => {
    box.close();
    // The event of closing comes a task later. What the dialog showed, a secret perhaps, must not outlive it so long.
    box.remove();
  };
  /** @type {HTMLDialogElement} */
  const box = h("dialog", {
    class: `dialog${options.wide ? " dialog-wide" : ""}`, "aria-labelledby": id,
    oncancel: (/** @type {Event} */ event) => { if (options.persistent) event.preventDefault(); },
    onclose: () => {
      box.remove();
      if (before?.isConnected) before.focus();
      options.onclose?.();
    },
  },
  h("div", { class: "dialog-head" }, h("h2", { id }, title),
    options.persistent ? null : h("button", { type: "button", class: "button-icon", "aria-label": "Close", onclick: close }, icon("close"))));
  box.append(content(close));
  document.body.append(box);
  box.showModal();
  /** @type {HTMLElement | null} */ (box.querySelector("[autofocus]"))?.focus();
  return { box, close };
}

/**
 * A form in a dialog: sends once, shows what went wrong where it happened, closes when done.
 * @param {{title: string, fields: any, action: string, danger?: boolean, wide?: boolean, submit: (data: FormData, form: HTMLFormElement) => Promise<any>, done?: (answer: any) => void}} options
 */
export function formDialog(options) {
  return dialog(options.title, (close) => {
    const problem = h("div", { class: "form-problem" });
    const button = h("button", { class: `button ${options.danger ? "button-danger" : "button-primary"}`, type: "submit" }, options.action);
    const form = h("form", {
      novalidate: true,
      onsubmit: async (/** @type {Event} */ event) => {
        event.preventDefault();
        if (button.disabled) return;
        problem.replaceChildren();
        for (const place of form.querySelectorAll(".field-error")) place.textContent = "";
        for (const input of form.querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
        button.disabled = true;
        try {
          const answer = await options.submit(new FormData(form), form);
          close();
          options.done?.(answer);
        } catch (error) {
          const { field: ours, member } = /** @type {any} */ (error);
          const name = ours ?? member?.split(/[./[]/).at(-1);
          const known = Boolean(name) && fieldError(form, name, /** @type {Error} */ (error).message);
          button.disabled = false;
          if (known) return;
          problem.replaceChildren(trouble(error));
          // A button that cannot be pressed loses the focus.
          button.focus();
        }
      },
    }, h("div", { class: "dialog-body" }, options.fields, problem),
    h("div", { class: "dialog-foot" }, h("button", { type: "button", class: "button", onclick: close }, "Cancel"), button));
    return form;
  }, { wide: options.wide });
}

/** Something that is wrong with one field. */
export class FieldProblem extends Error {
  /** @param {string} field @param {string} message */
  constructor(field, message) {
    super(message);
    this.field = field;
  }
}

/**
 * Asks before something that cannot be undone. With `name` it must be typed.
 * @param {{title: string, words: any, action: string, name?: string, submit: () => Promise<any>, done?: (answer: any) => void}} options
 */
export function confirm(options) {
  const typed = options.name === undefined ? null
    : field(`Type ${options.name} to confirm`, h("input", { name: "typed", autocomplete: "off", spellcheck: "false", autofocus: true }));
  return formDialog({
    title: options.title, action: options.action, danger: true,
    fields: [h("div", { class: "prose" }, options.words), typed],
    submit: (data) => {
      if (options.name !== undefined && String(data.get("typed")).trim() !== options.name) {
        throw new FieldProblem("typed", `That is not the name. Type it exactly: ${options.name}`);
      }
      return options.submit();
    },
    done: options.done,
  });
}

/**
 * @typedef {{id: string, title: string, cell: (row: any) => any, value?: (row: any) => any, end?: boolean, grow?: boolean, narrow?: boolean, label?: string}} Column
 * `value` makes it sortable; `end` aligns figures; `narrow: false` leaves it out on narrow screens.
 */

/**
 * A table that can be sorted by its heads.
 * @param {{columns: Column[], rows: any[], key: (row: any) => string, caption: string, sort?: {id: string, down: boolean}, onsort?: (sort: {id: string, down: boolean}) => void, link?: (row: any) => string, foot?: any, stack?: string, most?: number}} options
 * `stack` puts the cells below each other on narrow screens; of the rows, sorted, no more than `most` are drawn.
 */
export function table(options) {
  const { columns, sort, onsort } = options;
  let rows = options.rows;
  const by = columns.find((column) => column.id === sort?.id);
  if (by?.value && sort) {
    const value = by.value;
    rows = [...rows].sort((a, b) => compare(value(a), value(b)) * (sort.down ? -1 : 1));
  }
  const head = columns.map((column) => {
    const isBy = sort?.id === column.id;
    const classes = `${column.end ? "end" : ""} ${column.narrow === false ? "wide-only" : ""}`.trim() || null;
    const title = !column.value || !onsort ? (column.title || h("span", { class: "offscreen" }, column.label ?? "")) : h("button", {
      type: "button", class: "sort", onclick: () => onsort({ id: column.id, down: isBy ? !sort?.down : Boolean(column.end) }),
    }, column.title, h("span", { class: "sort-mark", "aria-hidden": "true" }, isBy ? (sort?.down ? "↓" : "↑") : "↕"));
    return h("th", { scope: "col", class: classes, "aria-sort": isBy ? (sort?.down ? "descending" : "ascending") : null }, title);
  });
  const body = rows.slice(0, options.most).map((row) => {
    const to = options.link?.(row);
    return h("tr", {
      "data-key": options.key(row), class: to ? "linked" : null,
      onclick: to ? (/** @type {MouseEvent} */ event) => {
        // The link in the row is what the keyboard uses; the rest of the row is only a larger target.
        const target = /** @type {Element} */ (event.target);
        if (!target.closest("a,button,input,label,summary") && !String(getSelection())) location.hash = to;
      } : undefined,
    }, columns.map((column) => h("td", {
      "data-col": column.id,
      class: `${column.end ? "end num" : ""} ${column.narrow === false ? "wide-only" : ""} ${column.grow ? "grow" : ""}`.trim() || null,
    }, column.cell(row))));
  });
  return h("div", { class: "table-scroll", tabindex: "0", role: "region", "aria-label": options.caption },
    h("table", { class: options.stack ? `stack stack-${options.stack}` : null }, h("caption", { class: "offscreen" }, options.caption),
      h("thead", null, h("tr", null, head)), h("tbody", null, body), options.foot ? h("tfoot", null, options.foot) : null));
}

/** @param {any} a @param {any} b */
function compare(a, b) {
  if (typeof a === "string" && typeof b === "string") return a.localeCompare(b, undefined, { numeric: true });
  return a < b ? -1 : a > b ? 1 : 0;
}

/**
 * A button with a list of actions.
 * @param {string} label @param {({text: string, run: () => void, danger?: boolean} | null)[]} actions
 */
export const menu = (label, actions) => component("menu", { label, actions }, (element, first) => {
  let props = first;
  element.className = "menu-holder";
  const list = h("div", { class: "menu", popover: "auto" });
  const button = h("button", { type: "button", class: "button-icon", "aria-haspopup": "true", onclick: open }, icon("more"));
  element.append(button, list);

  function open() {
    const actions = props.actions.filter(Boolean);
    list.replaceChildren(...actions.map((/** @type {any} */ action) => h("button", {
      type: "button", class: `menu-item${action.danger ? " menu-danger" : ""}`,
      onclick: () => { list.hidePopover(); button.focus(); action.run(); },
    }, action.text)));
    const box = button.getBoundingClientRect();
    list.style.setProperty("top", `${Math.max(8, Math.min(box.bottom + 4, innerHeight - 40 * actions.length - 24))}px`);
    list.style.setProperty("left", `${Math.max(8, Math.min(box.right - 200, innerWidth - 208))}px`);
    list.togglePopover();
    list.querySelector("button")?.focus();
  }
  list.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    const items = [...list.querySelectorAll("button")];
    const at = items.indexOf(/** @type {HTMLButtonElement} */ (document.activeElement));
    const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    if (!step) return;
    event.preventDefault();
    items[(at + step + items.length) % items.length]?.focus();
  });
  const update = (/** @type {any} */ next) => {
    props = next;
    button.setAttribute("aria-label", next.label);
  };
  update(first);
  return update;
});

/** Choices of which one holds. @param {string} label @param {[string, string][]} choices @param {string} chosen @param {(value: string) => void} choose */
export const segmented = (label, choices, chosen, choose) =>
  h("div", { class: "segmented", role: "group", "aria-label": label }, choices.map(([value, text]) =>
    h("button", { type: "button", "aria-pressed": String(value === chosen), onclick: () => choose(value) }, text)));

/** A tile with one figure. @param {string} label @param {any} figure @param {any} [foot] */
export const tile = (label, figure, foot) =>
  h("div", { class: "tile" }, h("div", { class: "tile-label" }, label), h("div", { class: "tile-figure" }, figure), h("div", { class: "tile-foot quiet" }, foot ?? "\u00a0"));

/** @param {any} title @param {...any} children */
export const card = (title, ...children) =>
  h("section", { class: "card" }, title ? h("div", { class: "card-head" }, typeof title === "string" ? h("h2", null, title) : title) : null, ...children);

/** Terms and what they are. @param {[string, any][]} pairs */
export const facts = (pairs) => h("dl", { class: "facts" }, pairs.map(([term, what]) => h("div", null, h("dt", null, term), h("dd", null, what))));

/** @param {number} n */
export const figure = (n) => h("span", { class: "num" }, count(n));

/** Replaces the content of `place` in step with what is shown. @param {Element} place @param {any} tree */
export function render(place, tree) {
  const first = place.firstElementChild;
  if (first && first.nodeName === tree.nodeName && place.childNodes.length === 1) patch(first, tree);
  else place.replaceChildren(tree);
}
