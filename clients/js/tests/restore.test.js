import assert from "node:assert/strict";
import test from "node:test";
import { eventsUntilConnected, short } from "./support/events.js";
import {
  again,
  changed,
  channel,
  connected,
  connectedPair,
  error,
  user,
  watchChannel,
  watchUsers,
} from "./support/pair.js";

test("a lost connection comes back with one message for all watches, and what changed is told", async (t) => {
  t.mock.method(Math, "random", () => 0);
  const { server, client, events, socket: first } = await connectedPair(t);
  const pair = { client, socket: first };
  const found = await watchUsers(pair, user("john", { revision: 3 }), user("jack", { revision: 4 }));
  const general = await watchChannel(pair, "general", user("me"), user("jack", { revision: 4 }), user("jane"));
  const gone = await watchChannel(pair, "gone", user("me"), user("jim"));
  const ended = await watchUsers(pair, user("joe"));
  ended.stopWatching().catch(() => {});
  const unwatch = await first.take("unwatch");
  assert.equal(
    [...client.users.values()].some(({ stale }) => stale),
    false,
  );

  first.cut();
  const lost = await events.next();
  assert.deepEqual(
    [lost.type, lost.state, lost.online, lost.reason.code],
    ["connection.changed", "connecting", false, "connection_lost"],
  );
  assert.equal(client.connectionId, null);
  const stale = () => [...client.users.values()].filter(({ stale }) => stale).map(({ id }) => id);
  assert.deepEqual(stale(), ["john", "jack", "jane", "jim"]);

  const { socket, connect } = await again(server, { connection_id: "CN2", continuation_token: "CT-2" });
  assert.deepEqual(connect, { type: "connect", id: connect.id, token: "token", continuation_token: "CT-1" });
  const { id, ...restore } = await socket.take("restore");
  assert.ok(connect.id > unwatch.id && id > connect.id);
  const [watch, second, third] = restore.watches.map(({ watch }) => watch);
  assert.ok(watch < second && second < third && third < unwatch.watch);
  assert.deepEqual(restore, {
    type: "restore",
    watches: [
      { watch, users: ["john", "jack"] },
      { watch: second, channels: ["messaging:general"] },
      { watch: third, channels: ["messaging:gone"] },
    ],
    known: { john: 3, jack: 4, me: 1, jane: 1, jim: 1 },
  });
  assert.equal(client.connectionId, "CN2");
  assert.equal(client.state, "connecting");
  socket.send(
    { type: "part", id, users: [user("john", { online: true, name: "John", revision: 9 }), user("judy")] },
    { type: "part", id, channel: "messaging:general", members: ["me", "jack", "judy"] },
    { type: "ok", id, gone: ["messaging:gone"] },
  );
  assert.deepEqual(await eventsUntilConnected(events), [
    "channel.deleted messaging:gone",
    "user.presence.changed john 9",
    "user.updated john 9",
    "member.added messaging:general judy 1",
    "member.removed messaging:general jane",
    "connection.changed connected",
  ]);
  assert.deepEqual(stale(), []);
  assert.equal(found[0].online, true);
  assert.deepEqual(
    general.members.map(({ id }) => id),
    ["me", "jack", "judy"],
  );
  assert.deepEqual(gone.members, []);
  assert.deepEqual([...client.users.keys()].sort(), ["jack", "john", "judy", "me"]);

  // The watches are as they were: they are told of, can be stopped, and are restored once more.
  socket.send(changed(user("judy", { online: true, revision: 2 })));
  assert.equal(short(await events.next()), "user.presence.changed judy 2");
  const stopping = found.stopWatching();
  const stop = await socket.take("unwatch");
  assert.equal(stop.watch, watch);
  socket.send({ type: "ok", id: stop.id });
  await stopping;
  socket.cut();
  const third3 = await again(server);
  assert.equal(third3.connect.continuation_token, "CT-2");
  const last = await third3.socket.take("restore");
  assert.deepEqual(last.watches, [{ watch: second, channels: ["messaging:general"] }]);
  assert.deepEqual(last.known, { me: 1, jack: 4, judy: 2 });
});

test("what is heard while watches are restored is not undone by the answer", async (t) => {
  t.mock.method(Math, "random", () => 0);
  const { server, client, events, socket: first } = await connectedPair(t);
  const pair = { client, socket: first };
  const general = await watchChannel(pair, "general", user("me"), user("john"), user("jack"), user("jane"));
  first.cut();
  assert.equal((await events.next()).state, "connecting");
  const { socket } = await again(server);
  const { id } = await socket.take("restore");
  socket.send(
    changed(user("john", { online: true, revision: 3 })),
    { type: "member.added", cid: general.cid, user: user("judy") },
    { type: "member.removed", cid: general.cid, id: "jack" },
    // The answer was made before: also that there is no john.
    {
      type: "part",
      id,
      users: [user("john", { created_at: null, revision: 0 }), user("jane", { created_at: null, revision: 0 })],
    },
    { type: "part", id, channel: general.cid, members: ["me", "john", "jack", "jane"] },
    { type: "ok", id, gone: [] },
  );
  assert.deepEqual(await eventsUntilConnected(events), [
    "user.presence.changed john 3",
    "member.added messaging:general judy 1",
    "member.removed messaging:general jack",
    "user.deleted jane",
    "connection.changed connected",
  ]);
  assert.deepEqual(
    general.members.map(({ id }) => id),
    ["me", "john", "jane", "judy"],
  );
  // That jane is gone is known now.
  socket.cut();
  const { socket: third } = await again(server);
  assert.equal((await third.take("restore")).known.jane, 0);
});

test("a connection that is lost while watches are restored restores them in the next", async (t) => {
  t.mock.method(Math, "random", () => 0);
  const { server, client, events, socket: first } = await connectedPair(t);
  await watchUsers({ client, socket: first }, user("john"));
  first.cut();
  assert.equal((await events.next()).state, "connecting");
  const second = await again(server);
  const { id } = await second.socket.take("restore");
  second.socket.send({ type: "part", id, users: [user("john", { online: true, revision: 2 })] });
  second.socket.close(4503);
  assert.equal((await events.next()).error.code, "unavailable");
  const third = await again(server);
  const restore = await third.socket.take("restore");
  assert.deepEqual(restore.known, { john: 1 });
  assert.equal(client.users.get("john").stale, true);
  third.socket.send(
    { type: "part", id: restore.id, users: [user("john", { online: true, revision: 2 })] },
    { type: "ok", id: restore.id, gone: [] },
  );
  assert.deepEqual(await eventsUntilConnected(events), [
    "user.presence.changed john 2",
    "connection.changed connected",
  ]);
});

test("a restore that is refused for now is tried again with another connection", async (t) => {
  t.mock.method(Math, "random", () => 0);
  const { server, client, events, socket: first } = await connectedPair(t);
  await watchUsers({ client, socket: first }, user("john"));
  first.cut();
  await events.next();
  const second = await again(server);
  const { id } = await second.socket.take("restore");
  second.socket.send({ type: "error", id, code: "unavailable", message: "Later.", retry_after: 0.05 });
  assert.equal((await events.next()).error.retryAfter, 0.05);
  await second.socket.closed;
  const third = await again(server);
  third.socket.send({ type: "ok", id: (await third.socket.take("restore")).id, gone: [] });
  assert.deepEqual(await eventsUntilConnected(events), ["connection.changed connected"]);
});

test("a restore that is refused for good leaves its users stale", async (t) => {
  t.mock.method(Math, "random", () => 0);
  const { server, client, events, socket: first } = await connectedPair(t);
  await watchUsers({ client, socket: first }, user("john"));
  first.cut();
  await events.next();
  const { socket } = await again(server);
  const { id } = await socket.take("restore");
  socket.send({ type: "error", id, code: "too_many_users", message: "The limit is lower now.", limit: 0 });
  assert.equal((await events.next()).error.code, "too_many_users");
  assert.equal((await events.next()).state, "connected");
  assert.equal(client.users.get("john").stale, true);
});

test("watches that do not fit into one message are restored by several", async (t) => {
  t.mock.method(Math, "random", () => 0);
  const { server, client, events, socket: first } = await connectedPair(t);
  const names = (prefix) => Array.from({ length: 1_000 }, (_, number) => `${prefix}-${number}-${"x".repeat(200)}`);
  const all = ["a", "b", "c"].map(names);
  for (const ids of all) await watchUsers({ client, socket: first }, ...ids.map((id) => user(id)));
  first.cut();
  await events.next();
  const { socket } = await again(server);
  const restores = [await socket.take("restore"), await socket.take("restore")];
  assert.deepEqual(
    restores.flatMap(({ watches }) => watches.flatMap(({ users }) => users)),
    all.flat(),
  );
  for (const { id, watches, known } of restores) {
    assert.deepEqual(
      Object.keys(known),
      watches.flatMap(({ users }) => users),
    );
    assert.equal(client.state, "connecting");
    socket.send({ type: "ok", id, gone: [] });
  }
  assert.deepEqual(await eventsUntilConnected(events), ["connection.changed connected"]);
  assert.equal(
    [...client.users.values()].some(({ stale }) => stale),
    false,
  );
});
