import assert from "node:assert/strict";
import test from "node:test";
import { again, connectedPair, user, watchUsers } from "./support/pair.js";

/** What the page's `window` would be. */
function windowOf(t) {
  const window = new EventTarget();
  for (const name of ["addEventListener", "removeEventListener"]) {
    const before = Object.getOwnPropertyDescriptor(globalThis, name);
    globalThis[name] = (...all) => window[name](...all);
    t.after(() => (before ? Object.defineProperty(globalThis, name, before) : delete globalThis[name]));
  }
  return (type) => window.dispatchEvent(new Event(type));
}

test("the server's ping is answered", async (t) => {
  const { socket } = await connectedPair(t);
  socket.send({ type: "ping" });
  assert.deepEqual(await socket.next(), { type: "pong" });
});

test("a server that says nothing for ping_seconds and answer_seconds is lost", async (t) => {
  t.mock.method(Math, "random", () => 0);
  const { server, events, socket } = await connectedPair(t, { fields: { ping_seconds: 0.03, answer_seconds: 0.02 } });
  const { reason } = await events.next();
  assert.equal(reason.code, "connection_lost");
  assert.match(reason.message, /not heard/);
  await again(server);
  // It was no goodbye.
  assert.deepEqual(socket.unasked, []);
});

test("whatever the server says keeps the connection", async (t) => {
  let now = Date.now();
  t.mock.method(Date, "now", () => now);
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const advance = (seconds) => {
    now += seconds * 1_000;
    t.mock.timers.tick(seconds * 1_000);
  };
  const { client, events, socket } = await connectedPair(t, { fields: { ping_seconds: 14, answer_seconds: 6 } });
  const answered = async () => {
    const probed = client.queryUsers();
    const { id } = await socket.take("query_users");
    socket.send({ type: "ok", id, count: 0, cursor: null, index: null });
    await probed;
  };
  await answered();
  for (let count = 0; count < 10; count += 1) {
    advance(19);
    await answered();
  }
  assert.equal(client.state, "connected");
  advance(20);
  assert.equal((await events.next()).state, "connecting");
  t.mock.timers.reset();
});

test("a browser that comes online asks at once whether its server is there, and reconnects if not", async (t) => {
  t.mock.method(Math, "random", () => 0);
  const dispatch = windowOf(t);
  for (const type of ["online", "offline"]) {
    t.mock.timers.enable({ apis: ["setTimeout"] });
    const { server, client, socket, events } = await connectedPair(t, {
      fields: { ping_seconds: 60, answer_seconds: 6 },
    });
    dispatch(type);
    const { id } = await socket.take("ping");
    socket.send({ type: "pong", id });
    await watchUsers({ client, socket }, user("john"));
    t.mock.timers.tick(6_000);
    assert.equal(client.state, "connected");
    dispatch(type);
    await socket.take("ping");
    t.mock.timers.tick(6_000);
    assert.equal((await events.next()).reason.code, "connection_lost");
    await new Promise(setImmediate);
    t.mock.timers.tick(1);
    t.mock.timers.reset();
    await again(server);
    await client.disconnectUser();
  }
});

test("a browser that comes online does not wait for the next attempt", async (t) => {
  const dispatch = windowOf(t);
  t.mock.method(Math, "random", () => 0.999);
  const { server, client, events, socket } = await connectedPair(t);
  socket.cut();
  for (let attempt = 0; attempt < 5; attempt += 1) {
    await events.next();
    // The wait begins after the event.
    await new Promise(setImmediate);
    dispatch("online");
    const next = await server.socket();
    if (attempt < 4) next.cut();
  }
  await client.disconnectUser();
  dispatch("online");
  assert.equal(client.state, "disconnected");
});
