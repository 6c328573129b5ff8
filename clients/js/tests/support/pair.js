import assert from "node:assert/strict";
import { ReachabilityClient } from "../../src/index.js";
import { Queue } from "./queue.js";
import { Server } from "./server.js";

export const TYPES = [
  "connection.changed",
  "user.presence.changed",
  "user.updated",
  "user.deleted",
  "member.added",
  "member.removed",
  "channel.deleted",
  "error",
];

/** A user as the server shows it. */
export function user(id, fields = {}) {
  return {
    id,
    name: null,
    online: false,
    notifiable: null,
    status: null,
    last_active: null,
    created_at: "2026-01-01T00:00:00.000Z",
    custom: {},
    revision: 1,
    ...fields,
  };
}

export function channel(id, fields = {}) {
  const times = {
    created_at: "2026-01-01T00:00:00.000Z",
    updated_at: "2026-01-01T00:00:00.000Z",
    last_message_at: null,
  };
  return {
    type: "messaging",
    id,
    cid: `messaging:${id}`,
    custom: {},
    created_by: "me",
    member_count: 0,
    ...times,
    ...fields,
  };
}

/** The answer to a `connect`. */
export function connected({ id }, fields = {}) {
  return {
    type: "connected",
    id,
    connection_id: "CN1",
    continuation_token: "CT-1",
    user: { ...user("me", { online: true }), invisible: false },
    expires_at: "2030-01-01T00:00:00.000Z",
    ping_seconds: 14,
    answer_seconds: 6,
    limits: { users_per_watch: 1000, watched_users: 10000 },
    ...fields,
  };
}

/** A server and a client, which end with the test. */
export async function pair(t, options) {
  const server = await Server.start();
  const client = new ReachabilityClient(server.url, options);
  t.after(async () => {
    await Promise.all([client.disconnectUser(), server.stop()]);
  });
  const events = new Queue();
  for (const type of TYPES) client.on(type, (event) => events.push(structured(event)));
  return { server, client, events };
}

/** The same, connected as `me`. */
export async function connectedPair(t, { options, token = "token", fields } = {}) {
  const { server, client, events } = await pair(t, options);
  const connecting = client.connectUser({ id: "me" }, token);
  const socket = await server.socket();
  socket.send(connected(await socket.take("connect"), fields));
  await connecting;
  assert.deepEqual(
    [await events.next(), await events.next()].map(({ state }) => state),
    ["connecting", "connected"],
  );
  return { server, client, events, socket };
}

/** Watches these users. */
export async function watchUsers({ client, socket }, ...users) {
  const querying = client.queryUsers({}, { id: 1 }, { presence: true });
  const { id } = await socket.take("query_users");
  socket.send({ type: "part", id, users }, { type: "ok", id, count: users.length, cursor: null, index: "id" });
  return querying;
}

/** Watches a channel with these users. */
export async function watchChannel({ client, socket }, name, ...users) {
  const handle = client.channel("messaging", name);
  const watching = handle.watch({ presence: true });
  const { id } = await socket.take("watch_channel");
  const found = channel(name, { members: users.map(({ id }) => id), member_count: users.length });
  socket.send({ type: "part", id, users }, { type: "ok", id, channel: found, created: false });
  await watching;
  return handle;
}

export const changed = (user, at = "2026-06-01T00:00:00.000Z") => ({ type: "user.presence.changed", user, at });

/** The server's next connection after a loss, with the client's `restore` if it has watches. */
export async function again(server, fields) {
  const socket = await server.socket();
  const connect = await socket.take("connect");
  socket.send(connected(connect, fields));
  return { socket, connect };
}

export const error = (code) => (error) => {
  assert.equal(error.name, "ReachabilityError");
  assert.equal(error.code, code);
  return true;
};

/** The event as it is now: its user goes on changing. */
function structured(event) {
  return event.user ? { ...event, user: { ...event.user } } : event;
}
