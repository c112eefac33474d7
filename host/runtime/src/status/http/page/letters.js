// Dead letters: a list with filters, read when it is asked for.

import { changes } from "./changes.js";
import { el, empty, mark, outside, say, shown } from "./dom.js";
import { ago, bytes, day, plural } from "./format.js";
import { ask, query } from "./server.js";

/** Why a message is not tried again: the words of the host's `contract::Cause`, each with its meaning. */
export const CAUSES = {
  rejected: "the handler rejected it",
  retries: "one retry too many",
  trapped: "the handler trapped",
  time: "over limits.time",
  memory: "over the memory limits",
  effects: "its answer could not be carried out",
  start: "no instance started",
  exhausted: "delivered too often, never finished",
  unreadable: "cannot be read",
  conflict: "a stream had another last message",
  hops: "came through more workloads than max-hops",
};

/** What no workload's name has, and how long one may be, in bytes: as the host's configuration takes them. */
const NOT_IN_NAMES = /[\p{White_Space}\p{Cc}.*>/\\]/u;
const LONGEST_NAME = 255;

/** Why nothing can be found by this value of a filter; null if something can. */
export function wrongIn(filter, value) {
  if (!value) return null;
  return filter === "workload" ? wrongName(value) : filter === "cause" ? wrongCause(value) : null;
}

function wrongName(name) {
  const odd = NOT_IN_NAMES.exec(name)?.[0];
  if (odd) return `No workload's name has ${odd === " " ? "a blank" : shown(odd)} in it.`;
  if (name.startsWith("$")) return "No workload's name begins with $.";
  const { length } = new TextEncoder().encode(name);
  return length > LONGEST_NAME ? `No workload's name is longer than ${LONGEST_NAME} bytes.` : null;
}

/** The host takes several causes, with commas. */
function wrongCause(words) {
  const odd = words.split(",").find((word) => !Object.hasOwn(CAUSES, word));
  return odd === undefined ? null : `${shown(odd)} is no cause.`;
}

/** The last line that a handler wrote to standard error, where an exception's name and text stand. */
function wrote(stderr) {
  const last = stderr.trimEnd().split("\n").pop();
  return last ? outside(`wrote: ${last}`, { class: "clamp sub" }) : null;
}

/** The list. `values` are the filters of the address. */
export function lettersPage(state, values) {
  // What the address has is there to be seen, whatever it is.
  const causes = new Set([...Object.keys(CAUSES), values.get("cause") ?? ""]);
  causes.delete("");
  const fields = {
    workload: el("input", { id: "f-workload", name: "workload", list: "names", placeholder: "any" }),
    cause: el(
      "select",
      { id: "f-cause", name: "cause" },
      el("option", { value: "" }, "any"),
      [...causes].map((cause) => el("option", { value: cause }, shown(cause))),
    ),
    reason: el("input", { id: "f-reason", name: "reason", placeholder: "has this text" }),
    subject: el("input", { id: "f-subject", name: "subject", placeholder: "orders.>" }),
    plugin: el("input", { id: "f-plugin", name: "plugin", placeholder: "any" }),
  };
  const wrongs = {};
  for (const [name, field] of Object.entries(fields)) {
    wrongs[name] = el("span", { id: `${field.id}-wrong`, class: "error", role: "status", hidden: true });
    mark(field, "aria-describedby", wrongs[name].id);
  }
  const names = el("datalist", { id: "names" });
  const labels = { workload: "Workload", cause: "Cause", reason: "Reason", subject: "Subject", plugin: "Handler" };
  const labelled = Object.entries(fields).map(([name, field]) => {
    field.value = values.get(name) ?? "";
    return el("div", { class: "field" }, el("label", { for: field.id }, labels[name]), field, wrongs[name]);
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
  let stream = "";
  let names_ = "";
  /** The reading that goes on, or went on last. */
  let reading = new AbortController();

  function apply(event) {
    event.preventDefault();
    const filled = Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, field.value.trim()]));
    if (!fit(filled)) return form.querySelector("[aria-invalid]").focus();
    const address = `#${query("/letters", filled)}`;
    if (address === location.hash) reload();
    else location.hash = address;
  }

  /** Says at each field whether nothing can be found by its value; whether all are well. */
  function fit(filters) {
    const each = Object.entries(filters).map(([name, value]) => {
      const why = wrongIn(name, value);
      say(wrongs[name], why ?? "");
      wrongs[name].hidden = !why;
      mark(fields[name], "aria-invalid", why ? "true" : null);
      return !why;
    });
    return each.every(Boolean);
  }

  function reload() {
    body.replaceChildren();
    chosen.clear();
    marked();
    load(null);
  }

  /** Reads the newest, or those before a sequence. What was being read is not wanted any more. */
  async function load(before) {
    reading.abort();
    reading = new AbortController();
    const filters = Object.fromEntries(Object.keys(fields).map((name) => [name, values.get(name)]));
    more.hidden = true;
    if (!fit(filters)) return;
    say(said, "Reading …");
    try {
      const found = await ask(query("/api/letters", { ...filters, before }), undefined, reading.signal);
      said.replaceChildren();
      body.append(...found.letters.map((letter) => line(letter)));
      next = found.before;
      stream = found.stream;
      more.hidden = next === null;
      counted();
    } catch (error) {
      if (error.name === "AbortError") return;
      said.replaceChildren(el("p", { class: "error" }, shown(error.message)));
      if (error.status === 401 || error.status === 403) changer.need();
    }
  }

  /** Tells what is chosen. */
  function marked() {
    const here = body.children.length;
    frame.hidden = here === 0;
    all.checked = here > 0 && chosen.size === here;
    changer.update();
  }

  /** Tells how many letters are listed. */
  function counted() {
    const here = body.children.length;
    marked();
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
    } else {
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
          marked();
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
    close: () => reading.abort(),
    update() {
      changer.update();
      const now = [...state.rows.keys()].join("\n");
      if (now === names_) return;
      names_ = now;
      names.replaceChildren(...[...state.rows.keys()].map((name) => el("option", { value: name })));
    },
  };
}
