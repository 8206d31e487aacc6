// Where somebody signs in with the administrator's password.

import * as api from "../api.js";
import { h } from "../dom.js";
import { field, trouble } from "../parts.js";
import { span } from "../format.js";

/** @param {Error | null} problem @param {(session: any) => void} done */
export function signInPage(problem, done) {
  const place = h("div", { class: "form-problem" }, problem ? trouble(problem) : null);
  const input = h("input", { type: "password", name: "password", autocomplete: "current-password", required: true, autofocus: true });
  const button = h("button", { type: "submit", class: "button button-primary button-wide" }, "Sign in");
  const form = h("form", {
    class: "card sign-in", novalidate: true,
    onsubmit: async (/** @type {Event} */ event) => {
      event.preventDefault();
      if (button.disabled) return;
      place.replaceChildren();
      if (!input.value) {
        place.replaceChildren(trouble("Type the administrator's password."));
        return input.focus();
      }
      button.disabled = true;
      try {
        done(await api.signIn(input.value));
      } catch (error) {
        input.value = "";
        input.focus();
        place.replaceChildren(trouble(words(error)));
      } finally {
        button.disabled = false;
      }
    },
  },
  h("div", { class: "sign-in-head" }, h("img", { src: "assets/icon.svg", width: 40, height: 40, alt: "" }), h("h1", null, "Sign in to Conduit")),
  // For password managers, which look for a name beside a password.
  h("input", { type: "text", name: "username", value: "admin", autocomplete: "username", class: "offscreen", tabindex: "-1", "aria-hidden": "true" }),
  field("Password", input), place, button,
  h("p", { class: "hint" }, "It is set on the server, with ", h("code", null, "conduit admin password"), "."));
  return h("main", { class: "sign-in-page" }, form);
}

/** @param {unknown} error */
function words(error) {
  if (!(error instanceof api.ApiError)) return /** @type {Error} */ (error);
  if (error.status === 401) return "That is not the password.";
  if (error.status === 429) {
    return `Too many wrong passwords. Try again ${error.retryAfter ? `in ${error.retryAfter < 90 ? `${error.retryAfter} s` : span(error.retryAfter * 1000)}` : "later"}.`;
  }
  return error;
}
