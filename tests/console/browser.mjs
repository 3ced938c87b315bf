// A headless Chromium and a page in it that keeps everything that goes wrong.

import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { chromium } from "playwright-core";

const NAMES = ["chromium", "chromium-browser", "google-chrome"];
const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
];

export function launch() {
  return chromium.launch({ executablePath: executable(), args: FLAGS });
}

/** A page of its own context. `faults` gathers its console errors, exceptions and broken loads. */
export async function open(browser, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(10_000);
  const faults = [];
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) faults.push(message.text());
  });
  page.on("pageerror", (error) => faults.push(String(error)));
  page.on("requestfailed", (request) => {
    // Leaving a page aborts what it still loads.
    const { errorText } = request.failure();
    if (errorText !== "net::ERR_ABORTED") faults.push(`${request.url()}: ${errorText}`);
  });
  return { context, page, faults };
}

function executable() {
  if (process.env.TIDELOG_CHROMIUM) return process.env.TIDELOG_CHROMIUM;
  const folders = process.env.PATH.split(delimiter);
  const found = NAMES.flatMap((name) => folders.map((folder) => join(folder, name))).find(runnable);
  if (!found) throw new Error(`none of ${NAMES.join(", ")} is on the PATH`);
  return found;
}

function runnable(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
