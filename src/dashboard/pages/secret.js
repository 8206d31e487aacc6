// Shows a secret, this once: it lives in the dialog's elements and is gone when the dialog is closed.

import * as api from "../api.js";
import { h, show } from "../dom.js";
import { callout, copyButton, dialog, icon, secretBox, segmented } from "../parts.js";
import { choose } from "./playground.js";
import { navigate } from "../place.js";

/** Where programs call: what was set in this browser, what the server says, or a guess. */
export async function gatewayAddress() {
  try {
    const chosen = localStorage.getItem("conduit.gateway");
    if (chosen) return chosen;
  } catch {
    // Storage is closed to us.
  }
  try {
    const status = await api.status();
    const told = status.listen?.[0];
    if (told) return reachable(`${status.tls ? "https" : "http"}://${told}`);
  } catch {
    // The guess is better than none.
  }
  return `http://${location.hostname}:8080`;
}

/** What listens on every address is reached by the name that the dashboard was reached by. @param {string} url */
function reachable(url) {
  return url.replace(/\/\/(0\.0\.0\.0|\[::\])/, `//${location.hostname}`).replace(/\/$/, "");
}

/** @typedef {"curl" | "python" | "openai" | "javascript"} Language */
const LANGUAGES = /** @type {[Language, string][]} */ ([["curl", "curl"], ["python", "Python"], ["openai", "Python, OpenAI SDK"], ["javascript", "JavaScript"]]);

/** @param {Language} language @param {string} base @param {string} model */
export function snippet(language, base, model) {
  switch (language) {
    case "curl":
      return `curl "${base}/v1/chat/completions" \\\n  -H "Authorization: Bearer $CONDUIT_API_KEY" \\\n  -H "Content-Type: application/json" \\\n  -d '{\n    "model": "${model}",\n    "messages": [{"role": "user", "content": "Hello!"}]\n  }'`;
    case "python":
      return `import os\nimport requests\n\nresponse = requests.post(\n    "${base}/v1/chat/completions",\n    headers={"Authorization": f"Bearer {os.environ['CONDUIT_API_KEY']}"},\n    json={\n        "model": "${model}",\n        "messages": [{"role": "user", "content": "Hello!"}],\n    },\n)\nprint(response.json()["choices"][0]["message"]["content"])`;
    case "openai":
      return `import os\nfrom openai import OpenAI\n\nclient = OpenAI(base_url="${base}/v1", api_key=os.environ["CONDUIT_API_KEY"])\nanswer = client.chat.completions.create(\n    model="${model}",\n    messages=[{"role": "user", "content": "Hello!"}],\n)\nprint(answer.choices[0].message.content)`;
    case "javascript":
      return `const response = await fetch("${base}/v1/chat/completions", {\n  method: "POST",\n  headers: {\n    "Authorization": \`Bearer \${process.env.CONDUIT_API_KEY}\`,\n    "Content-Type": "application/json",\n  },\n  body: JSON.stringify({\n    model: "${model}",\n    messages: [{ role: "user", content: "Hello!" }],\n  }),\n});\nconst data = await response.json();\nconsole.log(data.choices[0].message.content);`;
  }
}

/** Ready-made calls, in the language that is chosen. @param {string} base @param {string} model */
export function snippets(base, model) {
  /** @type {Language} */
  let language = "curl";
  const place = h("div", { class: "snippets" });
  const draw = () => {
    const code = snippet(language, base, model);
    show(place,
      h("div", { class: "snippets-head" }, segmented("Language", LANGUAGES, language, (value) => { language = /** @type {Language} */ (value); draw(); }), copyButton(() => snippet(language, base, model))),
      h("pre", { class: "code", tabindex: "0", "aria-label": "Example" }, h("code", null, code)));
  };
  draw();
  return place;
}

/** @param {any} made @param {string} title @param {() => void} [done] */
export async function showSecret(made, title, done) {
  const [base, models] = await Promise.all([gatewayAddress(), api.models().catch(() => [])]);
  const usable = models.find((/** @type {any} */ model) => !model.name.includes("*"))?.name ?? "gpt-4o";
  const model = made.models?.find((/** @type {string} */ name) => !name.includes("*")) ?? usable;
  const isSure = h("input", { type: "checkbox", name: "sure" });
  dialog(title, (close) => {
    const finish = h("button", { type: "button", class: "button button-primary", disabled: true, onclick: close }, "Done");
    isSure.addEventListener("change", () => { finish.disabled = !isSure.checked; });
    const box = secretBox(made.secret, "Secret");
    return h("div", null, h("div", { class: "dialog-body" },
      callout("warn", h("strong", null, "Copy it now: it is shown this once. "), "Nobody can show it again, because only its fingerprint is stored."),
      h("div", { class: "secret-line" }, box, copyButton(() => box.textContent, "Copy key")),
      h("p", { class: "hint" }, "Keep it in an environment variable or a secrets manager, never in code: ", h("code", null, "export CONDUIT_API_KEY=…")),
      h("h3", null, "Call with it"), snippets(base, model)),
    h("div", { class: "dialog-foot dialog-foot-apart" },
      h("label", { class: "check" }, isSure, "I have put it in a safe place"),
      h("div", { class: "buttons" },
        h("button", { type: "button", class: "button", onclick: () => { choose(made.id, model); close(); navigate("/playground"); } }, icon("playground"), "Try it"), finish)));
  }, { wide: true, persistent: true, onclose: done });
}
