import assert from "node:assert/strict";
import test from "node:test";
import { changed, channel, connected, pair, user } from "./support/pair.js";

// An app's first lines. Whoever changes them here changes them in the README as well.

const [john, jack] = ["john", "jack"].map((id) => user(id));

async function given(t) {
  const { server, client } = await pair(t);
  const connecting = client.setUser({ id: "me", invisible: true, status: "Eating a veggie burger..." }, "token");
  const socket = await server.socket();
  const connect = await socket.take("connect");
  assert.deepEqual([connect.invisible, connect.status], [true, "Eating a veggie burger..."]);
  socket.send(connected(connect));
  await connecting;
  return { client, socket };
}

/** Both come online, which `on` hears. Then it unsubscribes, and both go, which only the client hears. */
async function hears({ client, socket }, on) {
  const heard = [];
  const said = (event) => `${event.user.id} ${event.user.online}`;
  const subscription = on("user.presence.changed", (event) => heard.push(said(event)));
  const tell = async (online, revision) => {
    const all = new Promise((done) =>
      client.on("user.presence.changed", (event) => said(event) === `jack ${online}` && done()),
    );
    socket.send(...[john, jack].map((user) => changed({ ...user, online, revision })));
    await all;
  };
  await tell(true, 2);
  subscription.unsubscribe();
  await tell(false, 3);
  assert.deepEqual(heard, ["john true", "jack true"]);
}

test("channel.watch({presence: true})", async (t) => {
  const { client, socket } = await given(t);
  const answering = socket.take("watch_channel").then(({ id, data, presence }) => {
    assert.deepEqual([data, presence], [{ members: ["john", "jack"], color: "green" }, true]);
    const found = channel("general", { members: ["john", "jack"], custom: { color: "green" } });
    socket.send({ type: "part", id, users: [john, jack] }, { type: "ok", id, channel: found, created: true });
  });

  const general = client.channel("messaging", "general", { members: ["john", "jack"], color: "green" });
  const state = await general.watch({ presence: true });

  await answering;
  assert.deepEqual(
    state.members.map(({ id }) => id),
    ["john", "jack"],
  );
  await hears({ client, socket }, (...all) => general.on(...all));
});

test("queryChannels(filter, sort, {presence: true})", async (t) => {
  const { client, socket } = await given(t);
  const answering = socket.take("query_channels").then(({ id, filter, sort, presence }) => {
    assert.deepEqual([filter, sort, presence], [{ color: "green" }, { last_message_at: -1 }, true]);
    const channels = [channel("general", { members: ["john", "jack"] })];
    socket.send(
      { type: "part", id, users: [john, jack] },
      { type: "ok", id, channels, cursor: null, index: "members" },
    );
  });

  const channels = await client.queryChannels({ color: "green" }, { last_message_at: -1 }, { presence: true });

  await answering;
  assert.deepEqual(
    channels.map(({ cid }) => cid),
    ["messaging:general"],
  );
  await hears({ client, socket }, (...all) => client.on(...all));
});

test("queryUsers(filter, sort, {presence: true})", async (t) => {
  const { client, socket } = await given(t);
  const answering = socket.take("query_users").then(({ id, filter, sort, presence }) => {
    assert.deepEqual([filter, sort, presence], [{ id: { $in: ["john", "jack"] } }, { id: 1 }, true]);
    socket.send({ type: "part", id, users: [john, jack] }, { type: "ok", id, count: 2, cursor: null, index: "id" });
  });

  const users = await client.queryUsers({ id: { $in: ["john", "jack"] } }, { id: 1 }, { presence: true });

  await answering;
  assert.deepEqual(
    users.map(({ id }) => id),
    ["john", "jack"],
  );
  await hears({ client, socket }, (...all) => client.on(...all));
});
