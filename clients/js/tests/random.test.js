import assert from "node:assert/strict";
import test from "node:test";
import { ReachabilityClient } from "../src/index.js";
import { channel, connected, user } from "./support/pair.js";

// What may happen, in random orders, against a model of the server: in the end the client sees the truth, and on the way
// it told nothing twice and nothing out of order.

const IDS = ["me", "a", "b", "c", "d"];
const CHANNELS = ["x", "y"];
const RUNS = 200;
const STEPS = 60;

/** Numbers below 1 that the seed determines (mulberry32). */
function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

class Model {
  #revision = 1;
  /** What is still to be told, in the order in which it happened. */
  #events = [];
  users = new Map(IDS.map((id) => [id, user(id)]));
  channels = new Map(CHANNELS.map((name) => [`messaging:${name}`, new Set(["me", "a"])]));
  /** The connection: what is on its way to the client, answers that are not made yet, and watches. */
  socket = null;

  constructor(draw) {
    this.draw = draw;
  }

  pick(all) {
    return all[Math.floor(this.draw() * all.length)];
  }

  shown(id) {
    return { ...(this.users.get(id) ?? user(id, { online: null, created_at: null, revision: 0 })) };
  }

  isWatched(id) {
    return [...(this.socket?.watches.values() ?? [])].some(
      ({ users, channels }) => users?.has(id) || [...(channels ?? [])].some((cid) => this.channels.get(cid)?.has(id)),
    );
  }

  changeUser() {
    const id = this.pick(IDS);
    const before = this.users.get(id);
    if (before && id !== "me" && this.draw() < 0.2) {
      this.users.delete(id);
      const deleted = { type: "user.deleted", id, revision: (this.#revision += 1), at: null };
      this.#events.push([deleted, () => this.isWatched(id)]);
      return;
    }
    const isRenamed = before && this.draw() < 0.3;
    const change = isRenamed
      ? { name: `name ${this.#revision}` }
      : { online: !before?.online, status: `status ${this.#revision}` };
    const after = { ...(before ?? user(id)), ...change, revision: (this.#revision += 1) };
    this.users.set(id, after);
    const type = isRenamed ? "user.updated" : "user.presence.changed";
    this.#events.push([{ type, user: this.shown(id), at: null }, () => this.isWatched(id)]);
  }

  changeMembers() {
    const [cid, id] = [this.pick([...this.channels.keys()]), this.pick(IDS.slice(1))];
    if (!cid) return;
    const members = this.channels.get(cid);
    const isTold = () => [...this.socket.watches.values()].some(({ channels }) => channels?.has(cid));
    if (members.delete(id)) this.#events.push([{ type: "member.removed", cid, id }, isTold]);
    else {
      members.add(id);
      this.#events.push([{ type: "member.added", cid, user: this.shown(id) }, isTold]);
    }
  }

  /** Tells the oldest changes: whoever watches by now hears of them, in an answer perhaps for the second time. */
  tell(count) {
    for (const [message, isTold] of this.#events.splice(0, count)) if (this.socket && isTold()) this.say(message);
  }

  say(...messages) {
    this.socket.outbox.push(...messages);
  }

  /** A watch begins when it is asked for. Its answer is made then, and may be sent later. */
  hear(message) {
    const { id, type } = message;
    const { watches, answers } = this.socket;
    const later = (...messages) => answers.push(messages);
    const part = (ids) => ({ type: "part", id, users: [...ids].map((id) => this.shown(id)) });
    if (type === "connect") return this.say(connected(message, { user: { ...this.shown("me"), invisible: false } }));
    if (type === "query_users") {
      const users = new Set(message.filter.id.$in.filter((id) => this.users.has(id)));
      watches.set(id, { users });
      return later(part(users), { type: "ok", id, count: users.size, cursor: null, index: "id" });
    }
    if (type === "watch_channel") {
      const cid = `${message.channel_type}:${message.channel_id}`;
      watches.set(id, { channels: new Set([cid]) });
      const members = [...this.channels.get(cid)];
      return later(part(members), {
        type: "ok",
        id,
        channel: channel(message.channel_id, { members }),
        created: false,
      });
    }
    if (type === "restore") {
      const members = new Map();
      const ids = new Set();
      for (const { watch, users, channels } of message.watches) {
        watches.set(watch, { users: users && new Set(users), channels: channels && new Set(channels) });
        users?.forEach((id) => ids.add(id));
        for (const cid of channels ?? []) members.set(cid, [...this.channels.get(cid)]);
      }
      for (const all of members.values()) all.forEach((id) => ids.add(id));
      const changed = [...ids].filter((id) => message.known[id] !== this.shown(id).revision);
      const parts = [...members].map(([channel, members]) => ({ type: "part", id, channel, members }));
      return later(part(changed), ...parts, { type: "ok", id, gone: [] });
    }
    if (type === "unwatch") watches.delete(message.watch);
    if (type === "close") this.cut();
    else this.say({ type: "ok", id });
  }

  /** Sends the oldest answer that was made. */
  answer() {
    const messages = this.socket?.answers.shift();
    if (messages) this.say(...messages);
  }

  deliver(count) {
    for (const message of this.socket?.outbox.splice(0, count) ?? []) {
      this.socket?.client.dispatchEvent(Object.assign(new Event("message"), { data: JSON.stringify(message) }));
    }
  }

  cut() {
    const client = this.socket?.client;
    this.socket = null;
    client?.dispatchEvent(Object.assign(new Event("close"), { code: 1006, reason: "" }));
  }
}

/** A WebSocket whose other end is the model. */
const socketOf = (model) =>
  class extends EventTarget {
    readyState = 1;
    constructor() {
      super();
      model.socket = { client: this, outbox: [], answers: [], watches: new Map() };
      queueMicrotask(() => this.dispatchEvent(new Event("open")));
    }
    send(text) {
      if (model.socket?.client === this) model.hear(JSON.parse(text));
    }
    close() {
      if (model.socket?.client === this) model.socket = null;
    }
  };

const turn = () => new Promise(setImmediate);

/** Gives everything its time, until the client is connected and nothing is on its way. */
async function settle(model, client) {
  for (let quiet = 0; quiet < 3;) {
    model.tell(100);
    model.answer();
    model.deliver(100);
    await turn();
    const { outbox, answers } = model.socket ?? {};
    quiet = client.state === "connected" && outbox?.length === 0 && answers.length === 0 ? quiet + 1 : 0;
  }
}

async function run(seed) {
  const draw = random(seed);
  const model = new Model(draw);
  const client = new ReachabilityClient("ws://model", { WebSocket: socketOf(model) });
  try {
    await live(model, client, draw);
  } finally {
    await client.disconnectUser();
  }
}

async function live(model, client, draw) {
  const told = new Map();
  client.on("user.presence.changed", ({ user }) => tell(user));
  client.on("user.updated", ({ user }) => tell(user));
  const tell = (user) => {
    const before = told.get(user.id);
    assert.ok(!(before?.revision > user.revision), `${user.id}: ${user.revision} after ${before?.revision}`);
    told.set(user.id, { ...user });
  };
  const members = new Map();
  for (const [type, isMember] of [
    ["member.added", true],
    ["member.removed", false],
  ]) {
    client.on(type, ({ cid, id, user }) => {
      const key = `${cid} ${id ?? user.id}`;
      assert.notEqual(members.get(key), isMember, `${type} ${key} twice`);
      members.set(key, isMember);
    });
  }
  const connecting = client.connectUser({ id: "me" }, "token");
  await settle(model, client);
  await connecting;

  const watching = new Set();
  const begin = (promise) =>
    void promise.then(
      (watched) => watching.add(watched.channel ?? watched),
      () => {},
    );
  const steps = [
    () => model.changeUser(),
    () => model.changeUser(),
    () => model.socket && model.changeMembers(),
    () => model.answer(),
    () => model.tell(1 + Math.floor(draw() * 3)),
    () => model.deliver(1 + Math.floor(draw() * 4)),
    () => model.deliver(100),
    () => draw() < 0.3 && model.cut(),
    () => begin(client.queryUsers({ id: { $in: IDS.filter(() => draw() < 0.5) } }, {}, { presence: true })),
    () => begin(client.channel("messaging", model.pick(CHANNELS)).watch({ presence: true })),
    () => {
      const watched = model.pick([...watching]);
      watching.delete(watched);
      members.clear();
      watched?.stopWatching().catch(() => {});
    },
    turn,
  ];
  for (let step = 0; step < STEPS; step += 1) await model.pick(steps)();
  await settle(model, client);
  judge(model, client, watching);
}

function judge(model, client, watching) {
  const expected = new Set(["me"]);
  for (const watched of watching) {
    if (watched.cid) {
      assert.deepEqual(
        watched.members.map(({ id }) => id).sort(),
        [...model.channels.get(watched.cid)].sort(),
        watched.cid,
      );
    }
    for (const { id } of watched.cid ? watched.members : watched) expected.add(id);
  }
  assert.deepEqual([...client.users.keys()].sort(), [...expected].sort(), "known users");
  for (const [id, seen] of client.users) {
    if (id === "me" && !model.isWatched(id)) continue;
    const { revision, ...truth } = model.shown(id);
    const { revision: mine, invisible, ...view } = seen;
    assert.deepEqual(view, { ...truth, stale: false }, `${id}: ${mine}, ${revision}`);
  }
}

test(`${RUNS} random runs end with the truth`, async (t) => {
  // Attempts follow at once.
  t.mock.method(Math, "random", () => 0);
  for (let seed = 1; seed <= RUNS; seed += 1) {
    try {
      await run(seed);
    } catch (error) {
      error.message = `seed ${seed}: ${error.message}`;
      throw error;
    }
  }
});
