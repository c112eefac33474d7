// One dead letter: why it died, its headers, its payload.

import { changes } from "./changes.js";
import { el, fact, mark, outside, shown, shownLines } from "./dom.js";
import { ago, bytes, day, digest, plural } from "./format.js";
import { ask, query } from "./server.js";

/** How deep JSON is indented: a payload of brackets alone must not become gigabytes of blanks. */
const DEEPEST = 24;

/** The sequence that a text is; null if it is none. From numbers above the last of these JavaScript makes others. */
export function sequenceOf(text) {
  const number = /^\d+$/.test(text) ? Number(text) : 0;
  return number > 0 && Number.isSafeInteger(number) ? number : null;
}

/** The page of the letter with this sequence, in the account of a workload that has one of its own. */
export function letterPage(state, text, account) {
  const sequence = sequenceOf(text);
  if (sequence === null) return noLetter(text);
  const said = el("div", { role: "status", class: "said" }, "Reading …");
  const body = el("div", {});
  let is = sequence;
  const changer = changes(
    state,
    () => (is === null ? [] : [is]),
    (gone) => {
      if (!gone.includes(is)) return;
      is = null;
      body.hidden = true;
    },
    account,
  );
  const node = el(
    "div",
    {},
    ...heading(sequence),
    changer.node,
    said,
    body,
  );
  const ending = new AbortController();

  ask(query(`/api/letters/${sequence}`, { workload: account }), undefined, ending.signal).then(
    (letter) => {
      said.replaceChildren();
      body.replaceChildren(...parts(letter, state.now()));
    },
    (error) => {
      if (error.name === "AbortError") return;
      is = null;
      said.replaceChildren(el("p", { class: "error" }, shown(error.message)));
      if (error.status === 401 || error.status === 403) changer.need();
      changer.update();
    },
  );

  return { node, title: `Letter ${sequence}`, close: () => ending.abort(), update: () => changer.update() };
}

/** The page of what can be no letter. */
function noLetter(text) {
  const why = `${shown(text)} is no sequence: that is a whole number from 1 to ${Number.MAX_SAFE_INTEGER}`;
  const said = el("p", { class: "error", role: "status" }, why);
  return { node: el("div", {}, ...heading(text), said), title: "No letter" };
}

function heading(text) {
  return [
    el("p", { class: "crumb" }, el("a", { href: "#/letters" }, "Dead letters")),
    el("div", { class: "page-head" }, el("h1", {}, "Letter ", outside(text))),
  ];
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
    [
      "Handler",
      outside(letter.plugin || "none was to run"),
      el("span", { class: "sub mono" }, shown(digest(letter.generation))),
    ],
    ["Host", outside(letter.host)],
  ];
  if (letter.redrives) {
    facts.push([
      "Redriven",
      `${plural(letter.redrives, "time")}`,
      el("span", { class: "sub" }, "first ", outside(`${letter.first[0]}, ${letter.first[1]}`)),
    ]);
  }
  const made = [
    el(
      "section",
      { class: "panel" },
      el("h2", {}, "Why"),
      el("pre", { class: "reason-whole", dir: "ltr" }, shownLines(letter.reason || "no reason was given")),
      letter.stderr ? wrote(letter) : [],
    ),
    el(
      "dl",
      { class: "facts" },
      facts.map(([name, ...value]) => fact(name, ...value)),
    ),
  ];
  if (letter.problem) return [...made, el("p", { class: "error" }, shown(letter.problem))];
  return [...made, headers(letter), payload(letter)];
}

function wrote(letter) {
  return [
    el("p", { class: "muted" }, "It wrote to standard error:"),
    el("pre", { class: "reason-whole", dir: "ltr", "aria-label": "Standard error" }, shownLines(letter.stderr)),
  ];
}

function headers(letter) {
  const section = el("section", { class: "panel" }, el("h2", {}, "Headers"));
  if (letter.unreadable) {
    section.append(
      el("p", { class: "muted" }, "They cannot be read. Their bytes:"),
      el("pre", { class: "payload mono" }, hex(decoded(letter.unreadable))),
    );
    return section;
  }
  if (!letter.headers.length) {
    section.append(el("p", { class: "muted" }, "It was published without headers."));
    return section;
  }
  const lines = letter.headers.map(([name, value]) =>
    el("tr", {}, el("th", { scope: "row" }, outside(name)), el("td", {}, outside(value))),
  );
  section.append(el("div", { class: "scroll" }, el("table", { class: "headers" }, el("tbody", {}, lines))));
  const more = letter.all_headers - letter.headers.length;
  if (more > 0)
    section.append(el("p", { class: "muted" }, `${more} more; tidegate dead show ${letter.sequence} has them.`));
  return section;
}

function payload(letter) {
  const content = decoded(letter.payload);
  const text = new TextDecoder().decode(content);
  const cut = content.length < letter.bytes;
  const views = { Text: () => shownLines(text), JSON: () => indented(text), Hex: () => hex(content) };
  const pre = el("pre", { class: "payload", tabindex: "0", dir: "ltr", "aria-label": "Payload" });
  const buttons = Object.keys(views).map((name) =>
    el("button", { type: "button", on: { click: () => show(name) } }, name),
  );
  function show(name) {
    for (const button of buttons) mark(button, "aria-pressed", button.textContent === name);
    mark(pre, "class", `payload ${name === "Text" ? "" : "mono"}`);
    pre.textContent = views[name]();
  }
  const isJson = !cut && /^\s*[[{]/.test(text) && isValid(text);
  const isText = !text.includes("\ufffd");
  show(isJson ? "JSON" : isText ? "Text" : "Hex");
  const all = `tidegate dead show ${letter.sequence}`;
  const size = cut
    ? `${bytes(letter.bytes)}, of which the first ${bytes(content.length)} are shown; ${all} has all`
    : bytes(letter.bytes);
  return el(
    "section",
    { class: "panel" },
    el(
      "div",
      { class: "panel-head" },
      el("h2", {}, "Payload"),
      el("div", { class: "choice", role: "group", "aria-label": "Shown as" }, buttons),
    ),
    el("p", { class: "muted" }, size),
    letter.bytes ? pre : el("p", { class: "muted" }, "It is empty."),
  );
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
  const made = [];
  let depth = 0;
  // Whether a bracket was opened and nothing stands in it yet.
  let opened = false;
  const line = () => made.push(`\n${"  ".repeat(Math.min(depth, DEEPEST))}`);
  for (const [part] of text.matchAll(/"(?:[^"\\]|\\.)*"|[[\]{},:]|[^\s"[\]{},:]+/gu)) {
    const closes = part === "}" || part === "]";
    depth -= closes ? 1 : 0;
    if (closes ? !opened : opened) line();
    made.push(part === ":" ? ": " : part);
    opened = part === "{" || part === "[";
    depth += opened ? 1 : 0;
    if (part === ",") line();
  }
  return shownLines(made.join(""));
}

/** Bytes as a table: position, bytes, characters. */
export function hex(content) {
  const lines = [];
  for (let at = 0; at < content.length; at += 16) {
    const part = [...content.subarray(at, at + 16)];
    const digits = part
      .map((byte) => byte.toString(16).padStart(2, "0"))
      .join(" ")
      .padEnd(47);
    const text = part.map((byte) => (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : ".")).join("");
    lines.push(`${at.toString(16).padStart(6, "0")}  ${digits}  ${text}`);
  }
  return lines.join("\n");
}
