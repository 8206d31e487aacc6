// Charts: stacked columns or lines over time with real axes, drawn as SVG at the width there is. Values are read by
// hovering, by the arrow keys, or from the table beside each chart.

import { component, h, s } from "./dom.js";

/**
 * @typedef {{name: string, values: (number | null)[]}} Series
 * @typedef {{
 *   label: string, starts: number[], end: number, series: Series[], height?: number,
 *   axis: (value: number) => string, value: (value: number) => string,
 *   tick: (start: number) => string, title: (start: number, end: number) => string, kind?: "columns" | "line", whole?: boolean,
 * }} ChartProps `starts` are the beginnings of the columns, and `end` is that of the last
 */

const LEFT = 8;
const BOTTOM = 26;
const TOP = 10;
/** There are so many colours; what is more than that is added up as the last. */
export const MOST_SERIES = 7;

/** The step between lines that are easy to read. @param {number} most @param {boolean} whole */
function niceStep(most, whole) {
  const rough = most / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough) ?? power * 10;
  return whole ? Math.max(1, Math.ceil(step)) : step;
}

/** @param {ChartProps} props */
export const chart = (props) => component("chart", props, (element, first) => {
  /** @type {ChartProps} */
  let props = first;
  let width = 0;
  let focused = -1;
  element.className = "chart";
  const drawing = s("svg", { class: "chart-drawing", tabindex: "0", role: "img" });
  const tip = h("div", { class: "chart-tip", hidden: true });
  const spoken = h("p", { class: "offscreen", "aria-live": "polite" });
  const stage = h("div", { class: "chart-stage" }, drawing, tip);
  element.append(stage, spoken);

  const totalAt = (/** @type {number} */ at) => props.series.reduce((sum, one) => sum + (one.values[at] ?? 0), 0);
  const highestAt = (/** @type {number} */ at) => Math.max(0, ...props.series.map((one) => one.values[at] ?? 0));
  const endOf = (/** @type {number} */ at) => props.starts[at + 1] ?? props.end;
  let left = 48;
  const band = () => (width - left - LEFT) / Math.max(1, props.starts.length);

  function draw() {
    if (width === 0) return;
    const height = props.height ?? 220;
    const isLines = props.kind === "line";
    const most = Math.max(0, ...props.starts.map((_, at) => (isLines ? highestAt(at) : totalAt(at))));
    const step = most > 0 ? niceStep(most, Boolean(props.whole)) : 1;
    const top = most > 0 ? Math.ceil(most / step - 1e-9) * step : 4 * step;
    const lines = [];
    for (let value = 0; value <= top + step / 2; value += step) lines.push(value);
    const texts = most > 0 ? lines.map(props.axis) : lines.map((_, at) => (at === 0 ? props.axis(0) : ""));
    left = Math.max(28, ...texts.map((text) => text.length * 7 + 12));
    const bottom = height - BOTTOM;
    const y = (/** @type {number} */ value) => bottom - (value / top) * (bottom - TOP);
    const each = band();
    drawing.setAttribute("viewBox", `0 0 ${width} ${height}`);
    drawing.setAttribute("width", String(width));
    drawing.setAttribute("height", String(height));
    drawing.setAttribute("aria-label", `${props.label}. Use the arrow keys to read single values.`);

    const grid = lines.map((value, at) => [
      s("line", { class: value === 0 ? "chart-base" : "chart-grid", x1: left, x2: width - LEFT, y1: Math.round(y(value)) + 0.5, y2: Math.round(y(value)) + 0.5 }),
      s("text", { class: "chart-text", x: left - 8, y: y(value) + 4, "text-anchor": "end" }, texts[at]),
    ]);
    const every = Math.max(1, Math.ceil(64 / each));
    const ticks = props.starts.flatMap((start, at) => {
      if (at % every !== 0) return [];
      const x = left + at * each + each / 2;
      if (x > width - 24) return [];
      return s("text", { class: "chart-text", x, y: height - 8, "text-anchor": "middle" }, props.tick(start));
    });
    const gap = each > 6 ? Math.min(each * 0.24, 10) : each > 3 ? 1 : 0;
    const marks = isLines ? linesOf(y, each) : props.starts.map((_, at) => {
      let below = 0;
      return props.series.map((one, which) => {
        const value = one.values[at] ?? 0;
        if (value <= 0) return null;
        const from = y(below);
        below += value;
        const to = y(below);
        return s("rect", { class: `fill-${which}`, x: left + at * each + gap / 2, width: Math.max(1, each - gap), y: to, height: Math.max(from - to, 0.5) });
      });
    });
    const cursor = focused >= 0 && focused < props.starts.length
      ? s("rect", { class: "chart-cursor", x: left + focused * each, width: each, y: TOP, height: bottom - TOP }) : null;
    drawing.replaceChildren();
    for (const mark of [grid, cursor, marks, ticks].flat(Infinity)) if (mark) drawing.append(mark);
    if (focused >= 0) showTip();
  }

  /** Lines with a gap where there is no value, and a dot where one stands alone. @param {(value: number) => number} y @param {number} each */
  function linesOf(y, each) {
    return props.series.map((one, which) => {
      /** @type {string[][]} */
      const runs = [[]];
      one.values.forEach((value, at) => {
        if (value === null) runs.push([]);
        else runs.at(-1)?.push(`${left + at * each + each / 2},${y(value)}`);
      });
      return runs.filter((run) => run.length > 0).map((run) => {
        const [x, top] = (run[0] ?? "").split(",");
        return run.length > 1
          ? s("polyline", { class: `line-${which}`, points: run.join(" "), fill: "none", "stroke-width": 2, "stroke-linejoin": "round" })
          : s("circle", { class: `fill-${which}`, cx: x, cy: top, r: 3.5 });
      });
    });
  }

  function showTip() {
    const at = focused;
    const start = props.starts[at];
    if (start === undefined) return hideTip();
    const rows = valuesAt(at);
    const total = totalAt(at);
    const title = props.title(start, endOf(at));
    tip.replaceChildren(
      h("div", { class: "chart-tip-title" }, title),
      ...rows.map((row) => h("div", { class: "chart-tip-row" }, h("span", { class: `swatch fill-${row.which}` }), h("span", { class: "grow" }, row.name), h("span", { class: "num" }, props.value(row.value)))),
      rows.length === 0 && props.kind === "line" ? h("div", { class: "chart-tip-row" }, "No calls") : "",
      rows.length === 1 || props.kind === "line" ? "" : h("div", { class: "chart-tip-row chart-tip-total" }, h("span", { class: "grow" }, "Total"), h("span", { class: "num" }, props.value(total))),
    );
    tip.hidden = false;
    const x = left + at * band() + band() / 2;
    const size = tip.offsetWidth;
    tip.style.setProperty("left", `${Math.max(0, Math.min(width - size, x + 12 + size > width ? x - size - 12 : x + 12))}px`);
  }

  /** What there is to say of a column: the largest part first, lines in their own order. @param {number} at */
  function valuesAt(at) {
    const rows = props.series.map((one, which) => ({ name: one.name, value: one.values[at] ?? null, which }));
    if (props.kind === "line") return rows.flatMap((row) => (row.value === null ? [] : { ...row, value: row.value }));
    return rows.flatMap((row) => (row.value ? { ...row, value: row.value } : [])).sort((a, b) => b.value - a.value);
  }

  /** @param {number} at */
  function inWords(at) {
    if (props.kind !== "line") return props.value(totalAt(at));
    return valuesAt(at).map((row) => `${row.name} ${props.value(row.value)}`).join(", ") || "no calls";
  }

  function hideTip() {
    tip.hidden = true;
  }

  /** @param {number} at */
  function focus(at) {
    if (at === focused) return;
    focused = at;
    if (at < 0) hideTip();
    draw();
  }

  drawing.addEventListener("pointermove", (/** @type {PointerEvent} */ event) => {
    const x = event.clientX - drawing.getBoundingClientRect().left - left;
    const at = Math.floor(x / band());
    focus(at >= 0 && at < props.starts.length ? at : -1);
  });
  stage.addEventListener("pointerleave", () => focus(-1));
  drawing.addEventListener("blur", () => focus(-1));
  drawing.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    const last = props.starts.length - 1;
    const from = focused < 0 ? last + 1 : focused;
    const to = { ArrowLeft: from - 1, ArrowRight: from + 1, Home: 0, End: last }[event.key];
    if (event.key === "Escape") focus(-1);
    if (to === undefined) return;
    event.preventDefault();
    focus(Math.max(0, Math.min(last, to)));
    const start = props.starts[focused];
    if (start !== undefined) spoken.textContent = `${props.title(start, endOf(focused))}: ${inWords(focused)}`;
  });

  new ResizeObserver(([entry]) => {
    const now = Math.floor(entry?.contentRect.width ?? 0);
    if (now !== width) {
      width = now;
      draw();
    }
  }).observe(stage);
  stage.style.setProperty("min-height", `${props.height ?? 220}px`);

  return (next) => {
    props = next;
    draw();
  };
});

/** Names the colours. @param {{name: any, figure?: any}[]} entries */
export const legend = (entries) => h("ul", { class: "legend" }, entries.map(({ name, figure }, which) =>
  h("li", null, h("span", { class: `swatch fill-${which}` }), h("span", { class: "legend-name" }, name), figure ? h("span", { class: "num quiet" }, figure) : null)));

/** The chart's values as a table, folded away. @param {ChartProps} props */
export function asTable(props) {
  const cellOf = (/** @type {number | null} */ value, /** @type {ChartProps} */ { kind, value: write }) => (value === null ? (kind === "line" ? "–" : write(0)) : write(value));
  const filled = props.starts.map((start, at) => ({ start, at })).filter(({ at }) => props.series.some((one) => (props.kind === "line" ? one.values[at] !== null : (one.values[at] ?? 0) > 0)));
  return h("details", { class: "chart-table" }, h("summary", null, "Show as a table"),
    h("div", { class: "table-scroll", tabindex: "0", role: "region", "aria-label": `${props.label}, as a table` }, h("table", null,
      h("thead", null, h("tr", null, h("th", { scope: "col" }, "Time"), props.series.map((one) => h("th", { scope: "col", class: "end" }, one.name)))),
      h("tbody", null, filled.map(({ start, at }) => h("tr", null,
        h("th", { scope: "row" }, props.title(start, props.starts[at + 1] ?? props.end)),
        props.series.map((one) => h("td", { class: "end num" }, cellOf(one.values[at] ?? null, props)))))))));
}
