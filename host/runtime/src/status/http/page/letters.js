// Dead letters: a list with filters, read when it is asked for.

import { changes } from "./changes.js";
import { el, empty, outside, say, shown } from "./dom.js";
import { ago, bytes, day, plural } from "./format.js";
import { ask, query } from "./server.js";

const CAUSES = [
  "rejected",
  "retries",
  "trapped",
  "time",
  "memory",
  "effects",
  "start",
  "exhausted",
  "unreadable",
  "conflict",
];
/** The last line that a handler wrote to standard error, where an exception's name and text stand. */
function wrote(stderr) {
  const last = stderr.trimEnd().split("\n").pop();
  return last ? outside(`wrote: ${last}`, { class: "clamp sub" }) : null;
}

/** The list. `values` are the filters of the address. */
export function lettersPage(state, values) {
  const fields = {
    workload: el("input", { id: "f-workload", name: "workload", list: "names", placeholder: "any" }),
    cause: el(
      "select",
      { id: "f-cause", name: "cause" },
      el("option", { value: "" }, "any"),
      CAUSES.map((cause) => el("option", { value: cause }, cause)),
    ),
    reason: el("input", { id: "f-reason", name: "reason", placeholder: "has this text" }),
    subject: el("input", { id: "f-subject", name: "subject", placeholder: "orders.>" }),
    plugin: el("input", { id: "f-plugin", name: "plugin", placeholder: "any" }),
  };
  const names = el("datalist", { id: "names" });
  const labels = { workload: "Workload", cause: "Cause", reason: "Reason", subject: "Subject", plugin: "Handler" };
  const labelled = Object.entries(fields).map(([name, field]) => {
    field.value = values.get(name) ?? "";
    return el("div", { class: "field" }, el("label", { for: field.id }, labels[name]), field);
  });
  const form = el(
    "form",
    { class: "filters", on: { submit: apply } },
    labelled,
    names,
    el(
      "div",
      { class: "field buttons" },
      el("button", { type: "submit", class: "primary" }, "Filter"),
      el("a", { class: "button", href: "#/letters" }, "Clear"),
    ),
  );
  const said = el("div", { role: "status", class: "said" });
  const body = el("tbody");
  const all = el("input", {
    type: "checkbox",
    "aria-label": "Choose all that are listed",
    on: { change: () => chooseAll(all.checked) },
  });
  const heads = ["Letter", "When", "Workload", "Cause", "Reason", "Subject", "Size"];
  const table = el(
    "table",
    { class: "letters" },
    el(
      "thead",
      {},
      el(
        "tr",
        {},
        el("th", { scope: "col", class: "choose" }, all),
        heads.map((head) => el("th", { scope: "col" }, head)),
      ),
    ),
    body,
  );
  const frame = el("div", { class: "panel flush scroll", hidden: true }, table);
  const more = el("button", { type: "button", hidden: true, on: { click: () => load(next) } }, "Older ones");
  const again = el("button", { type: "button", on: { click: () => reload() } }, "Read again");
  const chosen = new Set();
  // A workload may have an account of its own, and its letters are counted there.
  const account = values.get("workload") || undefined;
  const changer = changes(
    state,
    () => [...chosen],
    (gone) => {
      for (const sequence of gone) {
        chosen.delete(sequence);
        body.querySelector(`tr[data-sequence="${sequence}"]`)?.remove();
      }
      counted();
    },
    account,
  );
  const node = el(
    "div",
    {},
    el("div", { class: "page-head" }, el("h1", {}, "Dead letters"), again),
    form,
    changer.node,
    said,
    frame,
    el("p", {}, more),
  );
  let next = null;
  let names_ = "";
  const ending = new AbortController();

  function apply(event) {
    event.preventDefault();
    const filled = Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, field.value.trim()]));
    const address = `#${query("/letters", filled)}`;
    if (address === location.hash) reload();
    else location.hash = address;
  }

  function reload() {
    body.replaceChildren();
    chosen.clear();
    load(null);
  }

  async function load(before) {
    say(said, "Reading …");
    more.hidden = true;
    const filters = Object.fromEntries(Object.keys(fields).map((name) => [name, values.get(name)]));
    try {
      const found = await ask(query("/api/letters", { ...filters, before }), undefined, ending.signal);
      said.replaceChildren();
      body.append(...found.letters.map((letter) => line(letter)));
      next = found.before;
      more.hidden = next === null;
      counted(found.stream);
    } catch (error) {
      if (error.name === "AbortError") return;
      said.replaceChildren(el("p", { class: "error" }, shown(error.message)));
      if (error.status === 401 || error.status === 403) changer.ask();
    }
  }

  function counted(stream) {
    const here = body.children.length;
    frame.hidden = here === 0;
    changer.update();
    all.checked = here > 0 && chosen.size === here;
    if (here === 0) {
      const filtered = [...values.values()].some((value) => value !== "");
      const words =
        next !== null
          ? "None among the newest; there are older ones to look at."
          : filtered
            ? "No dead letter matches."
            : "There are no dead letters.";
      said.replaceChildren(
        empty(
          words,
          filtered ? "Clear the filter to see all." : "Messages that are given up are kept here, with the reason.",
        ),
      );
    } else if (stream) {
      said.replaceChildren(
        el(
          "p",
          { class: "muted" },
          `${plural(here, "letter")}${next === null ? "" : ", and older ones"} in `,
          outside(stream),
        ),
      );
    }
  }

  function chooseAll(choose) {
    for (const box of body.querySelectorAll("input[type=checkbox]")) {
      box.checked = choose;
      keep(Number(box.value), choose);
    }
    changer.update();
  }

  function keep(sequence, choose) {
    if (choose) chosen.add(sequence);
    else chosen.delete(sequence);
  }

  function line(letter) {
    const box = el("input", {
      type: "checkbox",
      value: letter.sequence,
      "aria-label": `Choose letter ${letter.sequence}`,
      on: {
        change: () => {
          keep(letter.sequence, box.checked);
          counted();
        },
      },
    });
    const cell = (label, ...children) => el("td", { "data-label": label }, ...children);
    const address = query(`/letters/${letter.sequence}`, { workload: account });
    return el(
      "tr",
      { "data-sequence": letter.sequence },
      el("td", { class: "choose" }, box),
      cell("Letter", el("a", { href: `#${address}` }, `${letter.sequence}`)),
      cell("When", el("span", { title: day(letter.at_ms), class: "nowrap" }, ago(letter.at_ms, state.now()))),
      cell("Workload", outside(letter.workload)),
      cell("Cause", el("span", { class: "tag" }, outside(letter.cause))),
      cell("Reason", outside(letter.reason, { class: "clamp" }), wrote(letter.stderr)),
      cell("Subject", outside(letter.subject, { class: "clamp mono" })),
      cell("Size", el("span", { class: "nowrap" }, bytes(letter.size))),
    );
  }

  load(null);
  return {
    node,
    title: "Dead letters",
    close: () => ending.abort(),
    update() {
      changer.update();
      const now = [...state.rows.keys()].join("\n");
      if (now === names_) return;
      names_ = now;
      names.replaceChildren(...[...state.rows.keys()].map((name) => el("option", { value: name })));
    },
  };
}
