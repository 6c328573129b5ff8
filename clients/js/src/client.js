import { socketUrl } from "./address.js";
import { absorb, Channel, membersOf, shown } from "./channel.js";
import { Connection } from "./connection.js";
import { Emitter } from "./emitter.js";
import { ReachabilityError } from "./error.js";
import { Heard } from "./heard.js";
import { renewToken } from "./renewal.js";
import { Requests } from "./requests.js";
import { restoreWatches } from "./restore.js";
import { Tokens } from "./tokens.js";
import { Users } from "./users.js";
import { Watches } from "./watches.js";

export class ReachabilityClient {
  #timeout;
  #state = "disconnected";
  #userId = null;
  #user = null;
  #connectionId = null;
  /** Counts connections, so that what waits for one does not go on in the next. */
  #connections = 0;
  #isReady = false;
  /** Of `connectUser`, until it is settled. */
  #connecting = null;
  #tokens = null;
  #emitter = new Emitter();
  /** Events of the message at hand. They are told when all of it is taken in. */
  #events = [];
  #requests;
  /** Of users, and of members. */
  #heard;
  #users;
  #watches;
  #connection;
  #core;

  constructor(url, { timeout = 10_000, device, WebSocket = globalThis.WebSocket } = {}) {
    if (typeof WebSocket !== "function") {
      throw new TypeError("There is no WebSocket here. Node has one from version 22 on; others go into the options.");
    }
    this.#timeout = timeout;
    this.#requests = new Requests(timeout);
    const tell = (event) => void this.#events.push(event);
    this.#heard = [new Heard(this.#requests), new Heard(this.#requests)];
    this.#users = new Users(this.#heard[0], tell);
    this.#watches = new Watches(this.#users, this.#heard[1], tell);
    this.#connection = new Connection(
      { url: socketUrl(url), WebSocket, timeout, device },
      {
        nextId: () => this.#requests.nextId(),
        wishes: () => this.#requests.wishes(),
        wishesRefused: (error) => this.#requests.refuseWishes(error),
        connected: (message) => this.#connected(message),
        message: (message) => this.#receive(message),
        lost: (error) => this.#lost(error),
        stopped: (error) => this.#stopped(error),
      },
    );
    this.#core = {
      emitter: this.#emitter,
      users: this.#users,
      watches: this.#watches,
      request: (...all) => this.#request(...all),
      endWatch: (...all) => this.#endWatch(...all),
    };
  }

  get user() {
    return this.#user;
  }

  get users() {
    return this.#users.known;
  }

  get state() {
    return this.#state;
  }

  get connectionId() {
    return this.#connectionId;
  }

  on(type, listener) {
    return this.#emitter.on(type, listener);
  }

  /** Rejects if the server refuses, or cannot be reached in time: then no other attempt is made. */
  async connectUser({ id, status, invisible }, tokenOrProvider) {
    if (this.#state !== "disconnected") {
      throw new ReachabilityError(
        "already_connected",
        "The client is connected already: disconnectUser() comes first.",
      );
    }
    if (typeof id !== "string" || id === "") throw new TypeError("A user has an id.");
    this.#tokens = new Tokens(tokenOrProvider, this.#timeout);
    this.#userId = id;
    return new Promise((resolve, reject) => {
      const late = () => {
        const cause = this.#connecting.error;
        const text = [`No connection within ${this.#timeout} ms.`, cause?.message].filter(Boolean).join(" ");
        this.#stopped(new ReachabilityError("timeout", text, { cause }));
      };
      this.#connecting = { resolve, reject, error: undefined, timer: setTimeout(late, this.#timeout) };
      this.#connection.open(id, this.#tokens, { status, invisible });
      this.#change("connecting");
      this.#flush();
    });
  }

  /** Connects if there is no connection and a token is given. What is left out stays as it is. */
  async setUser({ id, status, invisible }, tokenOrProvider) {
    if (this.#state === "disconnected" && tokenOrProvider !== undefined) {
      return this.connectUser({ id, status, invisible }, tokenOrProvider);
    }
    if (id !== undefined && this.#state !== "disconnected" && id !== this.#userId) {
      throw new ReachabilityError("already_connected", `The client is connected as "${this.#userId}".`);
    }
    const read = ({ user }) => {
      this.#users.take(user);
      return this.#user;
    };
    return this.#request("set_user", { status, invisible }, { read });
  }

  /** The user is offline at once, unless another of its devices is there. Resolves when the socket is closed. */
  async disconnectUser() {
    const closed = this.#connection.close();
    this.#over(null, new ReachabilityError("disconnected", "The client was disconnected."));
    await closed;
  }

  async queryUsers(filter = {}, sort = undefined, { presence = false, limit, cursor } = {}) {
    const read = (answer, request) => {
      const { watch, users } = this.#watches.ofUsers(request.id, request.users, presence);
      return this.#result(users, answer, watch);
    };
    const fields = { filter, sort, limit, cursor, presence };
    return this.#request("query_users", fields, { read, hasPresence: presence });
  }

  async queryChannels(filter = {}, sort = undefined, { presence = false, limit, cursor } = {}) {
    const read = (answer, request) => {
      const members = new Map(answer.channels.map((channel) => [channel.cid, membersOf(channel, request)]));
      const watch = presence ? this.#watches.ofChannels(request.id, members, request.users) : null;
      const channels = answer.channels.map((found) => {
        const channel = new Channel(this.#core, found.type, found.id);
        absorb(channel, found, watch, presence ? [] : shown(this.#users, members.get(found.cid), request));
        return channel;
      });
      return this.#result(channels, answer, watch);
    };
    const fields = { filter, sort, limit, cursor, presence };
    return this.#request("query_channels", fields, { read, hasPresence: presence });
  }

  channel(type, id, data) {
    return new Channel(this.#core, type, id, data);
  }

  #result(found, { cursor = null, index = null }, watch) {
    const stopWatching = () => this.#endWatch(watch);
    const values = { cursor, index, stopWatching };
    for (const [name, value] of Object.entries(values)) Object.defineProperty(found, name, { value });
    return found;
  }

  async #request(type, fields, { read, hasPresence = false, isRepeatable } = {}) {
    if (this.#state === "disconnected") {
      throw new ReachabilityError("not_connected", "The client is not connected: connectUser() comes first.");
    }
    // The watch of a request that was given up may have begun.
    const onTimeout = hasPresence ? (id) => this.#unwatch(id).catch(() => {}) : undefined;
    return this.#requests.begin(type, fields, { read, isRepeatable, onTimeout });
  }

  async #endWatch(watch, cid) {
    const isOver = cid === undefined ? this.#watches.end(watch) : this.#watches.endOne(watch, cid);
    if (isOver && this.#isReady) await this.#unwatch(watch.number);
  }

  // A watch ends with its connection, and is not restored in the next.
  async #unwatch(number) {
    await this.#requests.begin("unwatch", { watch: number }, { isRepeatable: false }).catch((error) => {
      if (this.#isReady) throw error;
    });
  }

  #connected(message) {
    this.#connections += 1;
    this.#isReady = true;
    this.#connectionId = message.connection_id;
    this.#user = this.#users.connected(message.user);
    this.#requests.open((text) => this.#connection.send(text));
    this.#restore();
    this.#requests.sendWaiting(message.user);
    const connecting = this.#connecting;
    this.#connecting = null;
    clearTimeout(connecting?.timer);
    connecting?.resolve(this.#user);
    this.#flush();
  }

  // The client counts as connected when it has caught up.
  #restore() {
    restoreWatches(this.#watches, this.#requests, {
      isOver: this.#untilLost(),
      drop: (error) => this.#connection.drop(error),
      failed: (error) => this.#events.push({ type: "error", error }),
      done: () => {
        this.#change("connected");
        this.#flush();
      },
    });
  }

  #untilLost() {
    const connection = this.#connections;
    return () => connection !== this.#connections || !this.#isReady;
  }

  #receive(message) {
    switch (message.type) {
      case "ok":
      case "pong":
        this.#requests.answer(message);
        break;
      case "error":
        if (Number.isInteger(message.id)) this.#requests.answer(message);
        else this.#events.push({ type: "error", error: ReachabilityError.ofAnswer(message) });
        break;
      case "part":
        this.#requests.part(message);
        break;
      case "user.presence.changed":
      case "user.updated":
        this.#users.take(message.user, message);
        break;
      case "user.deleted":
        this.#users.delete(message.id, message);
        break;
      case "member.added":
        this.#watches.added(message);
        break;
      case "member.removed":
        this.#watches.removed(message);
        break;
      case "channel.deleted":
        this.#watches.deleted(message);
        break;
      case "token.expiring":
        this.#renew(message.expires_at);
        break;
      // Later servers may say more.
    }
    for (const heard of this.#heard) heard.tidy();
    this.#flush();
  }

  #renew(expiresAt) {
    renewToken(this.#tokens, expiresAt, {
      isOver: this.#untilLost(),
      send: (token) => this.#request("token", { token }, { isRepeatable: false }),
      failed: (error) => this.#emitter.emit({ type: "error", error }),
    });
  }

  /** A connection, or an attempt at one. */
  #lost(error) {
    const wasReady = this.#isReady;
    this.#isReady = false;
    this.#connectionId = null;
    if (this.#connecting) this.#connecting.error = error;
    if (wasReady) this.#users.lost();
    this.#requests.lost(error);
    if (this.#state === "connected") this.#change("connecting", error);
    else this.#events.push({ type: "error", error });
    this.#flush();
  }

  #stopped(error) {
    this.#connection.close();
    this.#events.push({ type: "error", error });
    this.#over(error, error);
  }

  #over(reason, error) {
    const connecting = this.#connecting;
    this.#connecting = null;
    clearTimeout(connecting?.timer);
    this.#isReady = false;
    this.#connectionId = null;
    this.#user = null;
    this.#users.clear();
    this.#watches.clear();
    this.#change("disconnected", reason);
    connecting?.reject(error);
    this.#requests.fail(error);
    this.#flush();
  }

  #change(state, reason = null) {
    if (state === this.#state) return;
    this.#state = state;
    this.#events.push({ type: "connection.changed", state, online: state === "connected", reason });
  }

  #flush() {
    // A listener may do what is told of as well: that comes after what was to be told already.
    while (this.#events.length > 0) this.#emitter.emit(this.#events.shift());
  }
}
