// Windows of a browser, which a test tells what to open and close. Reads `{"open": NAME, "url": …}`, `{"close": NAME}` and, of a
// window in which the own user can be set, `{"set": NAME, "status": …, "invisible": …}` from its standard input. Writes what the
// tables in the windows show, each by its id, whenever that is new.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

// `import` does not look into NODE_PATH, `require` does.
const { chromium } = createRequire(import.meta.url)("playwright-core");
const emit = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

// Runs in each window.
function watch() {
  let last;
  const look = () => {
    const text = (element) => element.textContent;
    const rows = (table) => [...table.rows].map((row) => [...row.cells].map(text));
    const tables = Object.fromEntries([...document.querySelectorAll("tbody")].map((table) => [table.id, rows(table)]));
    const log = [...document.querySelectorAll("#log li")].map((line) => text(line).replace(/^.*[0-9]:[0-9]+( [AP]M)? /, ""));
    const now = JSON.stringify({ ...tables, log, me: text(document.getElementById("me")) });
    if (now !== last) shown((last = now));
  };
  const all = { childList: true, subtree: true, characterData: true, attributes: true };
  addEventListener("DOMContentLoaded", () => new MutationObserver(look).observe(document.body, all));
}

const browser = await chromium.launch({
  executablePath: process.env.REACHABILITY_CHROMIUM,
  // Root cannot use the sandbox.
  args: ["--no-sandbox"],
});
const windows = new Map();
for await (const line of createInterface({ input: process.stdin })) {
  const { open, close, set, url, status, invisible } = JSON.parse(line);
  if (close) await windows.get(close).close();
  if (set) {
    const own = windows.get(set).locator("#own");
    await own.locator("[name=status]").fill(status);
    await own.locator("[name=invisible]").setChecked(invisible);
    await own.locator("button").click();
  }
  if (open) {
    const page = await (await browser.newContext()).newPage();
    page.on("pageerror", (error) => emit({ window: open, fault: String(error) }));
    await page.exposeFunction("shown", (shown) => emit({ window: open, ...JSON.parse(shown) }));
    await page.addInitScript(watch);
    await page.goto(url);
    windows.set(open, page);
  }
}
await browser.close();
