import { MOST_BYTES_OF_RESTORE, bytes } from "./requests.js";

/** What a message has besides its watches: type and id. */
const ENVELOPE_BYTES = 100;

/**
 * What this client watches. A watch is named by the request that began it and is of users, or of channels, which are of
 * their members. Several watches may have the same channel.
 */
export class Watches {
  /** By the watch's number: `{ number, users: Set of ids | null, channels: Set of cids | null }`. */
  #watches = new Map();
  /** By cid: `{ members: Set of ids, watches: how many have it }`. */
  #channels = new Map();
  /** Who came and who went: `{ cid, id, isMember, after }`. */
  #heard;
  #users;
  #tell;

  constructor(users, heard, tell) {
    this.#users = users;
    this.#heard = heard;
    this.#tell = tell;
  }

  /** Resolves the users of an answer: `watch` is null without presence. */
  ofUsers(number, found, hasPresence) {
    const byId = new Map(found.map((data) => [data.id, data]));
    if (!hasPresence) return { watch: null, users: [...byId.values()].map((data) => this.#users.show(number, data)) };
    const watch = { number, users: new Set(byId.keys()), channels: null };
    this.#watches.set(number, watch);
    return { watch, users: [...byId].map(([id, data]) => this.#users.hold(number, id, data)) };
  }

  /** `channels`: ids of members by cid. `found`: users among them. */
  ofChannels(number, channels, found) {
    const watch = { number, users: null, channels: new Set(channels.keys()) };
    this.#watches.set(number, watch);
    const byId = new Map(found.map((data) => [data.id, data]));
    for (const [cid, ids] of channels) {
      if (!this.#channels.has(cid)) this.#channels.set(cid, { members: new Set(), watches: 0, isNew: true });
      const channel = this.#channels.get(cid);
      channel.watches += 1;
      this.#set(number, cid, ids, byId);
      channel.isNew = false;
    }
    return watch;
  }

  /** Ids of the members of a watched channel; null of another. */
  members(cid) {
    return this.#channels.get(cid)?.members ?? null;
  }

  has(watch) {
    return watch !== null && this.#watches.get(watch.number) === watch;
  }

  /** Returns whether the server has to hear of it. */
  end(watch) {
    if (!this.has(watch)) return false;
    this.#watches.delete(watch.number);
    for (const id of watch.users ?? []) this.#users.release(id);
    for (const cid of watch.channels ?? []) this.#leave(cid);
    return true;
  }

  /** Ends a watch for one of its channels: for the server, with the last of them. Returns whether it has to hear of it. */
  endOne(watch, cid) {
    if (!this.has(watch) || !watch.channels.delete(cid)) return false;
    this.#leave(cid);
    return watch.channels.size === 0 && this.end(watch);
  }

  clear() {
    this.#watches.clear();
    this.#channels.clear();
  }

  added({ cid, user }) {
    this.#hear(cid, user.id, true);
    this.#users.take(user);
    const channel = this.#channels.get(cid);
    if (channel && !channel.members.has(user.id)) this.#join(0, cid, channel, user.id, user);
  }

  removed({ cid, id }) {
    this.#hear(cid, id, false);
    const channel = this.#channels.get(cid);
    if (channel?.members.has(id)) this.#part(cid, channel, id);
  }

  deleted({ cid }) {
    const channel = this.#channels.get(cid);
    if (!channel) return;
    this.#channels.delete(cid);
    for (const watch of this.#watches.values()) {
      if (watch.channels?.delete(cid) && watch.channels.size === 0) this.#watches.delete(watch.number);
    }
    for (const id of channel.members) this.#users.release(id);
    this.#tell({ type: "channel.deleted", cid });
  }

  /** The fields of the `restore` message for all watches: of several, if one would be too large. */
  toRestore() {
    const all = [...this.#watches.values()].filter(({ users, channels }) => (users ?? channels).size > 0);
    const fits = (fields) => bytes(JSON.stringify(fields)) + ENVELOPE_BYTES <= MOST_BYTES_OF_RESTORE;
    const messages = [];
    const split = (watches) => {
      if (watches.length === 0) return;
      const fields = this.#fields(watches);
      if (fits(fields)) messages.push(fields);
      // Then all of its users are told again.
      else if (watches.length === 1) messages.push({ ...fields, known: {} });
      else {
        const half = Math.ceil(watches.length / 2);
        split(watches.slice(0, half));
        split(watches.slice(half));
      }
    };
    split(all);
    return messages;
  }

  /** The answer to one of these messages: what changed meanwhile is told. */
  restored({ watches }, { gone = [] }, { id: request, users, members }) {
    for (const cid of gone) this.deleted({ cid });
    for (const data of users) this.#users.takeRestored(request, data);
    const byId = new Map(users.map((data) => [data.id, data]));
    for (const [cid, ids] of members) if (this.#channels.has(cid)) this.#set(request, cid, ids, byId);
    this.#users.refresh(this.#idsOf(watches));
  }

  #fields(watches) {
    const named = watches.map(({ number, users, channels }) => {
      return users ? { watch: number, users: [...users] } : { watch: number, channels: [...channels] };
    });
    return { watches: named, known: this.#users.revisions(this.#idsOf(named)) };
  }

  #idsOf(watches) {
    const ids = new Set();
    for (const { users = [], channels = [] } of watches) {
      for (const id of users) if (this.#users.known.has(id)) ids.add(id);
      for (const cid of channels) for (const id of this.#channels.get(cid)?.members ?? []) ids.add(id);
    }
    return ids;
  }

  // Members are as an answer says, but for what was heard while it was on its way.
  #set(request, cid, ids, byId) {
    const channel = this.#channels.get(cid);
    const now = new Set(ids);
    for (const heard of this.#heard.all(request)) {
      if (heard.cid !== cid) continue;
      if (heard.isMember) now.add(heard.id);
      else now.delete(heard.id);
    }
    for (const id of now) if (!channel.members.has(id)) this.#join(request, cid, channel, id, byId.get(id));
    for (const id of [...channel.members]) if (!now.has(id)) this.#part(cid, channel, id);
    if (!channel.isNew) for (const id of now) if (byId.has(id)) this.#users.show(request, byId.get(id));
  }

  #join(request, cid, channel, id, data) {
    channel.members.add(id);
    const user = this.#users.hold(request, id, data);
    if (!channel.isNew) this.#tell({ type: "member.added", cid, user });
  }

  #part(cid, channel, id) {
    channel.members.delete(id);
    this.#users.release(id);
    this.#tell({ type: "member.removed", cid, id });
  }

  #leave(cid) {
    const channel = this.#channels.get(cid);
    channel.watches -= 1;
    if (channel.watches > 0) return;
    this.#channels.delete(cid);
    for (const id of channel.members) this.#users.release(id);
  }

  #hear(cid, id, isMember) {
    this.#heard.set(`${id} ${cid}`, { cid, id, isMember, after: this.#heard.now });
  }
}
