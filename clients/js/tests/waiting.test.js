import assert from "node:assert/strict";
import test from "node:test";
import { again, channel, connectedPair, error, user } from "./support/pair.js";

/** What a client asks for so that nothing else can be on its way. */
async function flushed({ client, socket }) {
  client.queryUsers({}, {}, { limit: 1 }).catch(() => {});
  await socket.take("query_users");
}

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
  socket.send(
    { type: "part", id: query.id, users: [user("john")] },
    { type: "ok", id: query.id, count: 1, cursor: null, index: "online" },
  );
  socket.send({ type: "ok", id: add.id, channel: channel("general", { member_count: 2 }) });
  assert.deepEqual(
    (await watching).map(({ id }) => id),
    ["john"],
  );
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

test("a message that the server takes offence at is not repeated", async (t) => {
  t.mock.method(Math, "random", () => 0);
  for (const [code, word] of [
    [4400, "invalid_message"],
    [1008, "too_many_requests"],
  ]) {
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
