const FIELDS = ["custom", "member_count", "created_by", "created_at", "updated_at", "last_message_at"];

/** Takes in what an answer says of a channel; `members` are its users if there is no watch. Not for applications. */
export let absorb;

/** One channel. It tells what happens in it while it is watched; until then it is only a name. */
export class Channel {
  #core;
  #data;
  #watch = null;
  /** As the last answer said, while it is not watched. */
  #members = [];

  /** `core`: what the client lends its channels. `data` is the channel's, if watching it creates it. */
  constructor(core, type, id, data) {
    const isText = (name) => typeof name === "string" && name !== "";
    if (!isText(type) || !isText(id)) throw new TypeError("A channel has a type and an id.");
    this.#core = core;
    this.#data = data;
    Object.defineProperties(this, {
      type: { value: type, enumerable: true },
      id: { value: id, enumerable: true },
      cid: { value: `${type}:${id}`, enumerable: true },
    });
    for (const field of FIELDS) this[field] = null;
    this.custom = {};
  }

  /** Users. They are kept up to date while the client watches the channel, by whatever watch. */
  get members() {
    const ids = this.#core.watches.members(this.cid);
    return ids ? [...ids].map((id) => this.#core.users.known.get(id)) : this.#members;
  }

  /** Creates the channel if there is none yet. */
  async watch({ presence = false } = {}) {
    const before = this.#watch;
    const fields = { ...this.#name(), data: this.#data, presence };
    const read = (answer, request) => {
      const members = membersOf(answer.channel, request);
      const { watches, users } = this.#core;
      let watch = null;
      if (presence) watch = watches.ofChannels(request.id, new Map([[this.cid, members]]), request.users);
      this.#absorb(answer.channel, watch, presence ? [] : shown(users, members, request));
      return { channel: this, members: this.members, created: answer.created };
    };
    const state = await this.#core.request("watch_channel", fields, { read, hasPresence: presence });
    // The new watch is there, so nothing was missed between the two.
    if (presence && before !== this.#watch) this.#core.endWatch(before, this.cid).catch(() => {});
    return state;
  }

  /** Nothing is told of the channel any more, at once. Resolves when the server knows. */
  async stopWatching() {
    this.#members = this.members.map((user) => ({ ...user }));
    await this.#core.endWatch(this.#watch, this.cid);
  }

  addMembers(ids) {
    return this.#changeMembers("add_members", ids);
  }

  removeMembers(ids) {
    return this.#changeMembers("remove_members", ids);
  }

  /** Events of this channel and of its members, while it is watched, and those of the connection. */
  on(type, listener) {
    return this.#core.emitter.on(type, (event) => {
      const id = event.user?.id ?? event.id;
      const isElsewhere = event.cid ? event.cid !== this.cid : id && !this.#core.watches.members(this.cid)?.has(id);
      if (!isElsewhere) listener(event);
    });
  }

  static {
    absorb = (channel, found, watch, members) => channel.#absorb(found, watch, members);
  }

  #absorb(found, watch, members) {
    this.#assign(found);
    if (watch || !this.#core.watches.has(this.#watch)) [this.#watch, this.#members] = [watch, members];
  }

  #assign(found) {
    for (const field of FIELDS) if (found[field] !== undefined) this[field] = found[field];
  }

  #name() {
    return { channel_type: this.type, channel_id: this.id };
  }

  async #changeMembers(type, members) {
    const read = ({ channel }) => {
      this.#assign(channel);
      return this;
    };
    return this.#core.request(type, { ...this.#name(), members: [...members] }, { read });
  }
}

/** Ids of a channel's members: with the channel, or in parts. */
export function membersOf(channel, { members }) {
  return [...new Set([...(channel.members ?? []), ...(members.get(channel.cid) ?? [])])];
}

/** Members of a channel without a watch, as they are just now. */
export function shown(users, ids, request) {
  const byId = new Map(request.users.map((data) => [data.id, data]));
  return ids.filter((id) => byId.has(id)).map((id) => users.show(request.id, byId.get(id)));
}
