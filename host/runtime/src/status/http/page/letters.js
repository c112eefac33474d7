// Dead letters: a list with filters, and one with its payload. Both are told by the host when they are asked for.

import { el, empty, fact, mark, outside, say, shown, shownLines } from "./dom.js";
import { ago, bytes, day, digest, plural } from "./format.js";
import { ask, keepToken, query, token } from "./server.js";

const CAUSES = [
  "rejected", "retries", "trapped", "time", "memory", "effects", "start", "exhausted", "unreadable", "conflict",
];
/** How deep JSON is indented: a payload of brackets alone must not become gigabytes of blanks. */
const DEEPEST = 24;

/** The list. `values` are the filters of the address. */
export function lettersPage(state, values) {
  const fields = {
    workload: el("input", { id: "f-workload", name: "workload", list: "names", placeholder: "any" }),
    cause: el("select", { id: "f-cause", name: "cause" }, el("option", { value: "" }, "any"),
      CAUSES.map((cause) => el("option", { value: cause }, cause))),
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
  const form = el("form", { class: "filters", on: { submit: apply } }, labelled, names,
    el("div", { class: "field buttons" }, el("button", { type: "submit", class: "primary" }, "Filter"),
      el("a", { class: "button", href: "#/letters" }, "Clear")));
  const said = el("div", { role: "status", class: "said" });
  const body = el("tbody");
  const all = el("input", { type: "checkbox", "aria-label": "Choose all that are listed", on: { change: () => chooseAll(all.checked) } });
  const heads = ["Letter", "When", "Workload", "Cause", "Reason", "Subject", "Size"];
  const table = el("table", { class: "letters" },
    el("thead", {}, el("tr", {}, el("th", { scope: "col", class: "choose" }, all), heads.map((head) => el("th", { scope: "col" }, head)))),
    body);
  const frame = el("div", { class: "panel flush scroll", hidden: true }, table);
  const more = el("button", { type: "button", hidden: true, on: { click: () => load(next) } }, "Older ones");
  const again = el("button", { type: "button", on: { click: () => reload() } }, "Read again");
  const chosen = new Set();
  const changer = changes(state, () => [...chosen], (gone) => {
    for (const sequence of gone) {
      chosen.delete(sequence);
      body.querySelector(`tr[data-sequence="${sequence}"]`)?.remove();
    }
    counted();
  });
  const node = el("div", {}, el("div", { class: "page-head" }, el("h1", {}, "Dead letters"), again), form, changer.node, said, frame,
    el("p", {}, more));
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
      const words = next !== null ? "None among the newest; there are older ones to look at." :
        filtered ? "No dead letter matches." : "There are no dead letters.";
      said.replaceChildren(empty(words, filtered ? "Clear the filter to see all." : "Messages that are given up are kept here, with the reason."));
    } else if (stream) {
      said.replaceChildren(el("p", { class: "muted" }, `${plural(here, "letter")}${next === null ? "" : ", and older ones"} in `, outside(stream)));
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
      type: "checkbox", value: letter.sequence, "aria-label": `Choose letter ${letter.sequence}`,
      on: {
        change: () => {
          keep(letter.sequence, box.checked);
          counted();
        },
      },
    });
    const cell = (label, ...children) => el("td", { "data-label": label }, ...children);
    return el("tr", { "data-sequence": letter.sequence },
      el("td", { class: "choose" }, box),
      cell("Letter", el("a", { href: `#/letters/${letter.sequence}` }, `${letter.sequence}`)),
      cell("When", el("span", { title: day(letter.at_ms), class: "nowrap" }, ago(letter.at_ms, state.now()))),
      cell("Workload", outside(letter.workload)),
      cell("Cause", el("span", { class: "tag" }, outside(letter.cause))),
      cell("Reason", outside(letter.reason, { class: "clamp" })),
      cell("Subject", outside(letter.subject, { class: "clamp mono" })),
      cell("Size", el("span", { class: "nowrap" }, bytes(letter.size))));
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

/** Redrive and delete, for who has the token. `gone` is called with those that are not there any more. */
function changes(state, chosen, gone) {
  const redrive = el("button", { type: "button", on: { click: () => change("redrive") } }, "Redrive");
  const purge = el("button", { type: "button", class: "danger", on: { click: () => confirm() } }, "Delete");
  const forget = el("button", { type: "button", class: "plain", on: { click: () => forgotten() } }, "Forget the token");
  const unlock = el("button", { type: "button", on: { click: () => ask_() } }, "Enter the token");
  const words = el("span", { class: "muted" });
  const result = el("div", { role: "alert" });
  const input = el("input", { type: "password", id: "token", autocomplete: "off", required: true });
  const wrong = el("p", { class: "error", hidden: true });
  const entry = el("form", { class: "token", hidden: true, on: { submit: enter } },
    el("label", { for: "token" }, "The token of http-admin"), input, el("button", { type: "submit", class: "primary" }, "Use it"), wrong);
  const sure = el("p");
  const dialog = el("dialog", { "aria-label": "Delete for good" }, sure,
    el("div", { class: "dialog-buttons" },
      el("button", { type: "button", on: { click: () => dialog.close() } }, "Keep"),
      el("button", {
        type: "button", class: "danger",
        on: {
          click: () => {
            dialog.close();
            change("purge");
          },
        },
      }, "Delete for good")));
  const node = el("div", { class: "changes" }, el("div", { class: "bar-of-buttons" }, redrive, purge, unlock, forget, words), entry, result, dialog);
  let busy = false;

  function update() {
    const { host } = state;
    const may = Boolean(host?.admin && token());
    const some = chosen().length;
    node.hidden = !host;
    redrive.hidden = purge.hidden = forget.hidden = !may;
    redrive.disabled = purge.disabled = busy || some === 0;
    unlock.hidden = !host?.admin || may || !entry.hidden;
    say(words, may ? (some ? `${some} chosen` : "Choose letters to redrive or delete them.") : host?.admin ?
      "Whoever has the token can redrive and delete letters." :
      "This page only shows: http-admin gives the host a token with which letters can be redriven and deleted here. tidegate dead redrive does it from a terminal.");
  }

  function ask_() {
    if (!state.host?.admin) return;
    entry.hidden = false;
    input.focus();
    update();
  }

  async function enter(event) {
    event.preventDefault();
    keepToken(input.value.trim());
    input.value = "";
    wrong.hidden = true;
    try {
      await ask("/api/token", {});
      entry.hidden = true;
      result.replaceChildren();
      if (!state.host.letters) window.dispatchEvent(new HashChangeEvent("hashchange"));
    } catch (error) {
      keepToken(null);
      say(wrong, shown(error.message));
      wrong.hidden = false;
      input.focus();
    }
    update();
  }

  function forgotten() {
    keepToken(null);
    update();
  }

  function confirm() {
    const some = chosen();
    say(sure, `Delete ${plural(some.length, "dead letter")} for good? Nothing brings ${some.length === 1 ? "it" : "them"} back.`);
    dialog.showModal();
  }

  async function change(what) {
    const sequences = chosen();
    busy = true;
    update();
    const verb = what === "redrive" ? "redriven" : "deleted";
    try {
      const done = { done: [], gone: [], failed: [], left: [] };
      for (let from = 0; from < sequences.length; from += 100) {
        const part = await ask(`/api/letters/${what}`, { sequences: sequences.slice(from, from + 100) });
        for (const key of Object.keys(done)) done[key].push(...part[key]);
        if (part.left.length) break;
      }
      gone([...done.done, ...done.gone]);
      const told = [`${plural(done.done.length, "letter")} ${verb}`];
      if (done.gone.length) told.push(`${done.gone.length} gone already`);
      if (done.left.length) told.push(`${done.left.length} left for another time`);
      result.replaceChildren(el("p", { class: done.failed.length ? "error" : "done" }, told.join(", ")),
        el("ul", { class: "problems", hidden: !done.failed.length },
          done.failed.map(([sequence, why]) => el("li", {}, el("b", {}, `${sequence} stays: `), outside(why)))));
    } catch (error) {
      if (error.status === 401 || error.status === 403) keepToken(null);
      result.replaceChildren(el("p", { class: "error" }, shown(error.message)));
    }
    busy = false;
    update();
  }

  update();
  return { node, update, ask: ask_ };
}

/** One letter. */
export function letterPage(state, sequence) {
  const said = el("div", { role: "status", class: "said" }, "Reading …");
  const body = el("div", {});
  let is = Number(sequence);
  const changer = changes(state, () => (is === null ? [] : [is]), (gone) => {
    if (!gone.includes(is)) return;
    is = null;
    body.hidden = true;
  });
  const node = el("div", {}, el("p", { class: "crumb" }, el("a", { href: "#/letters" }, "Dead letters")),
    el("div", { class: "page-head" }, el("h1", {}, `Letter ${sequence}`)), changer.node, said, body);
  const ending = new AbortController();

  ask(`/api/letters/${sequence}`, undefined, ending.signal).then((letter) => {
    said.replaceChildren();
    body.replaceChildren(...parts(letter, state.now()));
  }, (error) => {
    if (error.name === "AbortError") return;
    is = null;
    said.replaceChildren(el("p", { class: "error" }, shown(error.message)));
    if (error.status === 401 || error.status === 403) changer.ask();
    changer.update();
  });

  return { node, title: `Letter ${sequence}`, close: () => ending.abort(), update: () => changer.update() };
}

function parts(letter, nowMs) {
  const facts = [
    ["Cause", el("span", { class: "tag" }, outside(letter.cause))],
    ["Workload", outside(letter.workload)],
    ["Subject", outside(letter.subject, { class: "mono" })],
    ["Died in", outside(`${letter.stream}, ${letter.stream_sequence}`)],
    ["Attempts", letter.attempts === null ? "not known" : `${letter.attempts}`],
    ["Published", letter.published_ms === null ? "not known" : day(letter.published_ms)],
    ["Kept", day(letter.at_ms), el("span", { class: "sub" }, ago(letter.at_ms, nowMs))],
    ["Handler", outside(letter.plugin || "none was to run"), el("span", { class: "sub mono" }, shown(digest(letter.generation)))],
    ["Host", outside(letter.host)],
  ];
  if (letter.redrives) {
    facts.push(["Redriven", `${plural(letter.redrives, "time")}`, el("span", { class: "sub" }, "first ", outside(`${letter.first[0]}, ${letter.first[1]}`))]);
  }
  const made = [
    el("section", { class: "panel" }, el("h2", {}, "Why"), el("pre", { class: "reason-whole", dir: "ltr" }, shownLines(letter.reason || "no reason was given"))),
    el("dl", { class: "facts" }, facts.map(([name, ...value]) => fact(name, ...value))),
  ];
  if (letter.problem) return [...made, el("p", { class: "error" }, shown(letter.problem))];
  return [...made, headers(letter), payload(letter)];
}

function headers(letter) {
  const section = el("section", { class: "panel" }, el("h2", {}, "Headers"));
  if (letter.unreadable) {
    section.append(el("p", { class: "muted" }, "They cannot be read. Their bytes:"), el("pre", { class: "payload mono" }, hex(decoded(letter.unreadable))));
    return section;
  }
  if (!letter.headers.length) {
    section.append(el("p", { class: "muted" }, "It was published without headers."));
    return section;
  }
  const lines = letter.headers.map(([name, value]) => el("tr", {}, el("th", { scope: "row" }, outside(name)), el("td", {}, outside(value))));
  section.append(el("div", { class: "scroll" }, el("table", { class: "headers" }, el("tbody", {}, lines))));
  const more = letter.all_headers - letter.headers.length;
  if (more > 0) section.append(el("p", { class: "muted" }, `${more} more; tidegate dead show ${letter.sequence} has them.`));
  return section;
}

function payload(letter) {
  const content = decoded(letter.payload);
  const text = new TextDecoder().decode(content);
  const cut = content.length < letter.bytes;
  const views = { Text: () => shownLines(text), JSON: () => indented(text), Hex: () => hex(content) };
  const pre = el("pre", { class: "payload", tabindex: "0", dir: "ltr", "aria-label": "Payload" });
  const buttons = Object.keys(views).map((name) => el("button", { type: "button", on: { click: () => show(name) } }, name));
  function show(name) {
    for (const button of buttons) mark(button, "aria-pressed", button.textContent === name);
    mark(pre, "class", `payload ${name === "Text" ? "" : "mono"}`);
    pre.textContent = views[name]();
  }
  const isJson = !cut && /^\s*[[{]/.test(text) && isValid(text);
  const isText = !text.includes("\ufffd");
  show(isJson ? "JSON" : isText ? "Text" : "Hex");
  const size = cut ? `${bytes(letter.bytes)}, of which the first ${bytes(content.length)} are shown; tidegate dead show ${letter.sequence} has all` : bytes(letter.bytes);
  return el("section", { class: "panel" },
    el("div", { class: "panel-head" }, el("h2", {}, "Payload"), el("div", { class: "choice", role: "group", "aria-label": "Shown as" }, buttons)),
    el("p", { class: "muted" }, size), letter.bytes ? pre : el("p", { class: "muted" }, "It is empty."));
}

function decoded(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

function isValid(text) {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** JSON with line breaks. Its numbers and strings stay as they were written: JavaScript would round the former. */
export function indented(text) {
  if (!isValid(text)) return `This is not JSON.\n\n${shownLines(text)}`;
  let depth = 0;
  let made = "";
  const line = () => `\n${"  ".repeat(Math.min(depth, DEEPEST))}`;
  for (const [part] of text.matchAll(/"(?:[^"\\]|\\.)*"|[[\]{},:]|[^\s"[\]{},:]+/gu)) {
    if (part === "{" || part === "[") {
      depth += 1;
      made += part + line();
    } else if (part === "}" || part === "]") {
      depth -= 1;
      made = /[[{]\s*$/.test(made.slice(-60)) ? made.trimEnd() + part : made + line() + part;
    } else {
      made += part === "," ? part + line() : part === ":" ? ": " : part;
    }
  }
  return shownLines(made);
}

/** Bytes as a table: position, bytes, characters. */
export function hex(content) {
  const lines = [];
  for (let at = 0; at < content.length; at += 16) {
    const part = [...content.subarray(at, at + 16)];
    const digits = part.map((byte) => byte.toString(16).padStart(2, "0")).join(" ").padEnd(47);
    const text = part.map((byte) => (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : ".")).join("");
    lines.push(`${at.toString(16).padStart(6, "0")}  ${digits}  ${text}`);
  }
  return lines.join("\n");
}
