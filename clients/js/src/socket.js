import { ReachabilityError } from "./error.js";

const OPEN = 1;
const ABNORMAL = 1006;

/**
 * One WebSocket: text to messages and back, the server's pings, and a watch on silence. `closed` is called once, with the
 * error that tells why, and nothing is called after it.
 */
export class Socket {
  #socket;
  #hooks;
  #limitMs = null;
  #answerMs = null;
  #deadline = null;
  #heardAt = 0;
  /** Nothing was heard since the server was asked whether it is there. */
  #isProbed = false;

  /** `hooks`: `opened()`, `message(message)`, `closed(error)`. */
  constructor(WebSocket, url, hooks) {
    this.#hooks = hooks;
    this.#socket = new WebSocket(url);
    this.#socket.addEventListener("open", () => this.#hooks?.opened());
    this.#socket.addEventListener("message", ({ data }) => this.#heard(data));
    const closed = ({ code, reason }) => this.#end(ReachabilityError.ofClose(code, reason));
    this.#socket.addEventListener("close", closed);
    // A `close` event should follow at once. Node leaves it out if it could not connect.
    this.#socket.addEventListener("error", () => setTimeout(closed, 0, { code: ABNORMAL, reason: "" }));
  }

  get isOpen() {
    return this.#hooks !== null && this.#socket.readyState === OPEN;
  }

  send(message) {
    if (this.isOpen) this.#socket.send(typeof message === "string" ? message : JSON.stringify(message));
  }

  /** From now on, the socket is dead if the server says nothing for so long. */
  expect(pingSeconds, answerSeconds) {
    this.#limitMs = (pingSeconds + answerSeconds) * 1_000;
    this.#answerMs = answerSeconds * 1_000;
    this.#heardAt = Date.now();
    this.#wait(this.#limitMs);
  }

  /** Asks whether the server is still there: `ping` has to be answered within the server's own time for an answer. */
  probe(ping) {
    if (!this.isOpen || this.#limitMs === null) return;
    this.#isProbed = true;
    this.send(ping);
    clearTimeout(this.#deadline);
    this.#deadline = setTimeout(() => (this.#isProbed ? this.#silent() : this.#check()), this.#answerMs);
  }

  /** Closes without a goodbye: the server takes it for a lost connection. */
  drop(error) {
    this.#end(error);
    this.#socket.close();
  }

  #heard(data) {
    if (!this.#hooks) return;
    this.#heardAt = Date.now();
    this.#isProbed = false;
    let message;
    try {
      message = JSON.parse(data);
      if (typeof message?.type !== "string") throw new SyntaxError("a message has a type");
    } catch (cause) {
      // It may have been an answer or a change, so what is known here cannot be trusted any more.
      this.drop(new ReachabilityError("invalid_message", "The server sent what is no message.", { cause }));
      return;
    }
    if (message.type === "ping") this.send({ type: "pong" });
    else this.#hooks.message(message);
  }

  #wait(ms) {
    clearTimeout(this.#deadline);
    this.#deadline = setTimeout(() => this.#check(), ms);
  }

  // The time of day goes on while a machine sleeps, other clocks may not. If it was set back, the wait starts again.
  #check() {
    const silence = Date.now() - this.#heardAt;
    if (silence >= this.#limitMs) return this.#silent();
    if (silence < 0) this.#heardAt = Date.now();
    this.#wait(this.#limitMs - Math.max(silence, 0));
  }

  #silent() {
    this.drop(new ReachabilityError("connection_lost", "The server was not heard for too long."));
  }

  #end(error) {
    clearTimeout(this.#deadline);
    const hooks = this.#hooks;
    this.#hooks = null;
    hooks?.closed(error);
  }
}
