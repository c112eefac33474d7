// The frame: which page is shown, and what the host tells all of them.

import { mark, outside, say } from "./dom.js";
import { plural } from "./format.js";
import { letterPage } from "./letter.js";
import { lettersPage } from "./letters.js";
import { overviewPage } from "./overview.js";
import { live } from "./server.js";
import { workloadPage } from "./workload.js";

/** How long the host may say nothing until that is told, in milliseconds. */
const SILENT_MS = 6000;

/** What is known of the host. */
const state = {
  host: null,
  rows: new Map(),
  /** How much the host's clock is ahead of this one, in milliseconds. */
  ahead: 0,
  now() {
    return Date.now() + this.ahead;
  },
};
const main = document.getElementById("main");
let page = null;
/** The workload that the page is about, if it is about one. */
let about;
/** The stream of what happens. */
let hears = null;
let heard = 0;

/** The page of an address, its name in the navigation, and the workload that is told all about. */
function open(address) {
  const [path, search] = address.replace(/^#/, "").split("?");
  const parts = path.split("/").filter(Boolean);
  const values = new URLSearchParams(search);
  if (parts[0] === "workload" && parts.length === 2) {
    const name = decoded(parts[1]);
    return { nav: "overview", workload: name, page: workloadPage(state, name) };
  }
  if (parts[0] === "letters" && parts.length === 2) {
    return { nav: "letters", page: letterPage(state, decoded(parts[1]), values.get("workload") || undefined) };
  }
  if (parts[0] === "letters") return { nav: "letters", page: lettersPage(state, values) };
  return { nav: "overview", page: overviewPage(state) };
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function show() {
  if (location.hash === "#main") return;
  page?.close?.();
  const opened = open(location.hash);
  page = opened.page;
  about = opened.workload;
  for (const link of document.querySelectorAll("nav a")) {
    mark(link, "aria-current", link.dataset.page === opened.nav ? "page" : null);
  }
  main.replaceChildren(page.node);
  document.title = `${page.title} · tidegate`;
  listen();
  if (state.host) page.update?.(null);
}

/** Hears what happens: of the page's workload as long as the host has it, or it would be refused again and again. */
function listen() {
  hears?.stop();
  hears = live(state.rows.has(about) ? about : undefined, told);
}

function told(event) {
  heard = Date.now();
  state.ahead = event.host.now_ms - heard;
  // Another host, or one whose workloads have become others.
  if (event.all || (state.host && state.host.name !== event.host.name)) state.rows.clear();
  state.host = event.host;
  for (const row of event.rows) state.rows.set(row.name, row);
  frame();
  page?.update?.(event);
  if (state.rows.has(about) !== (hears.workload !== undefined)) listen();
}

/** What stands around every page. */
function frame() {
  const { host } = state;
  const problems = host.problems.length;
  say(document.getElementById("host"), "").append(outside(host.name));
  const server = host.server_version ? `, nats-server ${host.server_version}` : "";
  say(document.getElementById("version"), `tidegate ${host.version}${server}`);
  const words = host.ready ? "ready" : plural(problems, "problem");
  pill(words, host.ready ? "good" : "bad", host.problems.join("\n"));
}

function pill(words, kind, title = "") {
  const node = say(document.getElementById("state"), words);
  mark(node, "class", `pill ${kind}`);
  mark(node, "title", title || null);
}

setInterval(() => {
  if (heard && Date.now() - heard > SILENT_MS) pill("the host does not answer", "bad");
}, 1000);

document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
window.addEventListener("hashchange", () => {
  show();
  main.focus({ preventScroll: true });
  window.scrollTo(0, 0);
});
show();
