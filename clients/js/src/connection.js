import { Backoff, FIRST_MS } from "./backoff.js";
import { ReachabilityError } from "./error.js";
import { Socket } from "./socket.js";

/** A connection that lasted so long was a good one: the waits between attempts start again from the shortest. */
const GOOD_AFTER_MS = 10_000;
/** So many tokens are refused in succession until no other is fetched. */
const MOST_REFUSALS = 3;
/** A goodbye is answered within so long, or the socket is dropped. */
const GOODBYE_MS = 2_000;

/** They pass by themselves. */
const PASSING = new Set([
  "connection_failed",
  "connection_lost",
  "limit_reached",
  "server_stopping",
  "too_many_requests",
  "unavailable",
]);
/** No other attempt can change them. */
const FINAL = new Set(["no_token", "revoked", "superseded", "wrong_user"]);

/**
 * Connects, and connects again when the connection is lost, until it is told to close or an attempt has no prospect.
 *
 * Hooks: `nextId()`; `wishes()`, what `connect` shall set; `wishesRefused(error)`; `connected(message)`; `message(message)`;
 * `lost(error)`, after which it tries again; `stopped(error)`, after which it does not.
 */
export class Connection {
  #options;
  #hooks;
  #run = null;

  constructor(options, hooks) {
    this.#options = options;
    this.#hooks = hooks;
  }

  /** `first` is what the first `connect` sets; later ones leave it as it is on the server. */
  open(userId, tokens, first) {
    const run = { userId, tokens, first, backoff: new Backoff(), refusals: 0, wasConnected: false };
    Object.assign(run, { continuationToken: undefined, socket: null, ended: null, wake: () => {} });
    this.#run = run;
    run.stopListening = this.#listen(run);
    this.#loop(run);
  }

  send(message) {
    this.#run?.socket?.send(message);
  }

  /** Drops the connection, and connects again. */
  drop(error) {
    this.#run?.socket?.drop(error);
  }

  /** Says goodbye, if there is somebody to say it to. Resolves when the socket is closed. */
  async close() {
    const run = this.#stop();
    if (!run?.socket) return;
    const { socket, ended } = run;
    if (socket.isOpen) {
      socket.send({ type: "close" });
      let timer;
      await Promise.race([ended, new Promise((done) => (timer = setTimeout(done, GOODBYE_MS)))]);
      clearTimeout(timer);
    }
    socket.drop(new ReachabilityError("disconnected", "The client said goodbye."));
  }

  #stop() {
    const run = this.#run;
    this.#run = null;
    run?.stopListening();
    run?.wake();
    return run;
  }

  async #loop(run) {
    while (run === this.#run) {
      run.ended = this.#attempt(run);
      const { error, lastedMs, minimumMs } = await run.ended;
      if (run !== this.#run) return;
      if (lastedMs >= GOOD_AFTER_MS) run.backoff.reset();
      if (error.code === "invalid_token") {
        run.refusals += 1;
        run.tokens.refuse();
      }
      if (this.#isFinal(run, error)) {
        this.#stop();
        this.#hooks.stopped(error);
        return;
      }
      // A server that is about to stop sends everybody away at once, and can be replaced already.
      const isMoved = error.code === "server_stopping" && lastedMs !== null;
      const delay = isMoved ? Math.random() * FIRST_MS : run.backoff.next();
      this.#hooks.lost(error);
      // A listener of what was lost may have said goodbye.
      if (run === this.#run) await this.#pause(run, Math.max(delay, minimumMs));
    }
  }

  // Before the first connection, whoever called hears of every refusal at once. Later, what can be mended is.
  #isFinal(run, error) {
    if (FINAL.has(error.code)) return true;
    if (!run.wasConnected) return !PASSING.has(error.code);
    return error.code === "invalid_token" && (!run.tokens.isRenewable || run.refusals >= MOST_REFUSALS);
  }

  /** Resolves when it is over, with why. */
  async #attempt(run) {
    let token;
    try {
      token = await run.tokens.current();
    } catch (error) {
      return { error, lastedMs: null, minimumMs: 0 };
    }
    if (run !== this.#run) return {};
    const { WebSocket, url, timeout, device } = this.#options;
    const id = this.#hooks.nextId();
    return new Promise((resolve) => {
      let connectedAt = null;
      let refusal = null;
      const late = new ReachabilityError("connection_failed", `The server did not answer within ${timeout} ms.`);
      const timer = setTimeout(() => socket.drop(late), timeout);

      const opened = () => {
        const wishes = { ...(run.wasConnected ? {} : run.first), ...this.#hooks.wishes() };
        socket.send({ type: "connect", id, token, device, continuation_token: run.continuationToken, ...wishes });
      };
      const first = (message) => {
        if (message.id !== id) return;
        if (message.type === "error") {
          refusal = ReachabilityError.ofAnswer(message);
          if (run.wasConnected && !PASSING.has(refusal.code) && refusal.code !== "invalid_token") {
            this.#hooks.wishesRefused(refusal);
          }
          socket.drop(refusal);
        } else if (message.type === "connected" && message.user.id !== run.userId) {
          socket.send({ type: "close" });
          const text = `The token is of user "${message.user.id}", not of "${run.userId}".`;
          socket.drop(new ReachabilityError("wrong_user", text));
        } else if (message.type === "connected") {
          clearTimeout(timer);
          connectedAt = Date.now();
          Object.assign(run, { wasConnected: true, refusals: 0, continuationToken: message.continuation_token });
          socket.expect(message.ping_seconds, message.answer_seconds);
          this.#hooks.connected(message);
        }
      };
      const closed = (error) => {
        clearTimeout(timer);
        const lastedMs = connectedAt === null ? null : Date.now() - connectedAt;
        if (connectedAt === null && error.code === "connection_lost") {
          error = new ReachabilityError("connection_failed", `Cannot connect to ${url}.`, { cause: error });
        }
        error = refusal ?? error;
        const minimumMs = error.retryAfter ? error.retryAfter * 1_000 + Math.random() * FIRST_MS : 0;
        resolve({ error, lastedMs, minimumMs });
      };
      const message = (message) => {
        if (run !== this.#run) return;
        if (connectedAt === null) first(message);
        else this.#hooks.message(message);
      };
      const socket = new Socket(WebSocket, url, { opened, message, closed });
      run.socket = socket;
    });
  }

  #pause(run, ms) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      run.wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  // What a browser says of its network is a hint: the server may well be on this machine.
  #listen(run) {
    const { addEventListener, removeEventListener } = globalThis;
    if (typeof addEventListener !== "function") return () => {};
    const probe = () => run.socket?.probe({ type: "ping", id: this.#hooks.nextId() });
    const online = () => {
      run.backoff.reset();
      run.wake();
      probe();
    };
    addEventListener.call(globalThis, "online", online);
    addEventListener.call(globalThis, "offline", probe);
    return () => {
      removeEventListener.call(globalThis, "online", online);
      removeEventListener.call(globalThis, "offline", probe);
    };
  }
}
