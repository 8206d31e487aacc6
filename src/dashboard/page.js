// The life of a page while it is shown: it loads, draws, loads again every few seconds while somebody
// looks, and draws over what is there without disturbing it.

import { h } from "./dom.js";
import { render, trouble } from "./parts.js";
import { setQuery } from "./place.js";

/**
 * @typedef {{
 *   argument: string, query: Record<string, string>, session: any, state: any,
 *   refresh: () => Promise<void>, redraw: () => void, set: (changes: Record<string, any>) => void,
 * }} Context `state` is the page's own while it is shown; `set` changes the address
 * @typedef {{
 *   title: string | ((data: any, context: Context) => string), every?: number,
 *   load: (context: Context) => Promise<any>, view: (data: any, context: Context) => any,
 *   leave?: (context: Context) => void,
 * }} Page
 */

export class PageRun {
  /** @param {Page} page @param {HTMLElement} place @param {{argument: string, query: Record<string, string>, session: any}} start */
  constructor(page, place, start) {
    this.page = page;
    this.place = place;
    this.data = undefined;
    /** @type {unknown} */
    this.error = null;
    this.isOver = false;
    this.turn = 0;
    this.timer = 0;
    /** @type {Context} */
    this.context = {
      ...start, state: {}, refresh: () => this.load(), redraw: () => this.draw(),
      set: (changes) => setQuery(changes),
    };
    this.seen = () => {
      if (!document.hidden) this.load();
    };
  }

  /** @param {Page} page @param {string} argument */
  is(page, argument) {
    return this.page === page && this.context.argument === argument;
  }

  start() {
    document.addEventListener("visibilitychange", this.seen);
    this.place.replaceChildren(h("div", { class: "page loading", "aria-busy": "true" }, h("div", { class: "skeleton skeleton-title" }), h("div", { class: "skeleton skeleton-block" }), h("div", { class: "skeleton skeleton-block" })));
    document.title = typeof this.page.title === "string" ? `${this.page.title} · Conduit` : "Conduit";
    this.load();
  }

  stop() {
    this.isOver = true;
    clearTimeout(this.timer);
    document.removeEventListener("visibilitychange", this.seen);
    this.page.leave?.(this.context);
  }

  /** @param {Record<string, string>} query */
  moved(query) {
    this.context.query = query;
    if (this.data !== undefined) this.draw();
    this.load();
  }

  /** Asks for everything again. What was asked before and comes later is not shown. */
  async load() {
    clearTimeout(this.timer);
    this.turn += 1;
    const turn = this.turn;
    try {
      const data = await this.page.load(this.context);
      if (turn !== this.turn || this.isOver) return;
      this.data = data;
      this.error = null;
    } catch (error) {
      if (turn !== this.turn || this.isOver) return;
      this.error = error;
    }
    this.draw();
    if (this.page.every) this.timer = window.setTimeout(() => (document.hidden ? undefined : this.load()), this.page.every);
  }

  draw() {
    if (this.isOver) return;
    const again = () => this.load();
    const problem = this.error ? trouble(this.error, again) : null;
    if (this.data === undefined) {
      if (problem) this.place.replaceChildren(h("div", { class: "page" }, problem));
      return;
    }
    const { title } = this.page;
    document.title = `${typeof title === "string" ? title : title(this.data, this.context)} · Conduit`;
    render(this.place, h("div", { class: "page" }, problem, this.page.view(this.data, this.context)));
  }
}

/**
 * The head of a page.
 * @param {string} title @param {any} [words] @param {any} [actions] @param {any} [before]
 */
export const head = (title, words, actions, before) =>
  h("header", { class: "page-head" }, h("div", null, before ?? null, h("h1", null, title), words ? h("p", { class: "quiet" }, words) : null),
    actions ? h("div", { class: "page-actions" }, actions) : null);

/** Loads what an older server may not have. @template T @param {Promise<T>} promise @returns {Promise<T | {missing: string}>} */
export async function ifThere(promise) {
  try {
    return await promise;
  } catch (error) {
    const known = /** @type {any} */ (error);
    if (known?.isMissing) return { missing: known.message };
    throw error;
  }
}
