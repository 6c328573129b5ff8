// Tells when users come and go, and what they say they are doing:
//
//     node examples/watch.mjs SERVER ME TOKEN USER…
//
// With Node 20: node --experimental-websocket examples/watch.mjs …

import { ReachabilityClient } from "../src/index.js";

const [server, me, token, ...ids] = process.argv.slice(2);
const client = new ReachabilityClient(server);

const show = ({ id, online, status, last_active, stale }) =>
  console.log(
    [
      `${id}: online ${online}`,
      status && `"${status}"`,
      last_active && `last active ${last_active}`,
      stale && "(stale)",
    ]
      .filter(Boolean)
      .join(", "),
  );

client.on("connection.changed", ({ state, reason }) =>
  console.log(`-- ${state}${reason ? `: ${reason.message}` : ""}`),
);
client.on("error", ({ error }) => console.error(`-- ${error.code}: ${error.message}`));
client.on("user.presence.changed", ({ user }) => show(user));

await client.connectUser({ id: me, status: "Watching" }, token);
const users = await client.queryUsers({ id: { $in: ids } }, { id: 1 }, { presence: true });
users.forEach(show);
for (const id of ids) if (!client.users.has(id)) console.log(`${id}: there is no such user yet`);

// A goodbye: offline at once, not after the grace period.
process.on("SIGINT", () => client.disconnectUser());
