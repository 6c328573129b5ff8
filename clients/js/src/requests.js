import { ReachabilityError } from "./error.js";

const MOST_BYTES = 64 * 1024;
/** Of a message that restores watches. */
export const MOST_BYTES_OF_RESTORE = 1024 * 1024;

export const bytes = (text) => new TextEncoder().encode(text).length;

/**
 * Requests and their answers. A request that was made or left unanswered while there is no connection waits for the next
 * one, as long as its time allows: to repeat a request of this protocol does no harm.
 */
export class Requests {
  #timeout;
  #send = null;
  #lastId = 0;
  /** By id: sent, and not answered. */
  #sent = new Map();
  /** Not sent yet, in order. */
  #waiting = [];

  constructor(timeout) {
    this.#timeout = timeout;
  }

  /** Greater than every one before, over all connections of this client. */
  nextId() {
    return ++this.#lastId;
  }

  /**
   * Resolves with what `read(answer, request)` makes of the answer. It is called at once when the answer comes, before any
   * later message, with the parts in `request.users` and `request.members`.
   */
  begin(type, fields, { read = (answer) => answer, isRepeatable = true, onTimeout } = {}) {
    return new Promise((resolve, reject) => {
      const request = { type, fields, read, isRepeatable, onTimeout, resolve, reject };
      Object.assign(request, { id: null, timer: null, isInConnect: false });
      this.#clear(request);
      this.#waitFor(request);
      if (this.#send) this.#dispatch(request);
      else this.#waiting.push(request);
    });
  }

  get lastId() {
    return this.#lastId;
  }

  /** Of the requests whose answers are on their way. */
  get oldestId() {
    return this.#sent.keys().next().value ?? Infinity;
  }

  /** What waiting `set_user` requests ask for: it belongs into the next `connect`, so that nobody sees the user without it. */
  wishes() {
    const wishes = {};
    for (const request of this.#waiting) {
      if (request.type !== "set_user") continue;
      request.isInConnect = true;
      for (const [name, value] of Object.entries(request.fields)) if (value !== undefined) wishes[name] = value;
    }
    return wishes;
  }

  /** There is a connection: what begins now goes before what waits. */
  open(send) {
    this.#send = send;
  }

  /** Sends what waits. Wishes are fulfilled: `user` is what `connect` was answered with. */
  sendWaiting(user) {
    for (const request of this.#waiting.splice(0)) {
      if (request.isInConnect) this.#settle(request, () => request.resolve(request.read({ user }, request)));
      else this.#dispatch(request);
    }
  }

  /** The server refused a `connect`: for its wishes, if it had any. */
  refuseWishes(error) {
    const refused = this.#waiting.filter(({ isInConnect }) => isInConnect);
    this.#waiting = this.#waiting.filter(({ isInConnect }) => !isInConnect);
    for (const request of refused) this.#settle(request, () => request.reject(error));
  }

  /** The connection is gone. A message that the server took offence at is not repeated. */
  lost(error) {
    const isRefused = error.code === "invalid_message" || error.code === "too_many_requests";
    const sent = [...this.#sent.values()];
    this.#sent.clear();
    this.#send = null;
    for (const request of this.#waiting) request.isInConnect = false;
    const repeated = sent.filter(({ isRepeatable }) => isRepeatable && !isRefused);
    this.#waiting.unshift(...repeated);
    for (const request of sent) {
      if (repeated.includes(request)) this.#clear(request);
      else this.#settle(request, () => request.reject(error));
    }
  }

  /** There will be no other connection. */
  fail(error) {
    this.#send = null;
    const all = [...this.#sent.values(), ...this.#waiting.splice(0)];
    this.#sent.clear();
    for (const request of all) this.#settle(request, () => request.reject(error));
  }

  part({ id, users, channel, members }) {
    const request = this.#sent.get(id);
    if (!request) return;
    this.#waitFor(request);
    if (users) request.users.push(...users);
    if (channel) request.members.set(channel, [...(request.members.get(channel) ?? []), ...members]);
  }

  /** `ok`, `error` or `pong`. An answer that nobody waits for any more is ignored. */
  answer(message) {
    const request = this.#sent.get(message.id);
    if (!request) return;
    this.#sent.delete(message.id);
    this.#settle(request, () => {
      if (message.type === "error") request.reject(ReachabilityError.ofAnswer(message));
      else request.resolve(request.read(message, request));
    });
  }

  #dispatch(request) {
    let text;
    try {
      request.id = this.nextId();
      text = JSON.stringify({ ...request.fields, type: request.type, id: request.id });
    } catch (error) {
      return this.#settle(request, () => request.reject(error));
    }
    const most = request.type === "restore" ? MOST_BYTES_OF_RESTORE : MOST_BYTES;
    if (bytes(text) > most) {
      const message = `The request is over ${most} bytes.`;
      return this.#settle(request, () =>
        request.reject(new ReachabilityError("invalid_message", message, { limit: most })),
      );
    }
    this.#sent.set(request.id, request);
    this.#send(text);
  }

  #clear(request) {
    Object.assign(request, { id: null, users: [], members: new Map() });
  }

  #settle(request, how) {
    clearTimeout(request.timer);
    try {
      how();
    } catch (error) {
      request.reject(error);
    }
  }

  #waitFor(request) {
    clearTimeout(request.timer);
    request.timer = setTimeout(() => this.#expire(request), this.#timeout);
  }

  #expire(request) {
    this.#sent.delete(request.id);
    this.#waiting = this.#waiting.filter((other) => other !== request);
    request.reject(new ReachabilityError("timeout", `No answer to ${request.type} within ${this.#timeout} ms.`));
    if (this.#send && request.id !== null) request.onTimeout?.(request.id);
  }
}
