// Lists of any length. Of one that comes in pages, newest first, the first page is read anew as often as
// the page is drawn, and what somebody asked for beyond it stays; of one that is all there, a part is drawn.

import { h } from "./dom.js";
import { count } from "./format.js";
import { notify } from "./parts.js";

/** Rows that are drawn at once: more would take a browser's breath away at each reading. */
const DRAWN = 100;

/** How many rows of a table may be drawn. @param {any} state the page's own */
export const drawn = (state) => state.drawn ?? DRAWN;

/** The button that draws more of a list that is all there. @param {import("./page.js").Context} context @param {number} length */
export function drawMore(context, length) {
  const { state } = context;
  if (length <= drawn(state)) return null;
  const more = () => {
    state.drawn = drawn(state) + DRAWN;
    context.redraw();
  };
  return h("div", { class: "load-more" }, h("p", { class: "quiet small" }, `${count(drawn(state))} of ${count(length)}`),
    h("button", { type: "button", class: "button", onclick: more }, "Show more"));
}

/** @typedef {{data: any[], next: string | null}} ListPage */

/**
 * The rows of the first page as it is now; those that were asked for beyond it stand in `state.more`.
 * @param {any} state the page's own @param {unknown} query what is asked for: another begins anew
 * @param {ListPage} page
 */
export function joined(state, query, page) {
  const asked = JSON.stringify(query);
  if (state.asked !== asked) Object.assign(state, { asked, more: [], first: [], next: undefined });
  const known = new Set(page.data.map((row) => row.id));
  // Where somebody has asked for more, what is pushed over the first page's end stays.
  const pushed = state.more.length ? state.first : [];
  state.more = [...pushed, ...state.more].filter((/** @type {any} */ row) => !known.has(row.id));
  state.first = page.data;
  if (!state.more.length) state.next = page.next;
  return page.data;
}

/**
 * The button that asks for more, where there is more.
 * @param {import("./page.js").Context} context @param {(after: string) => Promise<ListPage>} ask
 */
export function moreButton(context, ask) {
  const { state } = context;
  if (!state.next) return null;
  const more = async () => {
    try {
      const page = await ask(state.next);
      state.more = [...state.more, ...page.data];
      state.next = page.next;
    } catch (error) {
      notify(/** @type {Error} */ (error).message, "bad");
    }
    context.redraw();
  };
  return h("div", { class: "load-more" }, h("button", { type: "button", class: "button", onclick: more }, "Show more"));
}
