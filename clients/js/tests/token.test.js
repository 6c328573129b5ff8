import assert from "node:assert/strict";
import test from "node:test";
import { again, connected, connectedPair, error, pair } from "./support/pair.js";

const expiring = { type: "token.expiring", expires_at: "2030-01-01T00:00:00.000Z" };

/** A provider that does what each of these says, in order: a token to return, or an error to throw. */
function provider(...answers) {
  const provide = async () => {
    provide.calls += 1;
    const answer = answers.shift();
    if (answer instanceof Error) throw answer;
    return answer;
  };
  provide.calls = 0;
  return provide;
}

test("the provider is asked once for a connection, and not again for the next", async (t) => {
  t.mock.method(Math, "random", () => 0);
  const provide = provider("one");
  const { server, socket } = await connectedPair(t, { token: provide });
  socket.cut();
  assert.equal((await again(server)).connect.token, "one");
  assert.equal(provide.calls, 1);
});

test("a provider need not be asynchronous", async (t) => {
  await connectedPair(t, { token: () => "token" });
});

test("a token that expires is replaced on the same connection", async (t) => {
  t.mock.method(Math, "random", () => 0);
  const { server, socket } = await connectedPair(t, { token: provider("one", "two") });
  socket.send(expiring);
  const { id, ...request } = await socket.take("token");
  assert.deepEqual(request, { type: "token", token: "two" });
  socket.send({ type: "ok", id, expires_at: "2030-01-02T00:00:00.000Z" });
  socket.cut();
  assert.equal((await again(server)).connect.token, "two");
});

test("the provider is asked again while it fails, and while its tokens are refused", async (t) => {
  t.mock.method(Math, "random", () => 0);
  const provide = provider("one", new Error("no network"), "two", "three");
  const { events, socket } = await connectedPair(t, { token: provide });
  socket.send(expiring);
  const failed = await events.next();
  assert.equal(failed.error.code, "token_provider");
  assert.match(failed.error.message, /no network/);
  assert.equal(failed.error.cause.message, "no network");
  const first = await socket.take("token");
  assert.equal(first.token, "two");
  socket.send({ type: "error", id: first.id, code: "invalid_token", message: "No.", twilio_code: 20104 });
  assert.equal((await events.next()).error.twilioCode, 20104);
  const second = await socket.take("token");
  assert.equal(second.token, "three");
  socket.send({ type: "ok", id: second.id, expires_at: "2030-01-02T00:00:00.000Z" });
});

test("that a token expires is told to whoever gave no provider", async (t) => {
  const { events, socket } = await connectedPair(t);
  socket.send(expiring);
  const { error } = await events.next();
  assert.equal(error.code, "token_expiring");
  assert.match(error.message, /2030-01-01/);
});

test("after 4401 the provider is asked for another token", async (t) => {
  t.mock.method(Math, "random", () => 0);
  const { server, events, socket } = await connectedPair(t, { token: provider("one", "two") });
  socket.close(4401, "token_expired");
  assert.equal((await events.next()).reason.code, "invalid_token");
  assert.equal((await again(server)).connect.token, "two");
  assert.equal((await events.next()).state, "connected");
});

test("three tokens that are refused in succession are enough", async (t) => {
  t.mock.method(Math, "random", () => 0);
  const provide = provider("one", "two", "three", "four", "five", "six");
  const { server, client, events, socket } = await connectedPair(t, { token: provide });
  socket.close(4401);
  // Two are refused, and one is taken.
  for (const token of ["two", "three"]) {
    const refused = await server.socket();
    const connect = await refused.take("connect");
    assert.equal(connect.token, token);
    if (token === "two") refused.send({ type: "error", id: connect.id, code: "invalid_token", message: "No." });
    else refused.send(connected(connect));
    if (token === "three") refused.close(4401);
  }
  for (const token of ["four", "five"]) {
    const refused = await server.socket();
    assert.equal((await refused.take("connect")).token, token);
    refused.close(4401);
  }
  const all = [];
  do all.push(await events.next());
  while (all.at(-1).state !== "disconnected");
  assert.equal(all.at(-1).reason.code, "invalid_token");
  assert.equal(client.state, "disconnected");
  assert.equal(provide.calls, 5);
  assert.deepEqual(server.unasked, []);
});

test("a provider without a token ends the attempts, one that fails does not", async (t) => {
  t.mock.method(Math, "random", () => 0);
  for (const none of [null, undefined, "", 7]) {
    const provide = provider("one", new Error("no network"), new Error("no network"), none);
    const { server, client, events, socket } = await connectedPair(t, { token: provide });
    const querying = client.queryUsers();
    await socket.take("query_users");
    socket.close(4401);
    assert.equal((await events.next()).state, "connecting");
    for (const _ of [1, 2]) assert.equal((await events.next()).error.code, "token_provider");
    await assert.rejects(querying, error("no_token"));
    assert.equal((await events.next()).error.code, "no_token");
    assert.equal((await events.next()).state, "disconnected");
    assert.deepEqual(server.unasked, []);
  }
});

test("a provider that fails at first is connectUser's to tell", async (t) => {
  for (const [answer, code] of [
    [new Error("500"), "token_provider"],
    [null, "no_token"],
  ]) {
    const { client } = await pair(t);
    await assert.rejects(client.connectUser({ id: "me" }, provider(answer)), error(code));
    assert.equal(client.state, "disconnected");
  }
});

test("a provider that never answers has failed", async (t) => {
  t.mock.method(Math, "random", () => 0);
  let calls = 0;
  const provide = () => (++calls === 1 ? "one" : new Promise(() => {}));
  const { events, socket } = await connectedPair(t, { token: provide, options: { timeout: 2_000 } });
  socket.send(expiring);
  assert.match((await events.next()).error.message, /no answer within 2000 ms/);
});
