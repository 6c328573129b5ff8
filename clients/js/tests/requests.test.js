import assert from "node:assert/strict";
import test from "node:test";
import { ReachabilityClient, ReachabilityError } from "../src/index.js";
import { channel, connectedPair, error, user } from "./support/pair.js";

test("queryUsers asks, and answers with the users of all parts", async (t) => {
  const { client, socket } = await connectedPair(t);
  const querying = client.queryUsers({ online: true }, [{ name: 1 }, { id: -1 }], { limit: 3, cursor: "page 2" });
  const { id, ...request } = await socket.take("query_users");
  const asked = {
    filter: { online: true },
    sort: [{ name: 1 }, { id: -1 }],
    limit: 3,
    cursor: "page 2",
    presence: false,
  };
  assert.deepEqual(request, { type: "query_users", ...asked });
  const [john, jack, jane] = ["john", "jack", "jane"].map((id) => user(id, { online: true }));
  socket.send({ type: "part", id, users: [john, jack] }, { type: "part", id, users: [jane] });
  socket.send({ type: "ok", id, count: 3, cursor: "page 3", index: "online" });
  const found = await querying;
  assert.deepEqual(
    found,
    [john, jack, jane].map((user) => ({ ...user, stale: false })),
  );
  assert.deepEqual([found.cursor, found.index], ["page 3", "online"]);
  // They are not watched, so nothing is kept.
  assert.deepEqual([...client.users.keys()], ["me"]);
  await found.stopWatching();
  assert.deepEqual(socket.unasked, []);
});

test("what is left out of a query is left to the server", async (t) => {
  const { client, socket } = await connectedPair(t);
  client.queryUsers().catch(() => {});
  const { id, ...request } = await socket.take("query_users");
  assert.deepEqual(request, { type: "query_users", filter: {}, presence: false });
});

test("queryChannels answers with channels and their members", async (t) => {
  const { client, socket } = await connectedPair(t);
  const querying = client.queryChannels({ members: { $in: ["john"] } }, { last_message_at: -1 }, { limit: 2 });
  const { id, ...request } = await socket.take("query_channels");
  const asked = { filter: { members: { $in: ["john"] } }, sort: { last_message_at: -1 }, limit: 2, presence: false };
  assert.deepEqual(request, { type: "query_channels", ...asked });
  const [john, jack] = [user("john", { online: true }), user("jack")];
  const large = Array.from({ length: 150 }, (_, number) => `user-${number}`);
  const small = channel("small", { members: ["john", "jack"], member_count: 2, custom: { color: "green" } });
  socket.send(
    { type: "part", id, users: [john, jack] },
    { type: "part", id, users: large.map((id) => user(id)) },
    { type: "part", id, channel: "messaging:large", members: large.slice(0, 100) },
    { type: "part", id, channel: "messaging:large", members: large.slice(100) },
    { type: "ok", id, channels: [small, channel("large", { member_count: 150 })], cursor: null, index: "members" },
  );
  const found = await querying;
  assert.deepEqual(
    found.map(({ cid }) => cid),
    ["messaging:small", "messaging:large"],
  );
  assert.deepEqual([found.cursor, found.index], [null, "members"]);
  assert.deepEqual(
    found[0].members,
    [john, jack].map((user) => ({ ...user, stale: false })),
  );
  assert.deepEqual(
    found[1].members.map(({ id }) => id),
    large,
  );
  assert.deepEqual(found[0].custom, { color: "green" });
  assert.deepEqual(
    [found[0].type, found[0].id, found[0].created_by, found[1].member_count],
    ["messaging", "small", "me", 150],
  );
  assert.equal(client.users.size, 1);
});

test("channel.watch creates the channel with its data", async (t) => {
  const { client, socket } = await connectedPair(t);
  const general = client.channel("messaging", "general", { members: ["john"], color: "green" });
  assert.deepEqual([general.cid, general.members, general.created_at], ["messaging:general", [], null]);
  const watching = general.watch();
  const { id, ...request } = await socket.take("watch_channel");
  assert.deepEqual(request, {
    type: "watch_channel",
    channel_type: "messaging",
    channel_id: "general",
    data: { members: ["john"], color: "green" },
    presence: false,
  });
  const found = channel("general", { members: ["john", "me"], member_count: 2, custom: { color: "green" } });
  socket.send(
    { type: "part", id, users: [user("john"), user("me")] },
    { type: "ok", id, channel: found, created: true },
  );
  const state = await watching;
  assert.equal(state.channel, general);
  assert.equal(state.created, true);
  assert.deepEqual(
    state.members.map(({ id }) => id),
    ["john", "me"],
  );
  assert.deepEqual(general.custom, { color: "green" });
});

test("members are added and removed", async (t) => {
  const { client, socket } = await connectedPair(t);
  const general = client.channel("messaging", "general");
  for (const [method, type, count] of [
    ["addMembers", "add_members", 3],
    ["removeMembers", "remove_members", 1],
  ]) {
    const changing = general[method](new Set(["jack", "jane"]));
    const { id, ...request } = await socket.take(type);
    assert.deepEqual(request, { type, channel_type: "messaging", channel_id: "general", members: ["jack", "jane"] });
    socket.send({ type: "ok", id, channel: channel("general", { member_count: count }) });
    assert.equal(await changing, general);
    assert.equal(general.member_count, count);
  }
});

test("an error of the server rejects the request it answers, with all it says", async (t) => {
  const { client, socket } = await connectedPair(t);
  const requests = [
    [() => client.queryUsers(), { code: "query_too_broad", message: "Too broad." }],
    [
      () => client.queryUsers({}, {}, { presence: true, limit: 9 }),
      { code: "too_many_users", message: "Too many.", limit: 5 },
    ],
    [() => client.queryChannels(), { code: "not_supported", message: "There are no channels here." }],
    [() => client.channel("messaging", "general").watch(), { code: "forbidden", message: "Not a member." }],
    [
      () => client.channel("messaging", "general").addMembers([]),
      { code: "too_many_requests", message: "Slow.", retry_after: 7 },
    ],
    [() => client.setUser({ status: "x" }), { code: "invalid_status", message: "No.", limit: 256 }],
  ];
  const asked = requests.map(([ask]) => ask().then(assert.fail, (error) => error));
  const ids = [];
  for (const _ of requests) ids.push((await socket.next()).id);
  // In another order than they were asked.
  requests
    .map(([, answer], index) => ({ type: "error", id: ids[index], ...answer }))
    .reverse()
    .forEach((answer) => socket.send(answer));
  for (const [index, refused] of (await Promise.all(asked)).entries()) {
    const { code, message, limit = null, retry_after = null } = requests[index][1];
    assert.ok(refused instanceof ReachabilityError && refused instanceof Error);
    const { name, retryAfter, twilioCode } = refused;
    assert.deepEqual(
      { name, code: refused.code, message: refused.message, limit: refused.limit, retryAfter, twilioCode },
      { name: "ReachabilityError", code, message, limit, retryAfter: retry_after, twilioCode: null },
    );
  }
});

test("an error that answers no request is an event", async (t) => {
  const { events, socket } = await connectedPair(t);
  socket.send(
    { type: "error", code: "invalid_message", message: "What?" },
    { type: "error", id: null, code: "unknown_type", message: "?" },
  );
  assert.equal((await events.next()).error.code, "invalid_message");
  assert.equal((await events.next()).error.code, "unknown_type");
});

test("ids grow with each request", async (t) => {
  const { client, socket } = await connectedPair(t);
  const ids = [];
  for (let count = 0; count < 3; count += 1) {
    client.queryUsers().catch(() => {});
    ids.push((await socket.take("query_users")).id);
  }
  assert.ok(ids[0] > 1 && ids[1] > ids[0] && ids[2] > ids[1], String(ids));
});

test("a request that is not answered times out, and a watch that it may have begun is ended", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { client, socket, events } = await connectedPair(t);
  const querying = client.queryUsers();
  await socket.take("query_users");
  t.mock.timers.tick(10_000);
  await assert.rejects(querying, error("timeout"));
  const watching = client.queryUsers({}, {}, { presence: true });
  const late = await socket.take("query_users");
  t.mock.timers.tick(10_000);
  await assert.rejects(watching, error("timeout"));
  const unwatch = await socket.take("unwatch");
  assert.equal(unwatch.watch, late.id);
  // Its answer comes too late to be of use.
  socket.send(
    { type: "part", id: late.id, users: [user("john")] },
    { type: "ok", id: late.id, count: 1, cursor: null },
  );
  socket.send({ type: "ok", id: unwatch.id }, { type: "error", code: "unavailable", message: "Said after it." });
  assert.equal((await events.next()).error.message, "Said after it.");
  assert.deepEqual([...client.users.keys()], ["me"]);
});

test("each part of an answer grants it more time", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { client, socket } = await connectedPair(t);
  const querying = client.queryUsers();
  const { id } = await socket.take("query_users");
  for (const name of ["john", "jack", "jane"]) {
    t.mock.timers.tick(9_000);
    const rejected = client.setUser({ status: name });
    const { id: other } = await socket.take("set_user");
    socket.send(
      { type: "part", id, users: [user(name)] },
      { type: "error", id: other, code: "unavailable", message: "" },
    );
    await assert.rejects(rejected, error("unavailable"));
  }
  socket.send({ type: "ok", id, count: 3, cursor: null, index: null });
  assert.equal((await querying).length, 3);
});

test("a request over 64 KiB is not sent", async (t) => {
  const { client, socket } = await connectedPair(t);
  const fits = { id: { $in: ["ä".repeat(30_000)] } };
  client.queryUsers(fits).catch(() => {});
  assert.deepEqual((await socket.take("query_users")).filter, fits);
  await assert.rejects(client.queryUsers({ id: { $in: ["ä".repeat(33_000)] } }), error("invalid_message"));
  await assert.rejects(client.queryUsers({ id: 1n }), TypeError);
  assert.deepEqual(socket.unasked, []);
});

test("a client that is not connected asks nothing", async () => {
  const client = new ReachabilityClient("http://127.0.0.1:1");
  const general = client.channel("messaging", "general");
  for (const asked of [client.queryUsers(), client.queryChannels(), general.watch(), general.addMembers(["john"])]) {
    await assert.rejects(asked, error("not_connected"));
  }
  await general.stopWatching();
});

test("a channel has a type and an id, and an event is one of those there are", () => {
  const client = new ReachabilityClient("http://127.0.0.1:1");
  for (const [type, id] of [[], ["messaging"], ["", "general"], ["messaging", 7]]) {
    assert.throws(() => client.channel(type, id), TypeError);
  }
  assert.throws(() => client.on("user.presence.change", () => {}), TypeError);
  assert.throws(() => client.on("error"), TypeError);
});
