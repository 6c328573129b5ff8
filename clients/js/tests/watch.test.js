import assert from "node:assert/strict";
import test from "node:test";
import { eventsUntilNow, short } from "./support/events.js";
import { again, changed, connectedPair, error, user, watchChannel, watchUsers } from "./support/pair.js";

test("watched users are kept up to date, and each change is an event", async (t) => {
  const { client, events, socket } = await connectedPair(t);
  const found = await watchUsers({ client, socket }, user("john"), user("jack"));
  const john = client.users.get("john");
  assert.equal(found[0], john);
  const online = user("john", { online: true, status: "Eating", last_active: "2026-06-01T00:00:00.000Z", revision: 2 });
  const renamed = { ...online, name: "John", revision: 3 };
  socket.send(changed(online), { type: "user.updated", user: renamed, at: "2026-06-02T00:00:00.000Z" });
  assert.deepEqual(await events.next(), {
    type: "user.presence.changed",
    user: { ...online, stale: false },
    at: "2026-06-01T00:00:00.000Z",
  });
  assert.deepEqual(await events.next(), {
    type: "user.updated",
    user: { ...renamed, stale: false },
    at: "2026-06-02T00:00:00.000Z",
  });
  assert.equal(client.users.get("john"), john);
  assert.deepEqual([john.name, john.status], ["John", "Eating"]);
});

test("an older revision is never told after a newer one, and none is told twice", async (t) => {
  const { client, events, socket } = await connectedPair(t);
  await watchUsers({ client, socket }, user("john", { revision: 5 }));
  const at = (revision) => changed(user("john", { online: revision % 2 === 1, status: String(revision), revision }));
  const order = [5, 7, 6, 7, 9, 8, 3, 9, 10];
  socket.send(...order.map(at));
  const told = await eventsUntilNow(events, socket);
  assert.deepEqual(
    told.map(({ user }) => user.revision),
    [7, 9, 10],
  );
  assert.equal(client.users.get("john").status, "10");
});

test("a change that an answer brings is told once", async (t) => {
  const { client, events, socket } = await connectedPair(t);
  const found = await watchUsers({ client, socket }, user("john"));
  const newer = user("john", { online: true, name: "John", revision: 2 });
  // It comes with the answer to another query, and then again as the message that was on its way.
  const querying = client.queryUsers({ id: "john" });
  const { id } = await socket.take("query_users");
  socket.send(
    { type: "part", id, users: [newer] },
    { type: "ok", id, count: 1, cursor: null, index: "id" },
    changed(newer),
  );
  const [same] = await querying;
  assert.equal(same, found[0]);
  const told = await eventsUntilNow(events, socket);
  assert.deepEqual(told.map(short), ["user.presence.changed john 2", "user.updated john 2"]);
  assert.equal(told[0].at, null);
});

test("the tick of last_active is no event", async (t) => {
  const { client, events, socket } = await connectedPair(t);
  const online = user("john", { online: true, last_active: "2026-06-01T00:00:00.000Z" });
  await watchUsers({ client, socket }, online);
  for (const [minute, revision] of [
    ["15", 1],
    ["30", 2],
  ]) {
    const ticked = { ...online, last_active: `2026-06-01T00:${minute}:00.000Z`, revision };
    await watchUsers({ client, socket }, ticked);
    assert.equal(client.users.get("john").last_active, ticked.last_active);
  }
  await watchUsers({ client, socket }, { ...online, revision: 2 });
  assert.equal(client.users.get("john").last_active, "2026-06-01T00:30:00.000Z");
  assert.deepEqual(await eventsUntilNow(events, socket), []);
});

test("whether the own user is invisible is told, whatever of the answer and the event comes first", async (t) => {
  const { client, events, socket } = await connectedPair(t);
  const online = { ...user("me", { online: true }), invisible: false };
  await watchUsers({ client, socket }, online);
  const setting = client.setUser({ invisible: true });
  const { id } = await socket.take("set_user");
  const hidden = { ...online, invisible: true, revision: 2 };
  socket.send({ type: "ok", id, user: hidden }, changed(hidden));
  assert.equal((await setting).invisible, true);
  socket.send(changed({ ...online, revision: 3 }));
  const told = await eventsUntilNow(events, socket);
  assert.deepEqual(told.map(short), ["user.presence.changed me 2", "user.presence.changed me 3"]);
});

test("what is heard before the answer to a watch is not lost", async (t) => {
  const { client, events, socket } = await connectedPair(t);
  const querying = client.queryUsers({}, {}, { presence: true });
  const { id } = await socket.take("query_users");
  const older = ["john", "jack", "jane"].map((id) => user(id));
  socket.send(
    changed(user("john", { online: true, revision: 3 })),
    changed(user("john", { revision: 2 })),
    { type: "user.deleted", id: "jane", at: null },
    { type: "part", id, users: older },
    changed(user("jack", { online: true, revision: 2 })),
    { type: "ok", id, count: 3, cursor: null, index: null },
    changed(user("john", { online: true, revision: 3 })),
  );
  const found = await querying;
  assert.deepEqual(
    found.map(({ id, online, revision }) => [id, online, revision]),
    [
      ["john", true, 3],
      ["jack", true, 2],
      ["jane", null, 0],
    ],
  );
  // They are part of the answer.
  assert.deepEqual(await eventsUntilNow(events, socket), []);
});

test("who is not watched is not told of, and is forgotten", async (t) => {
  const { client, events, socket } = await connectedPair(t);
  const first = await watchUsers({ client, socket }, user("john"), user("jack"));
  const second = await watchUsers({ client, socket }, user("jack"));
  assert.deepEqual([...client.users.keys()], ["me", "john", "jack"]);
  const stopping = first.stopWatching();
  assert.deepEqual([...client.users.keys()], ["me", "jack"]);
  const unwatch = await socket.take("unwatch");
  // Said before the server knew.
  socket.send(
    changed(user("john", { online: true, revision: 2 })),
    changed(user("jack", { online: true, revision: 2 })),
  );
  socket.send({ type: "ok", id: unwatch.id });
  await stopping;
  assert.deepEqual((await eventsUntilNow(events, socket)).map(short), ["user.presence.changed jack 2"]);
  await first.stopWatching();
  const ending = second.stopWatching();
  const { id, watch } = await socket.take("unwatch");
  assert.notEqual(watch, unwatch.watch);
  socket.send({ type: "ok", id });
  await ending;
  assert.deepEqual([...client.users.keys()], ["me"]);
});

test("the own user is told of only if it is watched", async (t) => {
  const { client, events, socket } = await connectedPair(t);
  const own = (revision) => ({ ...user("me", { online: true, status: String(revision), revision }), invisible: true });
  const set = async (revision) => {
    const setting = client.setUser({ status: String(revision) });
    const { id } = await socket.take("set_user");
    socket.send({ type: "ok", id, user: own(revision) });
    await setting;
  };
  await set(2);
  const found = await watchUsers({ client, socket }, own(2));
  assert.equal(found[0], client.user);
  await set(3);
  socket.send(changed(own(3)), changed(own(4)));
  const told = await eventsUntilNow(events, socket);
  assert.deepEqual(told.map(short), ["user.presence.changed me 3", "user.presence.changed me 4"]);
  assert.deepEqual([client.user.invisible, client.user.status], [true, "4"]);
});

test("a user who is deleted is told of once, and can come again", async (t) => {
  const { client, events, socket } = await connectedPair(t);
  const general = await watchChannel(
    { client, socket },
    "general",
    user("me"),
    user("john", { online: true, revision: 5 }),
  );
  const deleted = { type: "user.deleted", id: "john", at: "2026-06-01T00:00:00.000Z" };
  socket.send(deleted, deleted, changed(user("john", { online: true, revision: 4 })));
  assert.deepEqual(await eventsUntilNow(events, socket), [deleted]);
  assert.deepEqual([general.members[1].online, general.members[1].created_at], [null, null]);
  socket.send(changed(user("john", { online: true, revision: 6 })));
  assert.deepEqual((await eventsUntilNow(events, socket)).map(short), ["user.presence.changed john 6"]);
});

test("a deletion is older than the user who is there again", async (t) => {
  const { client, events, socket } = await connectedPair(t);
  const deleted = { type: "user.deleted", id: "john", revision: 6, at: null };
  const [john] = await watchUsers({ client, socket }, user("john", { revision: 5 }));
  // An answer overtakes it,
  const online = user("john", { online: true, revision: 8 });
  await watchUsers({ client, socket }, online);
  socket.send(deleted, changed(online));
  assert.deepEqual((await eventsUntilNow(events, socket)).map(short), ["user.presence.changed john 8"]);
  assert.equal(john.online, true);
  // or it overtakes one.
  const querying = client.queryUsers({}, {}, { presence: true });
  const { id } = await socket.take("query_users");
  const jack = (revision) => user("jack", { online: true, revision });
  const users = [user("jane", { revision: 5 }), jack(8)];
  socket.send({ ...deleted, id: "jane" }, { ...deleted, id: "jack" }, { type: "part", id, users });
  socket.send({ type: "ok", id, count: 2, cursor: null, index: null });
  assert.deepEqual(
    (await querying).map(({ online, created_at }) => [online, created_at === null]),
    [
      [null, true],
      [true, false],
    ],
  );
});

test("a listener hears until it unsubscribes, and one that throws keeps nothing from others", async (t) => {
  const { client, events, socket } = await connectedPair(t);
  await watchUsers({ client, socket }, user("john"));
  const { queueMicrotask } = globalThis;
  const thrown = new Promise((resolve) => {
    const catching = (task) => () => {
      try {
        task();
      } catch (error) {
        resolve(error);
      }
    };
    t.mock.method(globalThis, "queueMicrotask", (task) => queueMicrotask(catching(task)));
  });
  const heard = [];
  const subscription = client.on("user.presence.changed", () => {
    throw new Error("of a listener");
  });
  const listener = ({ user }) => heard.push(user.revision);
  const [once, twice] = [client.on("user.presence.changed", listener), client.on("user.presence.changed", listener)];
  socket.send(changed(user("john", { online: true, revision: 2 })));
  assert.equal((await thrown).message, "of a listener");
  subscription.unsubscribe();
  once.unsubscribe();
  once.unsubscribe();
  socket.send(changed(user("john", { revision: 3 })));
  await eventsUntilNow(events, socket);
  twice.unsubscribe();
  socket.send(changed(user("john", { online: true, revision: 4 })));
  await eventsUntilNow(events, socket);
  assert.deepEqual(heard, [2, 2, 3]);
});
