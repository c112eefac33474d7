// What somebody does with the page, in a real browser. The hosts are those of tests/it/browser.rs.

import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { browse } from "./browser.mjs";

const { TIDEGATE_PAGE: PAGE, TIDEGATE_PAGE_SHOWS: SHOWS, TIDEGATE_PAGE_FAR: FAR, TIDEGATE_TOKEN: TOKEN } = process.env;
const CAUSES = process.env.TIDEGATE_CAUSES.split(",");
/** Where pictures go; the documentation's are made with `make screenshots`. */
const PICTURES = process.env.TIDEGATE_PICTURES ?? "";

/** The tests, each with its name. What comes later may rest upon letters that were redriven before. */
const TESTS = [
  ["it loads, shows every workload, and updates by itself", loads],
  ["a workload has charts, decisions and workers, and marks can be reached by keys", workload],
  ["a workload that is not there, or not any more, is told, and asked for no more", missing],
  ["a fleet's workers are drawn by host, and told by keys", hosts],
  ["what publishers wrote is text and does nothing", hostile],
  ["letters are found by filters", filters],
  ["what cannot be found is told at its field, and not asked for", wrong],
  ["a list that is read twice at once has each letter once", twice],
  ["a payload is shown as text, JSON and bytes", payload],
  ["JSON is indented without being changed, and no payload makes much of it", indents],
  ["without a token nothing can be changed", refuses],
  ["with the token letters are redriven and deleted", redrives],
  ["what is listed is counted when letters are deleted", counts],
  ["where others reach the host, letters are shown with the token and as long as it is kept", far],
  ["it works at a phone's width", phone],
  ["it works with the keyboard alone", keyboard],
  ["dark and light both can be read", contrast],
];

const row = (page, name) => page.locator("tbody tr").filter({ has: page.locator(`bdi:text-is("${name}")`) });

async function loads(open) {
  const { page, said, close } = await open();
  await page.goto(PAGE);
  await row(page, "orders").getByText("runs").waitFor();
  for (const name of ["quiet", "invoices"]) assert.equal(await row(page, name).count(), 1, name);
  await page.locator("#state").getByText("problem").waitFor();
  assert.match(await row(page, "invoices").innerText(), /does not run yet|problem/);
  // Not by a reload: the same row has another text.
  const arrivals = row(page, "orders").locator("[data-label=Arrivals] .value");
  const first = await arrivals.innerText();
  await page.waitForFunction(([node, text]) => node.textContent !== text, [await arrivals.elementHandle(), first]);
  await shot(page, "overview", 720);
  assert.deepEqual(said, []);
  await close();
}

async function workload(open) {
  const { page, said, close } = await open();
  await page.goto(`${PAGE}#/workload/orders`);
  await page.locator(".chart .line").first().waitFor({ state: "attached" });
  assert.equal(await page.locator(".chart:visible").count(), 5);
  const workers = page.getByRole("img", { name: "Workers", exact: true });
  await workers.locator(".mark").nth(1).waitFor();
  // The shadow's line is beside the live one.
  await workers.locator(".line.s4").waitFor({ state: "attached" });
  await workers.focus();
  await page.keyboard.press("ArrowLeft");
  const looked = page.locator(".looked");
  await looked.getByText("observed:").waitFor();
  assert.match(await looked.innerText(), /wanted: .*\n?.*observed: .* arrive/);
  const last = await looked.innerText();
  await page.keyboard.press("ArrowLeft");
  await page.waitForFunction(([node, text]) => node.innerText !== text, [await looked.elementHandle(), last]);
  await page.keyboard.press("Escape");
  await page.getByText("handles one for").first().waitFor();
  await page.locator(".bar", { hasText: "rejected" }).waitFor();
  await page.getByRole("heading", { name: "Shadow" }).waitFor();
  const times = page.locator(".chart-box", { hasText: "Handler times" }).locator(".legend b").first();
  await page.waitForFunction((node) => /ms|µs/.test(node.textContent), await times.elementHandle());
  await page.mouse.move(0, 0);
  await shot(page, "workload", 1330);
  await page.getByRole("button", { name: "15 min" }).click();
  assert.equal(await page.getByRole("button", { name: "15 min" }).getAttribute("aria-pressed"), "true");
  assert.deepEqual(said, []);
  await close();
}

async function missing(open) {
  const { page, said, close } = await open();
  for (const from of ["#/workload/not-there", "#/"]) {
    await page.goto(PAGE + from);
    await page.locator("#state").getByText("problem").waitFor();
    await page.goto(`${PAGE}#/workload/not-there`);
    await page.getByText("This host has no such workload").waitFor();
    assert.equal(await page.locator(".chart:visible").count(), 0);
  }
  // Longer than the host may say nothing.
  await page.waitForTimeout(7000);
  assert.match(await page.locator("#state").innerText(), /problem/);
  await close();
  assert.deepEqual(said, []);
  await removed(open);
}

/** A host whose configuration is read again without a workload, and with it. Its stream is what another has told. */
async function removed(open) {
  const told = await event("orders");
  const others = told.rows.filter((row) => row.name !== "orders");
  // Whether it has the workload, and if not, whether that is told in a stream that was open, or by a refusal.
  let has = true;
  let refuses = false;
  const { page, said, close } = await open();
  await page.route("**/api/live*", (route) => {
    const named = new URL(route.request().url()).searchParams.has("workload");
    if (named && refuses) return route.fulfill({ status: 404, json: { problem: "this host has no such workload" } });
    refuses = !has;
    const all = { ...told, all: true, rows: has ? told.rows : others, detail: named && has ? told.detail : null };
    return route.fulfill({ contentType: "text/event-stream", body: `retry: 100\ndata: ${JSON.stringify(all)}\n\n` });
  });
  await page.goto(`${PAGE}#/workload/orders`);
  for (const refused of [false, true]) {
    await page.locator(".chart .line").first().waitFor({ state: "attached" });
    await page.getByText("handles one for").or(page.getByText("waits for a message")).first().waitFor();
    assert.equal(await page.locator(".chart:visible").count(), 5);
    [has, refuses] = [false, refused];
    await page.getByText("no such workload any more").waitFor();
    assert.equal(await page.locator(".chart:visible").count(), 0);
    assert.equal(said.length, refused ? 1 : 0, said.join("\n"));
    [has, refuses] = [true, false];
    await page.getByText("no such workload").waitFor({ state: "detached" });
  }
  assert.ok(said.length === 1 && said[0].includes("404"), said.join("\n"));
  await close();
}

/** The first event that the host tells with all of a workload. */
async function event(name) {
  const ending = new AbortController();
  const answer = await fetch(`${PAGE}api/live?workload=${name}`, { signal: ending.signal });
  let text = "";
  for await (const part of answer.body.pipeThrough(new TextDecoderStream())) {
    text += part;
    if (text.includes("\n\n")) break;
  }
  ending.abort();
  return JSON.parse(/^data: (.*)$/m.exec(text)[1]);
}

async function hosts(open) {
  const { page, said, close } = await open({ viewport: { width: 360, height: 740 } });
  await page.goto(`${SHOWS}#/workload/other`);
  const box = page.locator(".chart-box", { hasText: "Workers of the plan, by host" });
  await box.locator(".area.stacked.s2").waitFor({ state: "attached" });
  // Six workers, of which each host has its half.
  const legend = box.locator(".legend");
  await page.waitForFunction(
    (node) => /rack-1 3\s*rack-2 3/.test(node.innerText.replace(/\s+/g, " ")),
    await legend.elementHandle(),
  );
  const [wide, room] = await page.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth]);
  assert.ok(wide <= room, `${wide} ${room}`);
  const drawing = box.locator(".chart");
  await drawing.focus();
  await page.keyboard.press("ArrowLeft");
  assert.match(await legend.innerText(), /\d\d:\d\d:\d\d/);
  await page.keyboard.press("Escape");
  // The one stands on the other: both have a half at the end, so its line ends higher.
  const ends = await box
    .locator(".line")
    .evaluateAll((lines) => lines.map((line) => Number(line.getAttribute("d").split(" ").at(-1))));
  assert.ok(ends.length === 2 && ends[0] < ends[1], ends.join(" "));
  // No workers are no bar.
  await page.goto(`${SHOWS}#/workload/rest`);
  const bars = page.locator(".bar", { hasText: /rack-\d/ });
  await bars.nth(1).waitFor();
  const none = await bars.locator(".bar-fill").evaluateAll((all) => all.map((one) => one.clientWidth));
  assert.deepEqual(none, [0, 0]);
  assert.deepEqual(said, []);
  await close();
}

async function hostile(open) {
  const { page, said, close } = await open();
  await page.goto(`${PAGE}#/letters`);
  await page.locator("tbody tr").nth(6).waitFor();
  const list = await page.locator("tbody").innerText();
  assert.ok(list.includes("<script>window.hurt = 1</script>"), list);
  assert.ok(list.includes("\\u{202e}") && !/[\u202a-\u202e\u2066-\u2069]/u.test(list), list);
  for (const sequence of await page
    .locator("tbody tr")
    .evaluateAll((rows) => rows.map((one) => one.dataset.sequence))) {
    await page.goto(`${PAGE}#/letters/${sequence}`);
    await page.getByRole("heading", { name: "Payload" }).waitFor();
    for (const name of ["Text", "JSON", "Hex"]) await page.getByRole("button", { name, exact: true }).click();
    assert.ok(!/[\u202a-\u202e\u2066-\u2069]/u.test(await page.locator("main").innerText()), sequence);
  }
  assert.equal(await page.evaluate(() => window.hurt), undefined);
  assert.equal(await page.locator("main script, main img, main b:text('X-')").count(), 0);
  // Even a fault of the page itself could not make HTML of a text.
  const caught = await page.evaluate(() => {
    try {
      document.body["inner" + "HTML"] = "<b>x</b>";
      return "made";
    } catch (error) {
      return error.name;
    }
  });
  assert.equal(caught, "TypeError");
  assert.ok(
    said.every((text) => text.includes("TrustedHTML")),
    said.join("\n"),
  );
  await close();
}

async function filters(open) {
  const { page, said, close } = await open();
  await page.goto(`${PAGE}#/letters`);
  await page.locator("tbody tr").nth(6).waitFor();
  await shot(page, "letters", 780);
  await page.getByLabel("Cause").selectOption("trapped");
  await page.getByRole("button", { name: "Filter" }).click();
  await page.waitForFunction(() => document.querySelectorAll("tbody tr").length === 1);
  assert.match(page.url(), /cause=trapped/);
  await page.getByLabel("Reason").fill("no letter has this");
  await page.keyboard.press("Enter");
  await page.getByText("No dead letter matches.").waitFor();
  await page.getByRole("link", { name: "Clear" }).click();
  await page.locator("tbody tr").nth(6).waitFor();
  assert.deepEqual(said, []);
  await close();
}

async function wrong(open) {
  const { page, said, close } = await open();
  const asked = [];
  page.on("request", (request) => asked.push(new URL(request.url()).pathname));
  await page.goto(`${PAGE}#/letters?cause=often`);
  await page.getByText("often is no cause").waitFor();
  const cause = page.getByLabel("Cause");
  assert.equal(await cause.locator("option:checked").innerText(), "often");
  assert.deepEqual(await cause.locator("option").allInnerTexts(), ["any", ...CAUSES, "often"]);
  for (const name of ["my orders", "a.b", "*", ">", "a/b", "a\\b", "$orders", "x".repeat(256)]) {
    await page.goto(`${PAGE}#/letters?workload=${encodeURIComponent(name)}`);
    await page.getByText("No workload's name").waitFor();
  }
  for (const sequence of ["0", "12345678901234567890", "9007199254740993", "-1", "x"]) {
    await page.goto(`${PAGE}#/letters/${sequence}`);
    await page.getByText(`${sequence} is no sequence`).waitFor();
  }
  assert.deepEqual(asked.filter((path) => path.startsWith("/api/letters")), []);
  // What the host takes is asked for.
  await page.goto(`${PAGE}#/letters?cause=time,trapped`);
  await page.waitForFunction(() => document.querySelectorAll("tbody tr").length === 1);
  assert.equal(await cause.locator("option:checked").innerText(), "time,trapped");
  const workload = page.getByLabel("Workload");
  await workload.fill("my orders");
  await page.getByRole("button", { name: "Filter" }).click();
  await page.getByText("No workload's name has a blank in it.").waitFor();
  assert.ok(page.url().endsWith("cause=time,trapped"), page.url());
  assert.ok(await workload.evaluate((node) => node === document.activeElement));
  await workload.fill("orders");
  const asks = page.waitForRequest((request) => new URL(request.url()).pathname === "/api/letters");
  await page.keyboard.press("Enter");
  await Promise.all([page.waitForURL(/workload=orders/), asks]);
  assert.equal(await page.locator("[aria-invalid]").count(), 0);
  assert.equal(asked.filter((path) => path === "/api/letters").length, 2);
  assert.deepEqual(said, []);
  await close();
}

async function twice(open) {
  const { page, said, close } = await open();
  await page.goto(`${PAGE}#/letters`);
  await page.locator("tbody tr").nth(6).waitFor();
  const count = page.getByText(/\d+ letters in TIDEGATE_DEAD/);
  const before = await count.innerText();
  // The first is answered after the second.
  const held = [];
  await page.route("**/api/letters*", (route) => (held.length ? route.continue() : held.push(route)));
  await page.getByRole("button", { name: "Read again" }).dblclick();
  await count.waitFor();
  await held[0].continue().catch(() => {});
  await page.waitForTimeout(500);
  assert.equal(await count.innerText(), before);
  const rows = await page.locator("tbody tr").evaluateAll((all) => all.map((one) => one.dataset.sequence));
  assert.equal(new Set(rows).size, rows.length);
  // Whoever goes on clicking is not refused.
  await page.unroute("**/api/letters*");
  await page.getByRole("button", { name: "Read again" }).click({ clickCount: 8 });
  await count.waitFor();
  assert.equal(await count.innerText(), before);
  assert.deepEqual(said, []);
  await close();
}

async function payload(open) {
  const { page, said, close } = await open();
  await page.goto(`${PAGE}#/letters?subject=in.orders.json`);
  await page.locator("tbody tr a").first().click();
  const shown = page.locator("pre.payload");
  await shown.waitFor();
  // Its number is not rounded.
  assert.equal(await shown.innerText(), '{\n  "customer": 12345678901234567890\n}');
  assert.match(await page.locator(".headers").innerText(), /Content-Type\s+application\/json/);
  await page.getByRole("button", { name: "Hex" }).click();
  assert.match(await shown.innerText(), /^000000 {2}7b 22 63 75 .* \{"customer"/);
  await page.getByRole("button", { name: "JSON" }).click();
  await shot(page, "letter");
  await page.goto(`${PAGE}#/letters?subject=in.orders.long`);
  await page.locator("tbody tr a").first().click();
  await page.getByText("of which the first 64 KiB are shown").waitFor();
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth));
  assert.deepEqual(said, []);
  await close();
}

async function indents(open) {
  const { page, said, close } = await open();
  await page.goto(PAGE);
  const made = await page.evaluate(async () => {
    const { hex, indented } = await import("/page/letter.js");
    const deep = "[".repeat(30_000) + "]".repeat(30_000);
    return {
      nested: indented('{"a":[],"b":{"c":"x, {y}: \\"z\\""},"d":[1e400,-0.10]}'),
      broken: indented('{"a":'),
      deep: indented(deep).length,
      hex: hex(Uint8Array.from([0, 255, 65, 10])),
    };
  });
  const nested = [
    "{",
    '  "a": [],',
    '  "b": {',
    '    "c": "x, {y}: \\"z\\""',
    "  },",
    '  "d": [',
    "    1e400,",
    "    -0.10",
  ];
  assert.equal(made.nested, [...nested, "  ]", "}"].join("\n"));
  assert.match(made.broken, /^This is not JSON/);
  assert.ok(made.deep < 4_000_000, `${made.deep}`);
  assert.equal(made.hex, `000000  00 ff 41 0a${" ".repeat(36)}  ..A.`);
  assert.deepEqual(said, []);
  await close();
}

async function refuses(open) {
  const { page, said, close } = await open();
  await page.goto(`${SHOWS}#/letters`);
  await page.getByText("This page only shows").waitFor();
  await page.locator("tbody tr").first().waitFor();
  assert.equal(await page.getByRole("button", { name: "Redrive" }).count(), 0);
  await page.goto(`${PAGE}#/letters`);
  await page.getByRole("button", { name: "Enter the token" }).click();
  await page.getByLabel("The token of http-admin").fill("this-is-not-the-token");
  await page.keyboard.press("Enter");
  await page.getByText("this is not the token of http-admin").waitFor();
  for (const other of ["жетон-для-браузера", "un-mot-de-passe-très-long", "has blanks in the midst"]) {
    await page.getByLabel("The token of http-admin").fill(other);
    await page.keyboard.press("Enter");
    await page.getByText("the token can have only visible ASCII characters").waitFor();
    await page.getByText("this is not the token of http-admin").waitFor({ state: "detached" });
  }
  assert.equal(await page.getByRole("button", { name: "Redrive" }).count(), 0);
  assert.ok(
    said.every((text) => text.includes("403")),
    said.join("\n"),
  );
  await close();
}

async function redrives(open) {
  const { page, said, close } = await open();
  await page.goto(`${PAGE}#/letters?cause=trapped`);
  await page.getByRole("button", { name: "Enter the token" }).click();
  await page.getByLabel("The token of http-admin").fill(TOKEN);
  await page.keyboard.press("Enter");
  const redrive = page.getByRole("button", { name: "Redrive" });
  await redrive.waitFor();
  assert.ok(await redrive.isDisabled());
  const first = await page.locator("tbody tr").first().getAttribute("data-sequence");
  await page.locator("tbody input").first().check();
  await redrive.click();
  await page.getByText("1 letter redriven").waitFor();
  // It traps again: another letter takes its place.
  const again = page.getByRole("button", { name: "Read again" });
  for (;;) {
    await again.click();
    const row = page.locator("tbody tr").or(page.getByText("No dead letter matches.")).first();
    await row.waitFor();
    const now = await page.locator("tbody tr").evaluateAll((rows) => rows.map((one) => one.dataset.sequence));
    if (now.length === 1 && now[0] !== first) break;
    assert.ok(now[0] !== first, "the letter is still there");
  }
  await page.locator("tbody a").first().click();
  await page.getByText("1 time").waitFor();
  await page.getByRole("button", { name: "Delete" }).click();
  await page.getByRole("button", { name: "Keep" }).click();
  await page.getByRole("heading", { name: "Payload" }).waitFor();
  await page.getByRole("button", { name: "Delete" }).click();
  await page.getByRole("button", { name: "Delete for good" }).click();
  await page.getByText("1 letter deleted").waitFor();
  // The token is of this tab, and is gone when it is forgotten.
  await page.getByRole("button", { name: "Forget the token" }).click();
  assert.equal(await page.evaluate(() => sessionStorage.length), 0);
  assert.deepEqual(said, []);
  await close();
}

async function counts(open) {
  const { page, said, close } = await open();
  await page.goto(`${PAGE}#/letters`);
  await page.getByRole("button", { name: "Enter the token" }).click();
  await page.getByLabel("The token of http-admin").fill(TOKEN);
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "Delete" }).waitFor();
  const rows = await page.locator("tbody tr").count();
  await page.getByText(`${rows} letters in TIDEGATE_DEAD`).waitFor();
  await page.locator("tbody input").first().check();
  await page.getByRole("button", { name: "Delete" }).click();
  await page.getByRole("button", { name: "Delete for good" }).click();
  await page.getByText("1 letter deleted").waitFor();
  assert.equal(await page.locator("tbody tr").count(), rows - 1);
  await page.getByText(`${rows - 1} letters in TIDEGATE_DEAD`).waitFor();
  assert.deepEqual(said, []);
  await close();
}

async function far(open) {
  const { letters } = await (await fetch(`${PAGE}api/letters`)).json();
  const { page, said, close } = await open();
  // The letter is refused before the host has told anything.
  let go;
  const told = new Promise((done) => (go = done));
  await page.route("**/api/live*", async (route) => {
    await told;
    await route.continue();
  });
  await page.goto(`${FAR}#/letters/${letters[0].sequence}`);
  await page.getByText("this needs the token of http-admin").waitFor();
  go();
  const entry = page.getByLabel("The token of http-admin");
  await entry.fill(TOKEN);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Payload" }).waitFor();
  await page.getByRole("link", { name: "Dead letters" }).first().click();
  await page.locator("tbody tr").nth(letters.length - 1).waitFor();
  await page.getByRole("button", { name: "Forget the token" }).click();
  await entry.waitFor();
  assert.equal(await page.locator("tbody tr").count(), 0);
  await page.getByText("this needs the token of http-admin").waitFor();
  assert.ok(
    said.every((text) => text.includes("401")),
    said.join("\n"),
  );
  await close();
}

async function phone(open) {
  const { page, said, close } = await open({
    viewport: { width: 360, height: 740 },
    hasTouch: true,
    isMobile: true,
    deviceScaleFactor: 2,
  });
  for (const [name, path, there] of [
    ["overview", "#/", "tbody tr"],
    ["workload", "#/workload/orders", ".chart .line"],
    ["letters", "#/letters", "tbody tr"],
  ]) {
    await page.goto(PAGE + path);
    await page.locator(there).first().waitFor({ state: "attached" });
    const [wide, room] = await page.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth]);
    assert.ok(wide <= room, `${name} is ${wide} wide and has ${room}`);
    if (name === "overview") await shot(page, "phone");
  }
  assert.deepEqual(said, []);
  await close();
}

async function keyboard(open) {
  const { page, said, close } = await open();
  await page.goto(PAGE);
  await row(page, "orders").waitFor();
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to content");
  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "orders");
  await page.keyboard.press("Enter");
  await page.locator(".chart .line").first().waitFor({ state: "attached" });
  const seen = [];
  for (let i = 0; i < 12; i += 1) {
    await page.keyboard.press("Tab");
    seen.push(
      await page.evaluate(
        () => document.activeElement.getAttribute("aria-label") ?? document.activeElement.textContent,
      ),
    );
    // What has the focus is to be seen.
    assert.notEqual(
      await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle),
      "none",
      seen.at(-1),
    );
  }
  assert.ok(seen.includes("Workers") && seen.includes("15 min"), seen.join(", "));
  assert.deepEqual(said, []);
  await close();
}

/** Texts and what is behind them, in both schemes, by the measure of WCAG 2: 4.5 is enough for any size. */
async function contrast(open) {
  for (const colorScheme of ["light", "dark"]) {
    const { page, said, close } = await open({ colorScheme });
    for (const path of ["#/", "#/workload/orders", "#/letters"]) {
      await page.goto(PAGE + path);
      await page.locator("tbody tr").first().waitFor();
      const weak = await page.evaluate(measure);
      assert.deepEqual(weak, [], `${colorScheme} ${path}`);
      if (path === "#/workload/orders" && colorScheme === "dark") await shot(page, "dark");
    }
    assert.deepEqual(said, []);
    await close();
  }
}

/** Runs in the page: the texts whose contrast is less than 4.5. */
function measure() {
  const channels = (color) => (color.match(/[\d.]+/g) ?? []).map(Number);
  const linear = (value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      const parts = channels(color);
      if (color.startsWith("rgb") && (parts[3] === undefined || parts[3] === 1)) return parts;
    }
    return [255, 255, 255];
  };
  const weak = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (
      !walker.currentNode.data.trim() ||
      !node.checkVisibility() ||
      node.closest(":disabled, noscript, option, title")
    )
      continue;
    const style = getComputedStyle(node);
    const color = channels(node.closest("svg") ? style.fill : style.color);
    const [a, b] = [light(color), light(behind(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) weak.push(`${ratio.toFixed(2)} ${walker.currentNode.data.trim().slice(0, 40)}`);
  }
  return [...new Set(weak)];
}

/** A picture of the page, so many points high; of what is to be seen if that is not said. */
async function shot(page, name, height) {
  if (!PICTURES) return;
  await mkdir(PICTURES, { recursive: true });
  await page.evaluate(() => document.activeElement.blur());
  const clip = height && { x: 0, y: 0, width: page.viewportSize().width, height };
  await page.screenshot({ path: `${PICTURES}/${name}.png`, fullPage: Boolean(clip), clip });
}

if (PICTURES) {
  // An empty chart is no picture.
  console.log("waiting for something to draw");
  await new Promise((done) => setTimeout(done, 200_000));
}
await browse(async (open) => {
  for (const [name, test] of TESTS) {
    const began = Date.now();
    try {
      await test(open);
    } catch (error) {
      console.error(
        `not ok  ${name}\n${error.stack
          .split("\n")
          .map((line) => line.slice(0, 300))
          .slice(0, 20)
          .join("\n")}`,
      );
      process.exitCode = 1;
      continue;
    }
    console.log(`ok  ${name} (${((Date.now() - began) / 1000).toFixed(1)} s)`);
  }
});
