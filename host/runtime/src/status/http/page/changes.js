// Redriving and deleting dead letters.

import { el, outside, say, shown } from "./dom.js";
import { plural } from "./format.js";
import { ask, keepToken, token } from "./server.js";

const ONLY_SHOWS =
  "This page only shows: http-admin gives the host a token with which letters can be redriven and deleted here. " +
  "tidegate dead redrive does it from a terminal.";

/** Redrive and delete, for who has the token. `gone` is called with those that are not there any more, `account`
 * is the workload in whose account they are, where one is chosen. */
export function changes(state, chosen, gone, account) {
  const redrive = el("button", { type: "button", on: { click: () => change("redrive") } }, "Redrive");
  const purge = el("button", { type: "button", class: "danger", on: { click: () => confirm() } }, "Delete");
  const forget = el(
    "button",
    { type: "button", class: "plain", on: { click: () => forgotten() } },
    "Forget the token",
  );
  const unlock = el("button", { type: "button", on: { click: () => ask_() } }, "Enter the token");
  const words = el("span", { class: "muted" });
  const result = el("div", { role: "alert" });
  const input = el("input", { type: "password", id: "token", autocomplete: "off", required: true });
  const wrong = el("p", { class: "error", hidden: true });
  const entry = el(
    "form",
    { class: "token", hidden: true, on: { submit: enter } },
    el("label", { for: "token" }, "The token of http-admin"),
    input,
    el("button", { type: "submit", class: "primary" }, "Use it"),
    wrong,
  );
  const sure = el("p");
  const dialog = el(
    "dialog",
    { "aria-label": "Delete for good" },
    sure,
    el(
      "div",
      { class: "dialog-buttons" },
      el("button", { type: "button", on: { click: () => dialog.close() } }, "Keep"),
      el(
        "button",
        {
          type: "button",
          class: "danger",
          on: {
            click: () => {
              dialog.close();
              change("purge");
            },
          },
        },
        "Delete for good",
      ),
    ),
  );
  const node = el(
    "div",
    { class: "changes" },
    el("div", { class: "bar-of-buttons" }, redrive, purge, unlock, forget, words),
    entry,
    result,
    dialog,
  );
  let busy = false;
  /** Whether letters were not shown for want of the token, and it was not asked for yet. */
  let wanted = false;

  function update() {
    const { host } = state;
    if (host && wanted) {
      wanted = false;
      if (!host.letters) ask_();
    }
    const may = Boolean(host?.admin && token());
    const some = chosen().length;
    node.hidden = !host;
    redrive.hidden = purge.hidden = forget.hidden = !may;
    redrive.disabled = purge.disabled = busy || some === 0;
    unlock.hidden = !host?.admin || may || !entry.hidden;
    say(
      words,
      may
        ? some
          ? `${some} chosen`
          : "Choose letters to redrive or delete them."
        : host?.admin
          ? "Whoever has the token can redrive and delete letters."
          : ONLY_SHOWS,
    );
  }

  /** Asks for the token as soon as it is known that letters are shown to who has it. */
  function need() {
    wanted = true;
    update();
  }

  function ask_() {
    if (!state.host.admin) return;
    entry.hidden = false;
    input.focus();
    update();
  }

  async function enter(event) {
    event.preventDefault();
    const given = input.value.trim();
    input.value = "";
    wrong.hidden = true;
    try {
      keepToken(given);
      await ask("/api/token", {});
      entry.hidden = true;
      result.replaceChildren();
      again();
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
    again();
  }

  /** Opens the page anew where letters are shown only to who has the token: with it, or without what it showed. */
  function again() {
    if (!state.host.letters) window.dispatchEvent(new HashChangeEvent("hashchange"));
  }

  function confirm() {
    const some = chosen();
    const them = some.length === 1 ? "it" : "them";
    say(sure, `Delete ${plural(some.length, "dead letter")} for good? Nothing brings ${them} back.`);
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
        const some = sequences.slice(from, from + 100);
        const part = await ask(`/api/letters/${what}`, { sequences: some, workload: account });
        for (const key of Object.keys(done)) done[key].push(...part[key]);
        if (part.left.length) break;
      }
      gone([...done.done, ...done.gone]);
      const told = [`${plural(done.done.length, "letter")} ${verb}`];
      if (done.gone.length) told.push(`${done.gone.length} gone already`);
      if (done.left.length) told.push(`${done.left.length} left for another time`);
      result.replaceChildren(
        el("p", { class: done.failed.length ? "error" : "done" }, told.join(", ")),
        el(
          "ul",
          { class: "problems", hidden: !done.failed.length },
          done.failed.map(([sequence, why]) => el("li", {}, el("b", {}, `${sequence} stays: `), outside(why))),
        ),
      );
    } catch (error) {
      if (error.status === 401 || error.status === 403) keepToken(null);
      result.replaceChildren(el("p", { class: "error" }, shown(error.message)));
    }
    busy = false;
    update();
  }

  update();
  return { node, update, need };
}
