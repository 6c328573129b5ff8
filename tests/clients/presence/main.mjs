// Plays a story, `scenario` or `faults`: `main.mjs URL TOKENS STORY [browser]`. Writes a JSON object a line: `{"passed": …}` for each
// check, `{"owner": COMMAND}` for what the owner has to do, who answers with a line, and `{"done": true}` or `{"fault": …}`.

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [url, tokens, story, place = "node"] = process.argv.slice(2);
const sources = new URL("../../../clients/js/src/", import.meta.url);
const emit = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const passed = (what) => emit({ passed: what });
const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const owner = async (command) => {
  emit({ owner: command });
  return (await answers.next()).value;
};

async function inNode() {
  const { ReachabilityClient } = await import(new URL("index.js", sources));
  const { play } = await import(`./${story}.mjs`);
  await play({ ReachabilityClient, url, tokens: JSON.parse(tokens), owner, passed });
}

async function inBrowser() {
  // `import` does not look into NODE_PATH, `require` does.
  const { chromium } = createRequire(import.meta.url)("playwright-core");
  const server = createServer(async (request, response) => {
    const path = new URL(request.url, "http://localhost").pathname;
    const isModule = /^\/(\w+\.mjs|src\/\w+\.js)$/.test(path);
    const file = path.startsWith("/src/") ? new URL(path.slice("/src/".length), sources) : new URL(`.${path}`, import.meta.url);
    response.setHeader("Content-Type", isModule ? "text/javascript" : "text/html");
    response.end(isModule ? await readFile(file) : "<!doctype html><title>Presence</title>");
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const browser = await chromium.launch({
    executablePath: process.env.REACHABILITY_CHROMIUM,
    // Root cannot use the sandbox.
    args: ["--no-sandbox"],
  });
  try {
    const page = await browser.newPage();
    await page.exposeFunction("passed", passed);
    await page.exposeFunction("owner", owner);
    await page.goto(`http://127.0.0.1:${server.address().port}/`);
    await page.evaluate(
      async ([url, tokens, story]) => {
        const [{ play }, { ReachabilityClient }] = await Promise.all([import(`/${story}.mjs`), import("/src/index.js")]);
        await play({ ReachabilityClient, url, tokens, owner, passed });
      },
      [url, JSON.parse(tokens), story],
    );
  } finally {
    await browser.close();
  }
}

try {
  await (place === "browser" ? inBrowser() : inNode());
  emit({ done: true });
} catch (error) {
  emit({ fault: error.stack });
}
process.exit();
