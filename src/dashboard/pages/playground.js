// A chat with a model through the gateway, with a key that is chosen by its name: no secret is needed.

import * as api from "../api.js";
import { component, h } from "../dom.js";
import { count, duration, usd } from "../format.js";
import { head } from "../page.js";
import { empty, field, icon, trouble } from "../parts.js";

/** What was chosen last, for as long as the dashboard stays open. */
let chosen = "";
let wanted = "";

/** Chooses a key, and what it may call, for the next conversation. @param {string} id @param {string} model */
export function choose(id, model) {
  chosen = id;
  wanted = model;
}

/** @type {import("../page.js").Page} */
export const playgroundPage = {
  title: "Playground",
  async load() {
    const [models, keys] = await Promise.all([api.models().catch(() => []), api.keys()]);
    return { models, keys: keys.filter((/** @type {any} */ key) => key.status === "active") };
  },
  view({ models, keys }) {
    const top = head("Playground", "A real call, with a real key, at a real price.");
    if (keys.length === 0) {
      return [top, h("div", { class: "card" }, empty("No key to call with", "A call is charged to a key, and its limits hold here as everywhere.", h("a", { class: "button button-primary", href: "#/keys?create=1" }, icon("plus"), "Create a key")))];
    }
    return [top, playground(models, keys)];
  },
};

/** @param {any[]} models @param {any[]} keys */
const playground = (models, keys) => component("playground", { models, keys }, (element, props) => {
  element.className = "playground";
  /** @type {{role: string, content: string}[]} */
  let said = [];
  /** @type {AbortController | null} */
  let running = null;

  const isThere = props.keys.some((/** @type {any} */ key) => key.id === chosen);
  const keyInput = h("select", { name: "key", onchange: () => { chosen = keyInput.value; } },
    props.keys.map((/** @type {any} */ key) => h("option", { value: key.id, selected: isThere && key.id === chosen }, `${key.name} (…${key.secret_ends_in})`)));
  const names = props.models.map((/** @type {any} */ model) => model.name).filter((/** @type {string} */ name) => !name.includes("*"));
  const modelInput = h("input", { name: "model", list: "playground-models", autocomplete: "off", spellcheck: "false", value: wanted || names[0] || "" });
  const systemInput = h("textarea", { name: "system", rows: 3, placeholder: "How the model should answer" });
  const capInput = h("input", { name: "cap", inputmode: "numeric", autocomplete: "off", value: "512" });
  const log = h("div", { class: "talk", role: "log", "aria-label": "Conversation", tabindex: "0" });
  const prompt = h("textarea", { name: "prompt", rows: 3, "aria-label": "Message", placeholder: "Say something", onkeydown: (/** @type {KeyboardEvent} */ event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      form.requestSubmit();
    }
  } });
  const send = h("button", { type: "submit", class: "button button-primary" }, "Send");
  const stop = h("button", { type: "button", class: "button", hidden: true, onclick: () => running?.abort() }, "Stop");
  const form = h("form", { class: "talk-form", novalidate: true, onsubmit: say }, prompt, h("div", { class: "talk-actions" }, h("span", { class: "hint" }, "Enter sends, Shift+Enter makes a new line"), stop, send));
  const clear = h("button", { type: "button", class: "button button-small", onclick: () => { running?.abort(); said = []; begin(); prompt.focus(); } }, "New conversation");
  element.append(
    h("div", { class: "card playground-side" }, field("API key", keyInput, { hint: "It is charged for the call, and its limits hold." }),
      field("Model", modelInput), h("datalist", { id: "playground-models" }, names.map((/** @type {string} */ name) => h("option", { value: name }))),
      field("System message", systemInput, { optional: true }), field("Most tokens to answer", capInput), clear),
    h("div", { class: "card playground-main" }, log, form));
  begin();

  function begin() {
    log.replaceChildren(h("div", { class: "empty" }, h("p", { class: "empty-title" }, "Say something to a model"), h("p", { class: "quiet" }, "The answer streams in here, and below it stands what it cost.")));
  }

  /** @param {Event} event */
  async function say(event) {
    event.preventDefault();
    const text = prompt.value.trim();
    if (running || !text) return;
    if (said.length === 0) log.replaceChildren();
    const answer = h("div", { class: "bubble-text" });
    const foot = h("div", { class: "bubble-foot quiet" });
    const mine = h("div", { class: "bubble bubble-mine" }, h("div", { class: "bubble-who" }, "You"), h("div", { class: "bubble-text" }, text));
    const theirs = h("div", { class: "bubble" }, h("div", { class: "bubble-who" }, modelInput.value), answer, foot);
    log.append(mine, theirs);
    prompt.value = "";
    toEnd();
    running = new AbortController();
    send.disabled = true;
    stop.hidden = false;
    const began = performance.now();
    try {
      const messages = [...(systemInput.value.trim() ? [{ role: "system", content: systemInput.value.trim() }] : []), ...said, { role: "user", content: text }];
      const cap = Number.parseInt(capInput.value, 10);
      const body = { model: modelInput.value.trim(), messages, stream: true, stream_options: { include_usage: true }, ...(cap > 0 ? { max_tokens: cap } : {}) };
      const response = await api.chat(keyInput.value, body, running.signal);
      if (!response.ok) throw new Error(await refusal(response));
      const id = response.headers.get("x-conduit-request-id") ?? "";
      foot.textContent = "…";
      const seen = await follow(response, (piece) => {
        answer.append(piece);
        toEnd();
      });
      said.push({ role: "user", content: text }, { role: "assistant", content: answer.textContent });
      await showCost(foot, id, seen, performance.now() - began);
    } catch (error) {
      const isStopped = /** @type {Error} */ (error).name === "AbortError";
      if (isStopped) foot.textContent = "Stopped. What was used until then is charged.";
      else {
        foot.replaceChildren(trouble(error));
        if (!answer.textContent) prompt.value = text;
      }
    } finally {
      running = null;
      send.disabled = false;
      stop.hidden = true;
      toEnd();
    }
  }

  function toEnd() {
    log.scrollTop = log.scrollHeight;
  }

  return () => {};
});

/** @param {Response} response */
async function refusal(response) {
  const text = await response.text();
  try {
    const { error } = JSON.parse(text);
    return `${response.status}: ${error.message}${error.code ? ` (${error.code})` : ""}`;
  } catch {
    return response.status === 404 ? "This server has no playground: it is of an earlier version than this page." : `The gateway answered with status ${response.status}.`;
  }
}

/**
 * Reads the stream to its end. @param {Response} response @param {(text: string) => void} tell
 * @returns {Promise<any>} the usage that the stream told
 */
async function follow(response, tell) {
  const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
  const decoder = new TextDecoder();
  let rest = "";
  let usage = null;
  for (;;) {
    const { value, done } = await reader.read();
    rest += decoder.decode(value, { stream: !done });
    const lines = rest.split(/\r\n|\n|\r/);
    rest = lines.pop() ?? "";
    for (const line of lines) {
      if (!line.startsWith("data:")) continue;
      const data = line.slice(5).trim();
      if (data === "[DONE]") continue;
      const event = JSON.parse(data);
      if (event.error) throw new Error(event.error.message ?? "The answer broke off.");
      const piece = event.choices?.[0]?.delta?.content;
      if (piece) tell(piece);
      usage = event.usage ?? usage;
    }
    if (done) return usage;
  }
}

/**
 * The receipt has the last word on the cost; it is written as the call ends.
 * @param {Element} foot @param {string} id @param {any} usage @param {number} ms
 */
async function showCost(foot, id, usage, ms) {
  const tokens = usage ? `${count(usage.prompt_tokens ?? 0)} in, ${count(usage.completion_tokens ?? 0)} out` : "";
  for (let turn = 0; id && turn < 10; turn += 1) {
    try {
      const receipt = await api.explain(id);
      foot.replaceChildren(h("a", { class: "num", href: `#/requests/${id}` }, usd(receipt.cost_usd)), ` · ${count(receipt.input_tokens)} in, ${count(receipt.output_tokens)} out · first byte ${duration(receipt.first_byte_ms)} · ${duration(receipt.total_ms)}`);
      return;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }
  foot.textContent = [tokens, duration(ms)].filter(Boolean).join(" · ");
}
