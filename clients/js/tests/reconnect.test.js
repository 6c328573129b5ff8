import assert from "node:assert/strict";
import test from "node:test";
import { again, changed, channel, connected, connectedPair, error, user, watchChannel, watchUsers } from "./support/pair.js";

const short = ({ type, state, user, id, cid }) => [type, state, cid, user ? `${user.id} ${user.revision}` : id].filter(Boolean).join(" ");

/** The events until the client is connected again. */
async function eventsUntilConnected(events) {
  const all = [];
  do all.push(await events.next());
  while (all.at(-1).state !== "connected");
  return all.map(short);
}

/** What a client asks for so that nothing else can be on its way. */
async function flushed({ client, socket }) {
  client.queryUsers({}, {}, { limit: 1 }).catch(() => {});
  await socket.take("query_users");
}

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
  assert.equal([...client.users.values()].some(({ stale }) => stale), false);

  first.cut();
  const lost = await events.next();
  assert.deepEqual([lost.type, lost.state, lost.online, lost.reason.code], ["connection.changed", "connecting", false, "connection_lost"]);
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
  assert.deepEqual(general.members.map(({ id }) => id), ["me", "jack", "judy"]);
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
    { type: "part", id, users: [user("john", { created_at: null, revision: 0 }), user("jane", { created_at: null, revision: 0 })] },
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
  assert.deepEqual(general.members.map(({ id }) => id), ["me", "john", "jane", "judy"]);
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
  third.socket.send({ type: "part", id: restore.id, users: [user("john", { online: true, revision: 2 })] }, { type: "ok", id: restore.id, gone: [] });
  assert.deepEqual(await eventsUntilConnected(events), ["user.presence.changed john 2", "connection.changed connected"]);
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
  assert.deepEqual(restores.flatMap(({ watches }) => watches.flatMap(({ users }) => users)), all.flat());
  for (const { id, watches, known } of restores) {
    assert.deepEqual(Object.keys(known), watches.flatMap(({ users }) => users));
    assert.equal(client.state, "connecting");
    socket.send({ type: "ok", id, gone: [] });
  }
  assert.deepEqual(await eventsUntilConnected(events), ["connection.changed connected"]);
  assert.equal([...client.users.values()].some(({ stale }) => stale), false);
});

test("requests without an answer, and those made meanwhile, are sent when the connection is back", async (t) => {
  t.mock.method(Math, "random", () => 0);
  const { server, client, socket: first } = await connectedPair(t);
  const watching = client.queryUsers({ online: true }, {}, { presence: true });
  const lost = await first.take("query_users");
  // Half of the answer is no answer.
  first.send({ type: "part", id: lost.id, users: [user("jane")] });
  first.cut();
  await first.closed;
  const adding = client.channel("messaging", "general").addMembers(["john"]);
  const { socket } = await again(server);
  const query = await socket.take("query_users");
  assert.deepEqual({ ...query, id: lost.id }, lost);
  assert.ok(query.id > lost.id);
  const add = await socket.take("add_members");
  assert.ok(add.id > query.id);
  socket.send({ type: "part", id: query.id, users: [user("john")] }, { type: "ok", id: query.id, count: 1, cursor: null, index: "online" });
  socket.send({ type: "ok", id: add.id, channel: channel("general", { member_count: 2 }) });
  assert.deepEqual((await watching).map(({ id }) => id), ["john"]);
  assert.equal((await adding).member_count, 2);
  socket.cut();
  const { socket: third } = await again(server);
  assert.deepEqual((await third.take("restore")).watches, [{ watch: query.id, users: ["john"] }]);
});

test("what the user wishes meanwhile is set by the connect itself", async (t) => {
  t.mock.method(Math, "random", () => 0);
  const { server, client, socket: first } = await connectedPair(t);
  const settingA = client.setUser({ status: "A" });
  await first.take("set_user");
  first.cut();
  await first.closed;
  const settingB = client.setUser({ invisible: true });
  const settingC = client.setUser({ status: "C" });
  const own = { ...user("me", { online: true, status: "C", revision: 5 }), invisible: true };
  const { socket, connect } = await again(server, { user: own });
  assert.deepEqual([connect.status, connect.invisible], ["C", true]);
  for (const setting of [settingA, settingB, settingC]) assert.equal(await setting, client.user);
  assert.deepEqual([client.user.status, client.user.invisible], ["C", true]);
  await flushed({ client, socket });
  // Once set, it is the server's to keep.
  socket.cut();
  const { connect: next } = await again(server, { user: own });
  assert.deepEqual([next.status, next.invisible], [undefined, undefined]);
});

test("a wish that the server refuses does not keep the client from connecting", async (t) => {
  t.mock.method(Math, "random", () => 0);
  const { server, client, socket: first } = await connectedPair(t);
  first.cut();
  await first.closed;
  const setting = client.setUser({ status: "x".repeat(300) });
  const refused = assert.rejects(setting, error("invalid_status"));
  const second = await server.socket();
  const { id, status } = await second.take("connect");
  assert.equal(status.length, 300);
  second.send({ type: "error", id, code: "invalid_status", message: "Too long.", limit: 256 });
  await refused;
  const { connect } = await again(server);
  assert.equal(connect.status, undefined);
});

test("the client comes back after these closes", async (t) => {
  t.mock.method(Math, "random", () => 0);
  const { server, client, events, socket } = await connectedPair(t);
  let last = socket;
  const words = new Map([
    [1000, "connection_lost"],
    [1001, "server_stopping"],
    [1008, "too_many_requests"],
    [4400, "invalid_message"],
    [4408, "connection_lost"],
    [4429, "limit_reached"],
    [4503, "unavailable"],
  ]);
  for (const [code, word] of words) {
    last.close(code);
    assert.equal((await events.next()).reason.code, word);
    last = (await again(server)).socket;
    assert.equal((await events.next()).state, "connected");
  }
  assert.equal(client.state, "connected");
});

test("the client does not come back after these closes", async (t) => {
  t.mock.method(Math, "random", () => 0);
  for (const [code, word] of [[4403, "revoked"], [4409, "superseded"], [4401, "invalid_token"]]) {
    const { server, client, events, socket } = await connectedPair(t);
    const [john] = await watchUsers({ client, socket }, user("john"));
    const querying = client.queryUsers();
    await socket.take("query_users");
    socket.close(code, "the word");
    await assert.rejects(querying, error(word));
    const { error: told } = await events.next();
    assert.equal(told.code, word);
    assert.match(told.message, /the word/);
    assert.deepEqual(await events.next(), { type: "connection.changed", state: "disconnected", online: false, reason: told });
    assert.deepEqual([john.stale, client.user, client.users.size], [true, null, 0]);
    assert.deepEqual(server.unasked, []);
    // It can be told to.
    const connecting = client.connectUser({ id: "me" }, "token");
    const { socket: next, connect } = await again(server);
    assert.equal(connect.continuation_token, undefined);
    await connecting;
    await flushed({ client, socket: next });
  }
});

test("a message that the server takes offence at is not repeated", async (t) => {
  t.mock.method(Math, "random", () => 0);
  for (const [code, word] of [[4400, "invalid_message"], [1008, "too_many_requests"]]) {
    const { server, client, socket: first } = await connectedPair(t);
    const querying = client.queryUsers({ name: "x" });
    await first.take("query_users");
    first.close(code);
    await assert.rejects(querying, error(word));
    const { socket } = await again(server);
    client.queryUsers({ name: "y" }).catch(() => {});
    assert.deepEqual((await socket.take("query_users")).filter, { name: "y" });
  }
});

/** How long the client waits before each attempt, in ms, when every draw is `draw`: in all timers that it sets meanwhile. */
function waits(t, draw) {
  const all = [];
  t.mock.method(Math, "random", () => draw);
  const { setTimeout } = globalThis;
  t.mock.method(globalThis, "setTimeout", (task, ms, ...rest) => {
    const isWait = new Error().stack.includes("#pause");
    if (isWait) all.push(ms);
    return setTimeout(task, isWait ? 0 : ms, ...rest);
  });
  return all;
}

test("attempts that fail are ever further apart, up to 30 s, also if the connection does not last", async (t) => {
  const { server, socket } = await connectedPair(t, { options: { timeout: 60_000 } });
  const all = waits(t, 0.5);
  socket.cut();
  for (let attempt = 0; attempt < 4; attempt += 1) (await server.socket()).cut();
  for (let attempt = 0; attempt < 3; attempt += 1) (await again(server)).socket.cut();
  await again(server);
  assert.deepEqual(all, [500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000, 15_000]);
});

test("waits begin anew after a connection that lasted", async (t) => {
  const { server, socket } = await connectedPair(t, { options: { timeout: 60_000 } });
  const all = waits(t, 0.5);
  socket.cut();
  (await server.socket()).cut();
  const { socket: second, connect } = await again(server);
  assert.equal(connect.type, "connect");
  second.send({ type: "ping" });
  await second.take("pong");
  const { now } = Date;
  t.mock.method(Date, "now", () => now() + 10_000);
  second.cut();
  await again(server);
  assert.deepEqual(all, [500, 1_000, 500]);
});

test("a server that stops is come back to within a second", async (t) => {
  const { server, socket } = await connectedPair(t, { options: { timeout: 60_000 } });
  const all = waits(t, 0.5);
  socket.cut();
  (await server.socket()).cut();
  (await server.socket()).cut();
  const { socket: connectedOnce } = await again(server);
  connectedOnce.close(1001);
  (await again(server)).socket.cut();
  await again(server);
  assert.deepEqual(all, [500, 1_000, 2_000, 500, 4_000]);
});

test("the client waits as long as the server asks it to", async (t) => {
  const { server, socket } = await connectedPair(t, { options: { timeout: 60_000 } });
  const all = waits(t, 0.5);
  socket.cut();
  const refused = await server.socket();
  const { id } = await refused.take("connect");
  refused.send({ type: "error", id, code: "limit_reached", message: "Too many.", retry_after: 20 });
  await again(server);
  assert.deepEqual(all, [500, 20_500]);
});

test("disconnectUser ends the wait for the next attempt", async (t) => {
  t.mock.method(Math, "random", () => 0.99);
  const { server, client, events, socket } = await connectedPair(t);
  socket.cut();
  assert.equal((await events.next()).state, "connecting");
  await client.disconnectUser();
  assert.equal((await events.next()).state, "disconnected");
  assert.deepEqual(server.unasked, []);
});

test("a listener may disconnect when it hears that the connection is lost", async (t) => {
  t.mock.method(Math, "random", () => 0);
  const { server, client, events, socket } = await connectedPair(t);
  client.on("connection.changed", ({ state }) => state === "connecting" && client.disconnectUser());
  socket.cut();
  assert.deepEqual([(await events.next()).state, (await events.next()).state], ["connecting", "disconnected"]);
  await new Promise(setImmediate);
  assert.deepEqual(server.unasked, []);
});

test("what is no message ends the connection, since an answer may be lost", async (t) => {
  t.mock.method(Math, "random", () => 0);
  const { server, events, socket } = await connectedPair(t);
  let last = socket;
  for (const text of ["{", "null", "[]", '{"type":7}']) {
    last.send(text);
    assert.equal((await events.next()).reason.code, "invalid_message");
    last = (await again(server)).socket;
    assert.equal((await events.next()).state, "connected");
  }
  // Of what it does not know it takes no notice.
  last.send({ type: "weather.changed" }, { type: "connected", id: 0 }, { type: "ok", id: 99 }, { type: "part", id: 99, users: [] });
  last.send({ type: "error", code: "unavailable", message: "" });
  assert.equal((await events.next()).type, "error");
});
