// Clients of the vendor's library, which a test tells what to do: `main.mjs PACKAGE [browser]`. Reads commands from its
// standard input, a JSON object a line, and writes what comes of them, and what the clients hear, in order. Ends with its
// input.

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { Clients } from "./clients.mjs";

// `import` does not look into NODE_PATH, `require` does.
const require = createRequire(import.meta.url);
const [name, place = "node"] = process.argv.slice(2);

const emit = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

// A token of the vendor's own helper.
function mint({ account, key, secret, service, identity, ttl }) {
  const AccessToken = require("twilio").jwt.AccessToken;
  const token = new AccessToken(account, key, secret, { identity, ttl });
  token.addGrant(new AccessToken.ChatGrant({ serviceSid: service }));
  return token.toJwt();
}

function inNode() {
  const { Client } = require(name);
  const clients = new Clients(Client, emit);
  return { handle: (command) => clients.handle(command), close: () => {}, pid: process.pid };
}

async function inBrowser() {
  const { chromium } = require("playwright-core");
  const bundle = require.resolve(`${name}/builds/twilio-conversations.min.js`);
  const page = `<!doctype html><title>Clients</title><script src="/bundle.js"></script><script type="module">
    import { Clients } from "/clients.mjs";
    const clients = new Clients(Twilio.Conversations.Client, (line) => emit(JSON.stringify(line)));
    globalThis.handle = (command) => clients.handle(command);
    emit(JSON.stringify({ loaded: true }));
  </script>`;
  const files = {
    "/": ["text/html", page],
    "/bundle.js": ["text/javascript", await readFile(bundle)],
    "/clients.mjs": ["text/javascript", await readFile(new URL("clients.mjs", import.meta.url))],
  };
  const server = createServer((request, response) => {
    const [type, content] = files[request.url] ?? ["text/plain", ""];
    response.setHeader("Content-Type", `${type}; charset=utf-8`).end(content);
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const browser = await chromium.launchServer({
    executablePath: process.env.REACHABILITY_CHROMIUM,
    // Root cannot use the sandbox.
    args: ["--no-sandbox"],
  });
  const context = await (await chromium.connect(browser.wsEndpoint())).newContext();
  const tab = await context.newPage();
  tab.on("pageerror", (error) => emit({ fault: String(error) }));
  await new Promise((done) => {
    tab.exposeFunction("emit", (line) => {
      const said = JSON.parse(line);
      if (said.loaded) done();
      else emit(said);
    }).then(() => tab.goto(`http://127.0.0.1:${server.address().port}/`));
  });
  return {
    handle: (command) => tab.evaluate((command) => void handle(command), command),
    close: () => browser.close(),
    pid: browser.process().pid,
  };
}

const clients = await (place === "browser" ? inBrowser() : inNode());
// Ending this process ends the clients.
emit({ pid: clients.pid });
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  if (command.act === "mint") emit({ reply: command.id, ok: mint(command) });
  else clients.handle(command);
}
await clients.close();
process.exit();
