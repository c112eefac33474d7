// A Chromium of this machine, with a profile of its own, and what its pages say that they should not.

import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { chromium } from "playwright-core";

const PATHS = [
  process.env.TIDEGATE_CHROMIUM,
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
];
const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
/** A directory whose files are taken instead of those that the program has: to work on the page without building. */
const FILES = process.env.TIDEGATE_PAGE_FILES;
/** How long a page may take for what is awaited there, in milliseconds: far longer than it does. */
const PATIENCE = 30_000;

/** Opens a browser, calls `work` with a function that opens a page, and closes it whatever happens. */
export async function browse(work) {
  const executablePath = PATHS.find((path) => path && existsSync(path));
  if (!executablePath)
    throw new Error("there is no Chromium: make setup-web brings it, or name one by TIDEGATE_CHROMIUM");
  const profile = await mkdtemp(join(tmpdir(), "tidegate-web-"));
  const browser = await chromium.launch({
    executablePath,
    args: [...FLAGS, `--crash-dumps-dir=${profile}`],
    timeout: PATIENCE,
  });
  try {
    await work((options) => opened(browser, options));
  } finally {
    await browser.close();
    await rm(profile, { recursive: true, force: true });
  }
}

/** A page of a visitor of its own. `said` is what the console had that was no information. */
async function opened(browser, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, locale: "en-GB", ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  const said = [];
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) said.push(message.text());
  });
  page.on("pageerror", (error) => said.push(String(error)));
  if (FILES) {
    await page.route("**/page/*", async (route) => {
      const answer = await route.fetch();
      const body = await readFile(join(FILES, basename(new URL(route.request().url()).pathname)));
      await route.fulfill({ response: answer, body });
    });
  }
  page.on("dialog", (dialog) => {
    said.push(`a dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  const close = async () => {
    // What is on its way for a page that closes is not missed.
    await page.unrouteAll({ behavior: "ignoreErrors" });
    await context.close();
  };
  return { page, said, context, close };
}
