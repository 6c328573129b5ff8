// Follows the stream of changes with the `eventsource` package, as it is published. Prints a line of JSON for each event.
import { createRequire } from "node:module";

const { EventSource } = createRequire(import.meta.url)("eventsource");
const { REACHABILITY_URL: url, REACHABILITY_ACCOUNT: account, REACHABILITY_TOKEN: token } = process.env;
const authorization = "Basic " + Buffer.from(`${account}:${token}`).toString("base64");

const stream = new EventSource(`${url}/v1/Services/${process.argv[2]}/Changes`, {
  fetch: (input, init) => fetch(input, { ...init, headers: { ...init.headers, authorization } }),
});
const print = (line) => console.log(JSON.stringify(line));
stream.addEventListener("message", ({ lastEventId, data }) => print({ ...JSON.parse(data), id: Number(lastEventId) }));
stream.addEventListener("cursor", ({ lastEventId }) => print({ cursor: Number(lastEventId) }));
stream.addEventListener("error", ({ code }) => print({ error: code ?? null, closed: stream.readyState === EventSource.CLOSED }));
