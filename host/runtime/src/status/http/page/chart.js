// Charts, drawn as SVG: over time, with a line for each number, a reading for pointer and keys, and marks.

import { el, mark, outside, say, svg } from "./dom.js";
import { clock, minute } from "./format.js";

const HEIGHT = 150;
const EDGE = { left: 52, right: 12, top: 8, bottom: 20 };
/** A gap between two samples that is longer than this is drawn as one, in milliseconds. */
const GAP_MS = 3_700_000;
const SPARK = { width: 96, height: 24, points: 60, minute: 60_000 };

/** A small line of the last hour. */
export function spark() {
  const line = svg("path", { class: "spark-line" });
  const area = svg("path", { class: "spark-area" });
  const size = { viewBox: `0 0 ${SPARK.width} ${SPARK.height}`, width: SPARK.width, height: SPARK.height };
  const node = svg("svg", { class: "spark", "aria-hidden": "true", ...size }, area, line);
  let values = new Array(SPARK.points).fill(0);
  let turned = Date.now();
  function draw() {
    const top = Math.max(...values, Number.MIN_VALUE);
    const step = SPARK.width / (SPARK.points - 1);
    const y = (value) => SPARK.height - 1.5 - (value / top) * (SPARK.height - 4);
    const path = values.map((value, i) => `${i ? "L" : "M"}${(i * step).toFixed(1)} ${y(value).toFixed(1)}`).join("");
    mark(line, "d", path);
    mark(area, "d", `${path}L${SPARK.width} ${SPARK.height}L0 ${SPARK.height}Z`);
  }
  draw();
  return {
    node,
    fill(all) {
      values = [...all];
      draw();
    },
    push(value) {
      while (Date.now() - turned > SPARK.minute) {
        values = [...values.slice(1), 0];
        turned += SPARK.minute;
      }
      const last = values.length - 1;
      values[last] = Math.max(values[last], value);
      draw();
    },
  };
}

/** Round steps of an axis that ends at or above `top`. */
export function steps(top, whole) {
  if (!(top > 0)) return [0, 1];
  const rough = top / 3;
  const power = 10 ** Math.floor(Math.log10(rough));
  let step = [1, 2, 5, 10].map((by) => by * power).find((by) => by >= rough);
  if (whole) step = Math.max(1, Math.round(step));
  const all = [];
  for (let value = 0; value < top + step; value += step) all.push(value);
  return all;
}

/**
 * A chart. `series` has for each line a name, a class, how its value is read from a sample (null for none) and whether
 * it goes in steps; `stacked` puts each on the ones before it; `show` makes a text of a value; `whole` is for counts;
 * `onMark` is called with the mark that somebody looks at.
 */
export function chart({ title, series, show, whole = false, stacked = false, onMark = null }) {
  const drawing = svg("svg", { class: "chart", role: "img", tabindex: "0", "aria-label": title });
  const legend = el("div", { class: "legend" });
  const when = el("span", { class: "when" });
  let values = [];
  const node = el("figure", { class: "chart-box" }, el("figcaption", {}, el("h3", {}, title), legend), drawing);
  let data = { samples: [], from: 0, to: 1, marks: [] };
  let cursor = null;
  let width = 0;
  let focused = null;

  /** Has these lines from now on. */
  function have(lines) {
    const names = (all) => all.map((line) => `${line.class} ${line.name}`).join("\n");
    if (values.length && names(lines) === names(series)) return;
    series = lines;
    values = lines.map(() => el("b"));
    const key = (line) => el("span", { class: `key ${line.class}` });
    const items = lines.map((line, i) =>
      el("span", { class: "item" }, key(line), outside(line.name), " ", values[i]),
    );
    legend.replaceChildren(...items, when);
  }

  have(series);
  const x = (ms) => EDGE.left + ((ms - data.from) / (data.to - data.from)) * (width - EDGE.left - EDGE.right);
  const at = (px) => data.from + ((px - EDGE.left) / (width - EDGE.left - EDGE.right)) * (data.to - data.from);

  function draw() {
    if (!width) return;
    const { samples, from, to } = data;
    const inside = samples.filter((sample, i) => sample.at_ms >= from || samples[i + 1]?.at_ms >= from);
    let top = 0;
    const drawn = stacked ? stack(series) : series;
    for (const line of drawn) for (const sample of inside) top = Math.max(top, line.value(sample) ?? 0);
    const marks = data.marks.filter((one) => one.at_ms >= from && one.at_ms <= to);
    for (const one of marks) top = Math.max(top, one.value);
    const ticks = steps(top, whole);
    const high = ticks.at(-1);
    const y = (value) => EDGE.top + (1 - value / high) * (HEIGHT - EDGE.top - EDGE.bottom);
    const parts = [];
    for (const tick of ticks) {
      parts.push(svg("line", { class: "grid", x1: EDGE.left, x2: width - EDGE.right, y1: y(tick), y2: y(tick) }));
      parts.push(svg("text", { class: "tick", x: EDGE.left - 6, y: y(tick) + 4, "text-anchor": "end" }, show(tick)));
    }
    for (const tick of times(from, to, width)) {
      const text = { class: "tick", x: x(tick), y: HEIGHT - 5, "text-anchor": "middle" };
      parts.push(svg("text", text, to - from > 600_000 ? minute(tick) : clock(tick)));
    }
    for (const line of drawn) {
      const path = trace(inside, line, x, y, EDGE.left);
      if (line.area && path) {
        parts.push(svg("path", { class: `area ${line.class}${stacked ? " stacked" : ""}`, d: path.area }));
      }
      if (path) parts.push(svg("path", { class: `line ${line.class}`, d: path.line }));
    }
    const room = (width - EDGE.left - EDGE.right) / Math.max(marks.length, 1);
    const size = Math.min(Math.max(room / 3, 2.5), 5);
    const dots = marks.map((one) => dot(one, x(one.at_ms), y(one.value), size));
    parts.push(...dots);
    const cross = svg("line", { class: "cross", y1: EDGE.top, y2: HEIGHT - EDGE.bottom, x1: 0, x2: 0, hidden: true });
    parts.push(cross);
    mark(drawing, "viewBox", `0 0 ${width} ${HEIGHT}`);
    mark(drawing, "height", HEIGHT);
    const had = drawing.contains(document.activeElement) && document.activeElement !== drawing;
    drawing.replaceChildren(...parts);
    if (had) (dots.find((one) => one.number === focused) ?? drawing).focus({ preventScroll: true });
    read();
  }

  /** A decision. Arrows go from one to the next. */
  function dot(one, px, py, size) {
    const node = svg("circle", {
      class: `mark ${one.class ?? ""}`,
      cx: px,
      cy: py,
      r: size,
      tabindex: "-1",
      role: "img",
      "aria-label": one.label,
      on: {
        pointerenter: () => look(one),
        focus: () => {
          focused = one.number;
          look(one);
        },
      },
    });
    node.number = one.number;
    return node;
  }

  function look(one) {
    onMark?.(one);
    cursor = one.at_ms;
    read();
  }

  /** The values where the cursor is, or the newest. */
  function read() {
    const { samples, from, to } = data;
    const time = cursor === null ? to : Math.min(Math.max(cursor, from), to);
    const sample = samples.find((one) => one.at_ms >= time) ?? samples.at(-1);
    series.forEach((line, i) => {
      const value = sample ? line.value(sample) : null;
      say(values[i], value === null || value === undefined ? "–" : show(value));
    });
    say(when, cursor === null ? "" : clock(time));
    const cross = drawing.querySelector(".cross");
    if (cross) {
      mark(cross, "hidden", cursor === null);
      mark(cross, "x1", x(time));
      mark(cross, "x2", x(time));
    }
  }

  function moved(event) {
    const box = drawing.getBoundingClientRect();
    cursor = at(((event.clientX - box.left) / box.width) * width);
    read();
  }

  drawing.addEventListener("pointermove", moved);
  drawing.addEventListener("pointerleave", () => {
    cursor = null;
    read();
  });
  drawing.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "Escape") {
      cursor = null;
      focused = null;
      drawing.focus();
      onMark?.(null);
      return read();
    }
    if (!by && event.key !== "Home" && event.key !== "End") return undefined;
    event.preventDefault();
    const dots = [...drawing.querySelectorAll(".mark")];
    if (dots.length) {
      const here = dots.findIndex((one) => one === document.activeElement);
      const next = event.key === "Home" ? 0 : event.key === "End" || here < 0 ? dots.length - 1 : here + by;
      return dots[Math.min(Math.max(next, 0), dots.length - 1)].focus();
    }
    const span = (data.to - data.from) / 60;
    if (event.key === "Home") cursor = data.from;
    else if (event.key === "End") cursor = data.to;
    else cursor = Math.min(Math.max((cursor ?? data.to) + by * span, data.from), data.to);
    return read();
  });
  const sized = new ResizeObserver(([entry]) => {
    const next = Math.round(entry.contentRect.width);
    if (next === width) return;
    width = next;
    draw();
  });
  sized.observe(node);

  return {
    node,
    /** Draws samples from one time to another, with marks; with other lines than before, if there are any. */
    set(next) {
      if (next.series) have(next.series);
      data = next;
      draw();
    },
    close: () => sized.disconnect(),
  };
}

/** Lines that each stand on the ones before, the uppermost first: the next is drawn over what it has below. */
function stack(series) {
  const upTo = (i) => (sample) => series.slice(0, i + 1).reduce((sum, line) => sum + (line.value(sample) ?? 0), 0);
  return series.map((line, i) => ({ ...line, area: true, value: upTo(i) })).reverse();
}

/** The line through samples, and the area below it. */
function trace(samples, line, x, y, left) {
  let path = "";
  let area = "";
  let before = null;
  let start = null;
  const close = () => {
    if (start !== null && before) area += `L${px(x(before.at))} ${px(y(0))}L${px(start)} ${px(y(0))}Z`;
    start = null;
  };
  for (const sample of samples) {
    const value = line.value(sample);
    if (value === null || value === undefined) {
      close();
      before = null;
      continue;
    }
    const here = `${px(Math.max(x(sample.at_ms), left))} ${px(y(value))}`;
    if (!before || sample.at_ms - before.at > GAP_MS) {
      close();
      start = Math.max(x(sample.at_ms), left);
      path += `M${here}`;
      area += `M${here}`;
    } else {
      const step = line.step ? `L${px(Math.max(x(sample.at_ms), left))} ${px(y(before.value))}` : "";
      path += `${step}L${here}`;
      area += `${step}L${here}`;
    }
    before = { at: sample.at_ms, value };
  }
  close();
  return path ? { line: path, area } : null;
}

const px = (number) => number.toFixed(1);

/** Round times between two, as many as there is room for. */
function times(from, to, width) {
  const room = Math.max(2, Math.floor(width / 90));
  const spans = [10_000, 30_000, 60_000, 120_000, 300_000, 600_000, 900_000, 1_200_000, 1_800_000];
  const span = spans.find((one) => (to - from) / one <= room) ?? 3_600_000;
  const all = [];
  for (let time = Math.ceil(from / span) * span; time <= to; time += span) all.push(time);
  const reach = (to - from) * (24 / Math.max(width, 1));
  return all.filter((time) => time - from > reach && to - time > reach);
}
