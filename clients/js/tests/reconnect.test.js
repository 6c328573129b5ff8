import assert from "node:assert/strict";
import test from "node:test";
import { again, connected, connectedPair, error, user, watchUsers } from "./support/pair.js";

/** What a client asks for so that nothing else can be on its way. */
async function flushed({ client, socket }) {
  client.queryUsers({}, {}, { limit: 1 }).catch(() => {});
  await socket.take("query_users");
}

/** Fills with how long the client waits before each attempt from now on, in ms, if every draw is `draw`. It does not wait. */
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
  for (const [code, word] of [
    [4403, "revoked"],
    [4409, "superseded"],
    [4401, "invalid_token"],
  ]) {
    const { server, client, events, socket } = await connectedPair(t);
    const [john] = await watchUsers({ client, socket }, user("john"));
    const querying = client.queryUsers();
    await socket.take("query_users");
    socket.close(code, "the word");
    await assert.rejects(querying, error(word));
    const { error: told } = await events.next();
    assert.equal(told.code, word);
    assert.match(told.message, /the word/);
    assert.deepEqual(await events.next(), {
      type: "connection.changed",
      state: "disconnected",
      online: false,
      reason: told,
    });
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

test("attempts that fail are ever further apart, up to 15 s, also if the connection does not last", async (t) => {
  const { server, socket } = await connectedPair(t, { options: { timeout: 60_000 } });
  const all = waits(t, 0.5);
  socket.cut();
  for (let attempt = 0; attempt < 4; attempt += 1) (await server.socket()).cut();
  for (let attempt = 0; attempt < 3; attempt += 1) (await again(server)).socket.cut();
  await again(server);
  assert.deepEqual(all, [500, 1_000, 2_000, 4_000, 7_500, 7_500, 7_500, 7_500]);
});

test("waits start again from the shortest after a connection that lasted", async (t) => {
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
  last.send(
    { type: "weather.changed" },
    { type: "connected", id: 0 },
    { type: "ok", id: 99 },
    { type: "part", id: 99, users: [] },
  );
  last.send({ type: "error", code: "unavailable", message: "" });
  assert.equal((await events.next()).type, "error");
});
