// One receipt, and how its cost came about, line by line.

import * as api from "../api.js";
import { h } from "../dom.js";
import { count, duration, fullTime, sentence, usd } from "../format.js";
import { head } from "../page.js";
import { callout, card, copyButton, facts, httpStatus, money, table } from "../parts.js";
import { backToRequests } from "./requests.js";

const METERED = { reported: "The provider reported it", estimated: "Counted here", recovered: "The process ended during the call", nothing: "Nothing was used" };
const ENDING = {
  done: "The answer went out whole", upstream_error: "The provider answered with an error", upstream_cut: "The provider could not be reached, or broke off",
  timeout: "The provider took too long", client_gone: "The client left before the end", shutdown: "The gateway stopped before the end", crash: "The process died",
};

/** @type {import("../page.js").Page} */
export const requestPage = {
  title: "Request",
  load: ({ argument }) => api.explain(argument),
  view(receipt) {
    return [
      head(receipt.model, h("span", { class: "inline" }, httpStatus(receipt.status), h("code", null, receipt.id), copyButton(receipt.id, "Copy id")), h("div", { class: "figure-large num" }, usd(receipt.cost_usd)), backToRequests()),
      receipt.metered === "recovered" ? callout("warn", "Nobody saw the end of this call: what was held for it was posted.") : null,
      card("How the cost came about",
        receipt.lines.length ? table({
          caption: "Lines of the bill", rows: receipt.lines, key: (line) => `${line.class} ${line.usd_per_million}`,
          columns: [
            { id: "class", title: "What", grow: true, cell: (line) => sentence(line.class) },
            { id: "count", title: "Count", end: true, cell: (line) => count(line.count) },
            { id: "rate", title: "Per million", end: true, cell: (line) => usd(line.usd_per_million) },
            { id: "usd", title: "Comes to", end: true, cell: (line) => `$${line.usd}` },
          ],
          foot: [h("tr", null, h("th", { scope: "row", colspan: 3 }, "Sum, to the last digit"), h("td", { class: "end num" }, `$${receipt.sum_usd}`)),
            h("tr", { class: "total" }, h("th", { scope: "row", colspan: 3 }, "Charged"), h("td", { class: "end num" }, usd(receipt.cost_usd)))],
        }) : h("p", { class: "quiet" }, "There is nothing to add up: charged ", money(receipt.cost_usd), "."),
        h("p", { class: "because" }, `${receipt.because.charAt(0).toUpperCase()}${receipt.because.slice(1)}.`),
        receipt.adds_up === false ? callout("bad", "The figures of this receipt do not come to its cost. Run conduit admin verify on the server.") : null),
      receipt.attempts?.length ? card("Other attempts at this call", table({
        caption: "Other attempts", rows: receipt.attempts, key: (one) => one.id,
        columns: [
          { id: "id", title: "Where", grow: true, cell: (one) => h("a", { href: `#/requests/${one.id}` }, `${one.provider} · ${one.upstream_model}`) },
          { id: "status", title: "Status", cell: (one) => httpStatus(one.status) },
          { id: "cost", title: "Cost", end: true, cell: (one) => usd(one.cost_usd) },
        ],
        foot: h("tr", { class: "total" }, h("th", { scope: "row", colspan: 2 }, "With all attempts"), h("td", { class: "end num" }, usd(receipt.with_attempts_usd))),
      })) : null,
      card("The call", facts([
        ["Key", h("a", { href: `#/keys/${receipt.key_id}` }, receipt.key_name ?? receipt.key_id)],
        ["Began", fullTime(receipt.began)], ["Ended", fullTime(receipt.at)],
        ["First byte after", duration(receipt.first_byte_ms)], ["Whole call", duration(receipt.total_ms)],
        ["Endpoint", h("code", null, receipt.endpoint)], ["Streamed", receipt.streamed ? "Yes" : "No"],
        ["Ending", ENDING[/** @type {keyof typeof ENDING} */ (receipt.ending)] ?? sentence(receipt.ending)],
        ["Provider", receipt.provider], ["Model there", h("code", null, receipt.upstream_model || receipt.model)], ["Service tier", receipt.service_tier],
        ["Usage", METERED[/** @type {keyof typeof METERED} */ (receipt.metered)] ?? receipt.metered],
        ["Tokens in / out", `${count(receipt.input_tokens)} / ${count(receipt.output_tokens)}`],
        ["Held before the call", money(receipt.held_usd)], ["Price list", receipt.price],
      ])),
    ];
  },
};
