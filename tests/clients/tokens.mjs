// Makes access tokens with the vendor's Node library, and reads ours, as tokens.py does.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

// `import` does not look into NODE_PATH, `require` does.
const require = createRequire(import.meta.url);
const { AccessToken } = require("twilio").jwt;
const jsonwebtoken = require("jsonwebtoken");

const kinds = { chat: AccessToken.ChatGrant, voice: AccessToken.VoiceGrant, video: AccessToken.VideoGrant };
const camel = (name) => name.replace(/_(.)/g, (_, letter) => letter.toUpperCase());
const { account, key, secret, make, read } = JSON.parse(readFileSync(0, "utf8"));
for (const { grants, algorithm, ...options } of make) {
  const token = new AccessToken(account, key, secret, options);
  for (const [kind, fields] of Object.entries(grants)) {
    token.addGrant(new kinds[kind](Object.fromEntries(Object.entries(fields).map(([name, it]) => [camel(name), it]))));
  }
  console.log(token.toJwt(algorithm));
}
for (const { token, identity } of read) {
  const claims = jsonwebtoken.verify(token, secret, { algorithms: ["HS256"], issuer: key, subject: account });
  assert.equal(claims.grants.identity, identity);
}
