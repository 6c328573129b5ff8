import assert from "node:assert/strict";
import test from "node:test";
import { eventsUntilNow, short } from "./support/events.js";
import { again, changed, channel, connectedPair, user, watchChannel, watchUsers } from "./support/pair.js";

test("who joins a watched channel is watched, until they leave", async (t) => {
  const { client, events, socket } = await connectedPair(t);
  const general = await watchChannel({ client, socket }, "general", user("me"), user("john"));
  const other = await watchChannel({ client, socket }, "other", user("me"));
  assert.deepEqual(
    general.members.map(({ id }) => id),
    ["me", "john"],
  );
  const jack = user("jack", { online: true });
  const heard = [];
  for (const type of ["member.added", "member.removed", "user.presence.changed"]) {
    general.on(type, (event) => heard.push(`general ${short(event)}`));
    other.on(type, (event) => heard.push(`other ${short(event)}`));
  }
  socket.send(
    { type: "member.added", cid: general.cid, user: jack },
    { type: "member.added", cid: general.cid, user: jack },
    changed({ ...jack, online: false, revision: 2 }),
    { type: "member.removed", cid: general.cid, id: "jack" },
    { type: "member.removed", cid: general.cid, id: "jack" },
    changed({ ...jack, revision: 3 }),
    changed(user("john", { online: true, revision: 2 })),
  );
  const expected = [
    "member.added messaging:general jack 1",
    "user.presence.changed jack 2",
    "member.removed messaging:general jack",
    "user.presence.changed john 2",
  ];
  assert.deepEqual((await eventsUntilNow(events, socket)).map(short), expected);
  assert.deepEqual(
    heard,
    expected.map((event) => `general ${event}`),
  );
  assert.deepEqual(
    general.members.map(({ id }) => id),
    ["me", "john"],
  );
  assert.deepEqual([...client.users.keys()], ["me", "john"]);
});

test("who joins or leaves while the answer to a watch is on its way is not mistaken", async (t) => {
  const { client, events, socket } = await connectedPair(t);
  const general = client.channel("messaging", "general");
  const watching = general.watch({ presence: true });
  const { id } = await socket.take("watch_channel");
  const cid = general.cid;
  const found = channel("general", { members: ["me", "john"] });
  socket.send(
    { type: "member.added", cid, user: user("jack") },
    { type: "member.removed", cid, id: "john" },
    { type: "part", id, users: [user("me"), user("john")] },
    { type: "ok", id, channel: found, created: false },
  );
  const { members } = await watching;
  assert.deepEqual(
    members.map(({ id }) => id),
    ["me", "jack"],
  );
  assert.deepEqual(await eventsUntilNow(events, socket), []);
});

test("a member for whom there is no user yet is one with nothing known", async (t) => {
  const { client, events, socket } = await connectedPair(t);
  const nobody = user("jack", { online: null, created_at: null, revision: 0 });
  const general = await watchChannel({ client, socket }, "general", user("me"), nobody);
  assert.deepEqual(general.members[1], { ...nobody, stale: false });
  socket.send(changed(user("jack", { online: true, revision: 1 })));
  assert.equal((await events.next()).user.online, true);
});

test("a channel that is gone is told once, and its members are forgotten", async (t) => {
  const { client, events, socket } = await connectedPair(t);
  const general = await watchChannel({ client, socket }, "general", user("me"), user("john"));
  await watchUsers({ client, socket }, user("jack"));
  const heard = [];
  general.on("channel.deleted", (event) => heard.push(event));
  socket.send({ type: "channel.deleted", cid: general.cid }, { type: "channel.deleted", cid: general.cid });
  assert.deepEqual(await eventsUntilNow(events, socket), [{ type: "channel.deleted", cid: general.cid }]);
  assert.equal(heard.length, 1);
  assert.deepEqual(general.members, []);
  assert.deepEqual([...client.users.keys()], ["me", "jack"]);
  await general.stopWatching();
  assert.deepEqual(socket.unasked, []);
});

test("a channel is watched until the last watch of it ends", async (t) => {
  const { client, events, socket } = await connectedPair(t);
  const general = await watchChannel({ client, socket }, "general", user("me"), user("john"));
  const querying = client.queryChannels({}, {}, { presence: true });
  const { id } = await socket.take("query_channels");
  const channels = ["general", "other"].map((name) => channel(name, { members: ["me", "john"] }));
  socket.send(
    { type: "part", id, users: [user("me"), user("john")] },
    { type: "ok", id, channels, cursor: null, index: "members" },
  );
  const found = await querying;
  const acknowledge = async () => {
    const unwatch = await socket.take("unwatch");
    socket.send({ type: "ok", id: unwatch.id });
    return unwatch.watch;
  };
  // One channel of two: nothing to tell the server.
  await found[0].stopWatching();
  assert.deepEqual(
    found[0].members.map(({ id }) => id),
    ["me", "john"],
  );
  const first = general.stopWatching();
  assert.notEqual(await acknowledge(), id);
  await first;
  assert.equal(client.users.has("john"), true);
  socket.send({ type: "member.added", cid: general.cid, user: user("jack") });
  const second = found[1].stopWatching();
  assert.equal(await acknowledge(), id);
  await second;
  assert.deepEqual([...client.users.keys()], ["me"]);
  assert.deepEqual(await eventsUntilNow(events, socket), []);
});

test("to watch a channel again ends its earlier watch", async (t) => {
  const { client, socket } = await connectedPair(t);
  const general = await watchChannel({ client, socket }, "general", user("me"), user("john"));
  const watching = general.watch({ presence: true });
  const { id } = await socket.take("watch_channel");
  const found = channel("general", { members: ["me", "john"] });
  socket.send(
    { type: "part", id, users: [user("me"), user("john")] },
    { type: "ok", id, channel: found, created: false },
  );
  await watching;
  assert.ok((await socket.take("unwatch")).watch < id);
  assert.deepEqual(
    general.members.map(({ id }) => id),
    ["me", "john"],
  );
});
