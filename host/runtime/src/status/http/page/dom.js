// Elements and texts. What a publisher or a guest wrote becomes text and nothing else: there is no HTML in these files.

const SVG = "http://www.w3.org/2000/svg";

/** Makes an element. `attributes` may have `on`, listeners by event; children are nodes or texts of ours. */
export function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** Makes an element of a drawing. */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
    } else if (value !== undefined && value !== null && value !== false) {
      node.setAttribute(name, value === true ? "" : value);
    }
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

/** What acts upon the text around it: control characters, marks of direction, characters without width. */
const ACTS = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/gu;

/** A text from outside on one line, with what acts in it shown and not done. */
export function shown(text) {
  return String(text ?? "").replace(ACTS, escape);
}

/** The same with its line breaks and tabs as they are. */
export function shownLines(text) {
  return String(text ?? "")
    .replace(/\r\n/g, "\n")
    .replace(ACTS, (c) => (c === "\n" || c === "\t" ? c : escape(c)));
}

function escape(character) {
  if (character === "\n") return "\\n";
  if (character === "\r") return "\\r";
  if (character === "\t") return "\\t";
  return `\\u{${character.codePointAt(0).toString(16)}}`;
}

/** A text from outside, which has no effect on what stands beside it. */
export function outside(text, attributes = {}) {
  return el("bdi", attributes, shown(text));
}

/** Changes a text, and nothing if it is the same: so selections and readers of screens are left alone. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
  return node;
}

/** Changes an attribute, if it is another. */
export function mark(node, name, value) {
  const is = value === null || value === false || value === undefined ? null : String(value);
  if (node.getAttribute(name) === is) return node;
  if (is === null) node.removeAttribute(name);
  else node.setAttribute(name, is);
  return node;
}

/** Two texts, a name and what it is. */
export function fact(name, ...value) {
  return el("div", { class: "fact" }, el("dt", {}, name), el("dd", {}, ...value));
}

/** What is said where there is nothing to show. */
export function empty(title, ...more) {
  return el(
    "div",
    { class: "empty" },
    el("p", { class: "empty-title" }, title),
    ...more.map((text) => el("p", {}, text)),
  );
}
