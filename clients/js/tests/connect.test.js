import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import test from "node:test";
import { ReachabilityClient } from "../src/index.js";
import { connected, connectedPair, error, pair, user } from "./support/pair.js";
import { Server } from "./support/server.js";

test("connectUser connects, and resolves with the own user", async (t) => {
  const { server, client, events } = await pair(t, { device: "laptop" });
  const connecting = client.connectUser({ id: "me", status: "Eating", invisible: true }, "token");
  assert.equal(client.state, "connecting");
  const socket = await server.socket();
  assert.equal(socket.path, "/v1/Socket");
  const connect = await socket.take("connect");
  assert.deepEqual(connect, {
    type: "connect",
    id: connect.id,
    token: "token",
    device: "laptop",
    status: "Eating",
    invisible: true,
  });
  const own = { ...user("me", { online: true, status: "Eating" }), invisible: true };
  socket.send(connected(connect, { user: own }));
  assert.equal(await connecting, client.user);
  assert.deepEqual(client.user, { ...own, stale: false });
  assert.deepEqual([...client.users.keys()], ["me"]);
  assert.equal(client.connectionId, "CN1");
  assert.equal(client.state, "connected");
  const change = { type: "connection.changed", reason: null };
  assert.deepEqual(await events.next(), { ...change, state: "connecting", online: false });
  assert.deepEqual(await events.next(), { ...change, state: "connected", online: true });
});

test("connectUser is refused with the server's error, and tries no more", async (t) => {
  for (const [answer, code] of [
    [{ code: "invalid_token", message: "No.", twilio_code: 20104 }, "invalid_token"],
    [{ code: "invalid_status", message: "Too long.", limit: 256 }, "invalid_status"],
  ]) {
    const { server, client, events } = await pair(t);
    const connecting = client.connectUser({ id: "me" }, () => "token");
    const socket = await server.socket();
    const { id } = await socket.take("connect");
    socket.send({ type: "error", id, ...answer });
    const refused = await connecting.then(assert.fail, (error) => error);
    assert.deepEqual([refused.code, refused.message], [code, answer.message]);
    assert.deepEqual([refused.twilioCode, refused.limit], [answer.twilio_code ?? null, answer.limit ?? null]);
    assert.equal(client.state, "disconnected");
    assert.equal((await events.next()).state, "connecting");
    assert.equal((await events.next()).error, refused);
    assert.deepEqual(await events.next(), {
      type: "connection.changed",
      state: "disconnected",
      online: false,
      reason: refused,
    });
    await socket.closed;
    assert.deepEqual(server.unasked, []);
  }
});

test("connectUser is refused by a close", async (t) => {
  for (const [code, word] of [
    [4400, "invalid_message"],
    [4401, "invalid_token"],
    [4403, "revoked"],
    [4409, "superseded"],
  ]) {
    const { server, client } = await pair(t);
    const connecting = client.connectUser({ id: "me" }, "token");
    const socket = await server.socket();
    await socket.take("connect");
    socket.close(code, "because");
    await assert.rejects(connecting, error(word));
    assert.equal(client.state, "disconnected");
  }
});

test("connectUser goes on through what passes", async (t) => {
  t.mock.method(Math, "random", () => 0);
  const { server, client } = await pair(t);
  const connecting = client.connectUser({ id: "me", status: "Here" }, "token");
  for (const code of [1001, 1006, 4408, 4429, 4503]) {
    const socket = await server.socket();
    assert.equal((await socket.take("connect")).status, "Here");
    if (code === 1006) socket.cut();
    else socket.close(code);
  }
  const socket = await server.socket();
  socket.send(connected(await socket.take("connect")));
  await connecting;
});

test("connectUser gives up after the time that an answer may take", async (t) => {
  const { client } = await pair(t, { timeout: 50 });
  await assert.rejects(client.connectUser({ id: "me" }, "token"), error("timeout"));
  assert.equal(client.state, "disconnected");
});

test("connectUser tells why it gave up", async (t) => {
  const { server, client } = await pair(t, { timeout: 1_000 });
  await server.stop();
  const failed = await client.connectUser({ id: "me" }, "token").then(assert.fail, (error) => error);
  assert.equal(failed.code, "timeout");
  assert.match(failed.message, /No connection within 1000 ms\. Cannot connect to ws:/);
  assert.equal(failed.cause.code, "connection_failed");
});

test("a token of another user is refused, with a goodbye", async (t) => {
  const { server, client } = await pair(t);
  const connecting = client.connectUser({ id: "john" }, "token");
  const socket = await server.socket();
  socket.send(connected(await socket.take("connect")));
  await assert.rejects(connecting, error("wrong_user"));
  await socket.take("close");
  assert.equal(client.user, null);
});

test("connectUser wants an id and a token, and to be called once", async (t) => {
  const { client } = await connectedPair(t);
  await assert.rejects(client.connectUser({ id: "me" }, "token"), error("already_connected"));
  const other = new ReachabilityClient("http://127.0.0.1:1");
  await assert.rejects(other.connectUser({ id: "me" }), TypeError);
  await assert.rejects(other.connectUser({ status: "Here" }, "token"), TypeError);
  assert.equal(other.state, "disconnected");
});

test("setUser connects if a token is given, and sets after that", async (t) => {
  const { server, client } = await pair(t);
  const connecting = client.setUser({ id: "me", invisible: true, status: "Hiding" }, "token");
  const socket = await server.socket();
  const connect = await socket.take("connect");
  assert.deepEqual([connect.invisible, connect.status], [true, "Hiding"]);
  socket.send(connected(connect));
  await connecting;
  for (const [wish, sent] of [
    [{ id: "me", status: null }, { status: null }],
    [{ invisible: false }, { invisible: false }],
    [
      { invisible: true, status: "" },
      { invisible: true, status: "" },
    ],
  ]) {
    const setting = client.setUser(wish);
    const { id, type, ...fields } = await socket.take("set_user");
    assert.deepEqual(fields, sent);
    socket.send({
      type: "ok",
      id,
      user: { ...user("me", { status: `Number ${id}`, revision: id }), invisible: false },
    });
    assert.equal(await setting, client.user);
    assert.equal(client.user.status, `Number ${id}`);
  }
  await assert.rejects(client.setUser({ id: "john", status: "x" }), error("already_connected"));
});

test("disconnectUser says goodbye, drops everything, and lets another user connect", async (t) => {
  const { server, client, events, socket } = await connectedPair(t);
  const querying = client.queryUsers();
  await socket.take("query_users");
  const left = client.disconnectUser();
  assert.deepEqual(
    [client.state, client.user, client.connectionId, client.users.size],
    ["disconnected", null, null, 0],
  );
  await assert.rejects(querying, error("disconnected"));
  await socket.take("close");
  await left;
  assert.deepEqual(await events.next(), {
    type: "connection.changed",
    state: "disconnected",
    online: false,
    reason: null,
  });
  await assert.rejects(client.queryUsers(), error("not_connected"));
  await assert.rejects(client.setUser({ status: "x" }), error("not_connected"));

  const connecting = client.connectUser({ id: "john" }, "token of john");
  const next = await server.socket();
  const connect = await next.take("connect");
  assert.equal(connect.token, "token of john");
  assert.equal(connect.continuation_token, undefined);
  next.send(connected(connect, { user: user("john") }));
  await connecting;
  assert.equal(client.user.id, "john");
});

test("disconnectUser ends an attempt to connect", async (t) => {
  const { server, client } = await pair(t);
  const connecting = client.connectUser({ id: "me" }, "token");
  const socket = await server.socket();
  await socket.take("connect");
  const left = client.disconnectUser();
  await assert.rejects(connecting, error("disconnected"));
  await left;
  await socket.closed;
  await client.disconnectUser();
});

test("the address is a server's or a socket's", async (t) => {
  const paths = [];
  class Recorder {
    constructor(url) {
      paths.push(url);
    }
    addEventListener() {}
    close() {}
  }
  for (const address of [
    "http://host:8080",
    "https://host/",
    "https://host/prefix/",
    "https://host/v1/Socket",
    "ws://host",
    "wss://host/stage",
  ]) {
    const client = new ReachabilityClient(address, { WebSocket: Recorder });
    const connecting = client.connectUser({ id: "me" }, "token").catch(() => {});
    await new Promise(setImmediate);
    await client.disconnectUser();
    await connecting;
  }
  assert.deepEqual(paths, [
    "ws://host:8080/v1/Socket",
    "wss://host/v1/Socket",
    "wss://host/prefix/v1/Socket",
    "wss://host/v1/Socket",
    "ws://host/v1/Socket",
    "wss://host/stage",
  ]);
  for (const address of ["", "host", "ftp://host"]) assert.throws(() => new ReachabilityClient(address), TypeError);
});

test("a process ends once its client is disconnected", async (t) => {
  const server = await Server.start();
  t.after(() => server.stop());
  const script = `
    import { ReachabilityClient } from ${JSON.stringify(new URL("../src/index.js", import.meta.url))};
    const client = new ReachabilityClient("${server.url}");
    await client.connectUser({ id: "me" }, "token");
    await client.disconnectUser();`;
  const child = spawn(process.execPath, ["--experimental-websocket", "--input-type=module", "--eval", script], {
    stdio: "inherit",
  });
  const ended = new Promise((done) => child.on("exit", done));
  const socket = await server.socket();
  socket.send(connected(await socket.take("connect")));
  assert.equal(await ended, 0);
});
