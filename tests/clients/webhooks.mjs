// Validates webhooks with the vendor's Node library. Reads them from standard input, as webhooks.py does.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

// `import` does not look into NODE_PATH, `require` does.
const twilio = createRequire(import.meta.url)("twilio");

for (const { url, form, signature, valid } of JSON.parse(readFileSync(0, "utf8"))) {
  assert.equal(twilio.validateRequest(process.env.REACHABILITY_TOKEN, signature, url, form), valid, url);
  console.log("ok", url);
}
