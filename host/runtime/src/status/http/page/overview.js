// All workloads of the host.

import { spark } from "./chart.js";
import { el, empty, mark, outside, say, shown } from "./dom.js";
import { ago, conditionOf, count, digest, duration, kindOf, plural, rate } from "./format.js";
import { ask } from "./server.js";

/** From how many workloads on there is something to find them by. */
const MANY = 8;

export function overviewPage(state) {
  const body = el("tbody");
  const heads = ["Workload", "Arrivals", "Backlog", "Oldest", "Workers", "Last decision", "Code"];
  const table = el(
    "table",
    { class: "workloads" },
    el(
      "thead",
      {},
      el(
        "tr",
        {},
        heads.map((head) => el("th", { scope: "col" }, head)),
      ),
    ),
    body,
  );
  const nothing = empty("Waiting for the host", "Workloads appear as soon as it says what it does.");
  const problems = el("ul", { class: "problems" });
  const find = el("input", {
    type: "search",
    id: "find",
    placeholder: "name, stream, handler",
    on: { input: () => sift() },
  });
  const finder = el("div", { class: "finder", hidden: true }, el("label", { for: "find" }, "Find"), find);
  const total = el("p", { class: "muted total" });
  const top = el("div", { class: "page-head" }, el("h1", {}, "Workloads"), total, finder);
  const node = el("div", {}, top, problems, nothing, el("div", { class: "panel flush" }, table));
  table.parentNode.hidden = true;
  const lines = new Map();
  let trends = {};

  ask("/api/trends").then(
    (found) => {
      trends = found;
      for (const line of lines.values()) line.trend(trends[line.name]);
    },
    () => {},
  );

  function sift() {
    const words = find.value.trim().toLowerCase();
    for (const line of lines.values()) line.node.hidden = words !== "" && !line.words.includes(words);
  }

  return {
    node,
    title: "Workloads",
    update(event) {
      const { rows, host } = state;
      for (const [name, line] of lines) {
        if (rows.has(name)) continue;
        line.node.remove();
        lines.delete(name);
      }
      for (const row of rows.values()) {
        let line = lines.get(row.name);
        if (!line) {
          line = workloadLine(row.name);
          lines.set(row.name, line);
          body.append(line.node);
          line.trend(trends[row.name]);
        }
        line.update(row, state.now());
      }
      if (event) for (const line of lines.values()) line.tick();
      const here = rows.size > 0;
      nothing.hidden = here;
      table.parentNode.hidden = !here;
      finder.hidden = rows.size < MANY;
      const running = [...rows.values()].reduce((sum, row) => sum + row.now.running, 0);
      const arrivals = [...rows.values()].reduce((sum, row) => sum + row.now.arrivals, 0);
      say(total, here ? `${plural(rows.size, "workload")}, ${plural(running, "worker")}, ${rate(arrivals)}` : "");
      hostProblems(
        problems,
        host.problems.filter((text) => !text.startsWith("workload ")),
      );
      sift();
    },
  };
}

/** What keeps the host from being ready beside its workloads. */
function hostProblems(list, problems) {
  mark(list, "hidden", problems.length === 0);
  const told = problems.map(shown);
  if (told.join("\n") === [...list.children].map((item) => item.textContent).join("\n")) return;
  list.replaceChildren(...told.map((text) => el("li", {}, el("bdi", {}, text))));
}

/** The row of one workload, which stays the same element as long as the workload is there. */
function workloadLine(name) {
  const cell = (label, ...children) => el("td", { "data-label": label }, ...children);
  const dot = el("span", { class: "dot", "aria-hidden": "true" });
  const link = el("a", { href: `#/workload/${encodeURIComponent(name)}` }, outside(name));
  const condition = el("span", { class: "sub" });
  const problems = el("ul", { class: "row-problems" });
  const arrivals = el("span", { class: "value" });
  const line = spark();
  const backlog = el("span", { class: "value" });
  const flight = el("span", { class: "sub" });
  const oldest = el("span", { class: "value" });
  const workers = el("span", { class: "value" });
  const gauge = el("span", { class: "gauge", "aria-hidden": "true" });
  const fill = el("span");
  gauge.append(fill);
  const drains = el("span", { class: "sub" });
  const decision = el("bdi", { class: "reason" });
  const when = el("span", { class: "sub" });
  const code = el("div", { class: "code-list" });
  const dead = el("a", { class: "sub dead", href: `#/letters?workload=${encodeURIComponent(name)}` });
  const node = el(
    "tr",
    {},
    cell("Workload", el("div", { class: "named" }, dot, link), condition, dead, problems),
    cell("Arrivals", el("div", { class: "with-spark" }, arrivals, line.node)),
    cell("Backlog", backlog, flight),
    cell("Oldest", oldest),
    cell("Workers", workers, gauge, drains),
    cell("Last decision", decision, when),
    cell("Code", code),
  );
  let row = null;
  return {
    name,
    node,
    words: name.toLowerCase(),
    trend(values) {
      if (values) line.fill(values);
    },
    tick() {
      if (row) line.push(row.now.arrivals);
    },
    update(next, nowMs) {
      const decided = next.decision;
      say(when, decided ? `${decided.count} wanted, ${ago(decided.at_ms, nowMs)}` : "");
      if (row === next) return;
      row = next;
      const { now } = row;
      const troubles = Object.entries(row.problems);
      const kind = kindOf(row);
      this.words = [row.name, row.stream, row.handler, row.policy].join(" ").toLowerCase();
      mark(dot, "class", `dot ${kind}`);
      say(condition, conditionOf(row));
      problems.replaceChildren(
        ...troubles.map(([part, text]) => el("li", {}, el("b", {}, `${part}: `), outside(text))),
      );
      say(dead, row.dead ? plural(row.dead, "dead letter") : "");
      mark(dead, "hidden", !row.dead);
      say(arrivals, rate(now.arrivals));
      say(backlog, count(now.pending));
      say(flight, now.ack_pending ? `${count(now.ack_pending)} in flight` : "");
      say(oldest, now.oldest_ms === null ? "–" : duration(now.oldest_ms));
      const set = row.set === null ? "" : " (set)";
      say(workers, `${now.desired === now.running ? now.running : `${now.running} of ${now.desired}`}${set}`);
      fill.style.setProperty("--part", `${row.max ? Math.min(100, (100 * now.running) / row.max) : 0}%`);
      say(
        drains,
        [`${row.min} to ${row.max}`, now.draining ? `${now.draining} drain` : ""].filter(Boolean).join(", "),
      );
      say(decision, decided ? shown(decided.reason) : "none yet");
      mark(decision, "title", decided ? shown(decided.reason) : null);
      code.replaceChildren(codeOf(row.handler, row.generations[0]), codeOf(row.policy, row.generations[1]));
    },
  };
}

/** A plugin with its generation. */
export function codeOf(plugin, generation) {
  const at = generation ? digest(generation.digest) : "not loaded";
  return el(
    "div",
    { class: "code", title: generation ? `since ${new Date(generation.since_ms).toLocaleString()}` : null },
    outside(plugin),
    el("span", { class: "sub mono" }, at),
  );
}
