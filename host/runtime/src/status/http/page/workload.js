// One workload: charts of its last hour, its decisions, its failures, its shadow and its workers.

import { chart } from "./chart.js";
import { el, empty, fact, mark, outside, say, shown } from "./dom.js";
import { clock, conditionOf, count, digest, duration, kindOf, micros, plural, rate } from "./format.js";
import { hostsOverTime } from "./hosts.js";
import { CAUSES } from "./letters.js";
import { ask, query } from "./server.js";

const HOUR_MS = 3_600_000;
const SPANS = [
  ["5 min", 300_000],
  ["15 min", 900_000],
  ["1 h", HOUR_MS],
];
/** What is shown first: the longest of these that is full, or the shortest. */
const FIRST = [900_000, 300_000];
/** How many decisions are listed; the chart has all that are remembered. */
const LISTED = 20;

export function workloadPage(state, name) {
  const known = outside(name);
  const condition = el("span", { class: "pill" });
  const problems = el("ul", { class: "problems" });
  const facts = el("dl", { class: "facts" });
  const node = el("div", {});
  const head = el("div", { class: "page-head" }, el("h1", {}, known), condition);
  const missing = el("div", { role: "status" });
  const looked = el("p", { class: "looked", "aria-live": "polite" });
  const charts = makeCharts((one) => lookAt(one));
  const hosts = hostsOverTime(HOUR_MS + 60_000);
  const span = spanPicker((ms) => {
    shownMs = ms;
    draw();
  });
  span.show(FIRST.at(-1));
  const decisions = listPanel("Decisions", ["When", "Workers", "Reason"]);
  const workers = listPanel("Workers", ["Worker", "Does", "Acked", "Failed", "Lives for"]);
  const counts = el("dl", { class: "counts" });
  const causes = el("div", { class: "bars" });
  const faults = el("div", { class: "bars" });
  const shadow = el("section", { class: "panel", hidden: true });
  const fleet = el("section", { class: "panel", hidden: true });
  const failures = el(
    "section",
    { class: "panel" },
    el("h2", {}, "Deliveries"),
    counts,
    el("h3", {}, "Dead letters by cause"),
    causes,
    el("h3", {}, "Calls without an answer"),
    faults,
  );
  const body = el(
    "div",
    {},
    problems,
    facts,
    el(
      "section",
      { class: "panel" },
      el("div", { class: "panel-head" }, el("h2", {}, "The last hour"), span.node),
      charts.map(({ box }) => box.node),
      hosts.node,
      looked,
    ),
    el("div", { class: "columns" }, decisions.node, el("div", { class: "stack" }, shadow, fleet, failures)),
    workers.node,
  );
  node.append(el("p", { class: "crumb" }, el("a", { href: "#/" }, "Workloads")), head, missing, body);
  let samples = [];
  let made = [];
  let shownMs = FIRST.at(-1);
  let loaded = false;
  /** Whether the host has this workload; null as long as that is not known. */
  let there = null;
  const ending = new AbortController();
  lookAt(null);

  /** Shows the workload, or that there is none. One that comes back begins anew. */
  function find(is) {
    if (there === is) return;
    const was = there !== null;
    there = is;
    body.hidden = condition.hidden = !is;
    missing.replaceChildren(...(is ? [] : [nothing(was)]));
    if (is) load();
  }

  function load() {
    samples = [];
    made = [];
    loaded = false;
    const asked = ask(query("/api/history", { workload: name }), undefined, ending.signal);
    asked.then(began, () => {
      // What is told from now on can be drawn all the same.
      loaded = true;
    });
  }

  /** Takes what the host remembers, beside what it has told since. */
  function began(history) {
    const newest = history.samples.at(-1)?.at_ms ?? 0;
    samples = [...history.samples, ...samples.filter((sample) => sample.at_ms > newest)];
    hosts.began(history.by_host ?? []);
    loaded = true;
    const long = (samples.at(-1)?.at_ms ?? 0) - (samples[0]?.at_ms ?? 0);
    shownMs = FIRST.find((ms) => long >= ms) ?? FIRST.at(-1);
    span.show(shownMs);
    draw();
  }

  function draw() {
    const to = samples.at(-1)?.at_ms ?? state.now();
    const from = to - shownMs;
    const marks = made.map((one) => ({ ...one, value: one.count, label: words(one) }));
    for (const { box, marked } of charts) box.set({ samples, from, to, marks: marked ? marks : [] });
    hosts.draw(from, to);
  }

  function lookAt(one) {
    if (!one) {
      say(
        looked,
        "Decisions are the marks on the chart of workers: point at one, or focus the chart and press an arrow.",
      );
      return;
    }
    looked.replaceChildren(
      el("b", {}, `${clock(one.at_ms)}  ${one.count} wanted`),
      ": ",
      outside(one.reason),
      el("br"),
      el("span", { class: "muted" }, one.seen ? observed(one.seen) : ""),
    );
  }

  return {
    node,
    title: shown(name),
    close() {
      ending.abort();
      for (const { box } of charts) box.close();
      hosts.close();
    },
    update(event) {
      const row = state.rows.get(name);
      find(row !== undefined);
      if (!row) return;
      const nowMs = state.now();
      const troubles = Object.entries(row.problems);
      say(condition, conditionOf(row));
      mark(condition, "class", `pill ${kindOf(row)}`);
      mark(problems, "hidden", troubles.length === 0);
      list(problems, troubles, ([part, text]) => el("li", {}, el("b", {}, `${part}: `), outside(text)));
      const detail = event?.detail;
      if (!detail || detail.name !== name) return;
      tell(facts, row, nowMs);
      if (samples.at(-1)?.at_ms !== detail.at_ms) samples.push({ at_ms: detail.at_ms, ...row.now });
      const oldest = detail.at_ms - HOUR_MS - 60_000;
      while (samples.length > 2 && samples[1].at_ms < oldest) samples.shift();
      if (detail.fleet) hosts.add({ at_ms: detail.at_ms, ...detail.fleet.by_host });
      made.push(...detail.decisions.filter((one) => one.number > (made.at(-1)?.number ?? 0)));
      made = made.filter((one) => one.at_ms > oldest);
      if (loaded) draw();
      decisions.fill(
        made.slice(-LISTED).reverse(),
        detail.problem,
        (one, i, all) => {
          const before = all[i + 1]?.count;
          const change = before === undefined || before === one.count ? `${one.count}` : `${before} → ${one.count}`;
          const when = el("td", { title: clock(one.at_ms), class: "nowrap" }, clock(one.at_ms));
          const reason = el("td", {}, outside(one.reason));
          if (one.desired !== one.count)
            reason.append(el("span", { class: "sub" }, `the policy wanted ${one.desired}`));
          return el("tr", {}, when, el("td", { class: "nowrap" }, change), reason);
        },
        "No decision yet",
        (one) => `${one.number}`,
      );
      tellShadow(shadow, detail.shadow);
      tellFleet(fleet, detail.fleet);
      tellCounts(counts, detail.deliveries);
      bars(
        causes,
        detail.causes,
        (cause) => CAUSES[cause] ?? "",
        `#/letters?workload=${encodeURIComponent(name)}&cause=`,
      );
      bars(faults, detail.faults, () => "", null);
      const sorted = [...detail.workers].sort(
        (a, b) => (b.handling_ms ?? -1) - (a.handling_ms ?? -1) || a.worker - b.worker,
      );
      const more = detail.alive > sorted.length ? `${count(detail.alive - sorted.length)} more are not listed` : null;
      workers.fill(
        sorted,
        more,
        (one) => {
          const does =
            one.handling_ms === null ? "waits for a message" : `handles one for ${duration(one.handling_ms)}`;
          const cells = [does, count(one.acked), count(one.failed), duration(one.alive_ms)];
          return el(
            "tr",
            {},
            el("td", {}, `${one.worker}`),
            cells.map((text) => el("td", {}, text)),
          );
        },
        "No worker runs: the next message starts one",
      );
    },
  };
}

/** What is said of a workload that the host does not have, or has not any more. */
function nothing(was) {
  return was
    ? empty("This host has no such workload any more", "It was removed, or another host answers now.")
    : empty("This host has no such workload", "It may have another name, or be of another host.");
}

function makeCharts(onMark) {
  const per = (us) => (us === null ? null : us / 1000);
  return [
    {
      box: chart({
        title: "Messages a second",
        series: [
          { name: "arrive", class: "s1", area: true, value: (sample) => sample.arrivals },
          { name: "settled", class: "s2", value: (sample) => sample.completions },
          { name: "failed calls", class: "s3", value: (sample) => sample.failures },
        ],
        show: rate,
      }),
    },
    {
      box: chart({
        title: "Backlog",
        series: [
          { name: "not delivered", class: "s1", area: true, value: (sample) => sample.pending },
          { name: "in flight", class: "s4", value: (sample) => sample.ack_pending },
        ],
        show: count,
        whole: true,
      }),
    },
    {
      box: chart({
        title: "Age of the oldest message",
        series: [{ name: "waits for", class: "s5", area: true, value: (sample) => sample.oldest_ms ?? 0 }],
        show: duration,
      }),
    },
    {
      marked: true,
      box: chart({
        title: "Workers",
        series: [
          { name: "run", class: "s2", step: true, area: true, value: (sample) => sample.running },
          { name: "wanted", class: "s1", step: true, value: (sample) => sample.desired },
          { name: "drain", class: "s5", step: true, value: (sample) => sample.draining },
          { name: "the shadow's", class: "s4 dashed", step: true, value: (sample) => sample.shadow },
        ],
        show: count,
        whole: true,
        onMark,
      }),
    },
    {
      box: chart({
        title: "Handler times",
        series: [
          { name: "p50", class: "s2", value: (sample) => per(sample.p50_us) },
          { name: "p99", class: "s5", value: (sample) => per(sample.p99_us) },
        ],
        show: duration,
      }),
    },
  ];
}

function spanPicker(pick) {
  const choose = (ms) => {
    show(ms);
    pick(ms);
  };
  const buttons = SPANS.map(([label, ms]) =>
    el("button", { type: "button", on: { click: () => choose(ms) } }, label),
  );
  function show(ms) {
    buttons.forEach((button, i) => mark(button, "aria-pressed", SPANS[i][1] === ms));
  }
  return { node: el("div", { class: "choice", role: "group", "aria-label": "Time shown" }, buttons), show };
}

/** A decision in words, for who does not see the mark. */
function words(one) {
  return `${clock(one.at_ms)}: ${one.count} wanted, ${shown(one.reason)}. ${one.seen ? observed(one.seen) : ""}`;
}

/** What a policy was told. */
function observed(seen) {
  const idle = seen["idle-ms"];
  return [
    `observed: ${rate(seen["arrival-rate"])} arrive`,
    `${rate(seen["completion-rate"])} settled`,
    `${count(seen.pending)} pending`,
    `${count(seen["ack-pending"])} in flight`,
    seen["oldest-pending-ms"] === null ? null : `oldest ${duration(seen["oldest-pending-ms"])}`,
    idle === null ? null : `idle for ${duration(idle)}`,
    `busy ${Math.round(100 * seen["busy-ratio"])} %`,
    `a call takes ${duration(seen["service-time-ms"])}`,
    `${seen.running} ran`,
    seen.limited ? "a limit kept messages waiting" : null,
  ]
    .filter(Boolean)
    .join(", ");
}

function tell(facts, row, nowMs) {
  const code = (plugin, generation) => {
    if (!generation) return [outside(plugin), el("span", { class: "sub" }, "not loaded")];
    const since = `for ${duration(Math.max(1000, Math.floor((nowMs - generation.since_ms) / 1000) * 1000))}`;
    return [
      outside(plugin),
      el("span", { class: "sub mono" }, digest(generation.digest)),
      el("span", { class: "sub" }, since),
    ];
  };
  const made = [
    ["Stream", outside(row.stream)],
    ["Consumer", outside(row.consumer)],
    ["Handler", ...code(row.handler, row.generations[0])],
    ["Policy", ...code(row.policy, row.generations[1])],
    ...(row.rollout ? [["Rollout", outside(row.rollout)]] : []),
    [
      "Workers",
      `${row.now.running} run, ${row.now.desired} wanted${row.set === null ? "" : ", set by a person"}`,
      el("span", { class: "sub" }, `${row.min} to ${row.max}`),
    ],
  ];
  list(facts, made, ([name, ...value]) => fact(name, ...value));
}

function tellShadow(panel, shadow) {
  panel.hidden = !shadow;
  if (!shadow) return;
  const part = shadow.decisions ? `${Math.round((100 * shadow.differing) / shadow.decisions)} %` : "none";
  const made = [
    ["Policy", outside(shadow.policy)],
    ["Would have", shadow.count === null ? "–" : plural(shadow.count, "worker")],
    ["Because", outside(shadow.reason ?? "–")],
    ["Decided otherwise", `${count(shadow.differing)} of ${count(shadow.decisions)} (${part})`],
  ];
  if (shadow.problem) made.push(["Problem", outside(shadow.problem)]);
  const facts = el(
    "dl",
    { class: "counts" },
    made.map(([name, ...value]) => fact(name, ...value)),
  );
  panel.replaceChildren(el("h2", {}, "Shadow"), facts);
}

/** The workers of the fleet's plan, by host. */
function tellFleet(panel, fleet) {
  panel.hidden = !fleet;
  if (!fleet) return;
  const facts = el("dl", { class: "counts" }, [
    fact("This host", outside(fleet.host)),
    fact("Leader", outside(fleet.leader ?? "–")),
    fact("All hosts", plural(fleet.desired, "worker")),
  ]);
  const shares = el("div", { class: "bars" });
  if (Object.keys(fleet.shares).length) bars(shares, fleet.shares, () => "", null);
  panel.replaceChildren(el("h2", {}, "Fleet"), facts, el("h3", {}, "Workers by host"), shares);
}

function tellCounts(counts, deliveries) {
  const made = [
    ["Acknowledged", deliveries.acked],
    ["To be tried again", deliveries.retried],
    ["Dead letters", deliveries.dead],
    ["Not confirmed", deliveries.unconfirmed],
    ["Given back", deliveries.given_back],
    ["Redelivered", deliveries.redelivered],
  ];
  list(counts, made, ([name, value]) => fact(name, count(value)));
}

function bars(box, values, meaning, link) {
  const all = Object.entries(values).sort((a, b) => b[1] - a[1]);
  if (!all.length) {
    box.madeOf = null;
    return box.replaceChildren(el("p", { class: "muted" }, "None since this workload started."));
  }
  const top = all[0][1];
  return list(box, all, ([word, value]) => {
    const fill = el("span", { class: "bar-fill" });
    fill.style.setProperty("--part", `${top ? (100 * value) / top : 0}%`);
    const name = link ? el("a", { href: link + encodeURIComponent(word) }, word) : el("span", {}, word);
    return el(
      "div",
      { class: "bar", title: meaning(word) },
      name,
      el("span", { class: "bar-line" }, fill),
      el("b", {}, count(value)),
    );
  });
}

/** Makes the children of a list anew, if what they are made of is not what it was. */
function list(node, values, make) {
  const key = JSON.stringify(values, (_, value) => (value instanceof Node ? value.textContent : value));
  if (node.madeOf === key) return;
  node.madeOf = key;
  node.replaceChildren(...values.map(make));
}

/** A table with a title, and what is said where it is empty. */
function listPanel(title, heads) {
  const body = el("tbody");
  const table = el(
    "table",
    {},
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
  const note = el("p", { class: "muted" });
  const node = el("section", { class: "panel" }, el("h2", {}, title), note, el("div", { class: "scroll" }, table));
  return {
    node,
    fill(values, said, make, none, key = JSON.stringify) {
      say(note, said ? shown(said) : values.length ? "" : none);
      note.hidden = note.textContent === "";
      table.hidden = values.length === 0;
      const keys = values.map(key).join();
      if (body.madeOf === keys) return;
      body.madeOf = keys;
      body.replaceChildren(...values.map(make));
    },
  };
}
