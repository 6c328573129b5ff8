import { ReachabilityError } from "./error.js";

/** The access token in use, and where the next one comes from: a token itself, or a function that fetches one. */
export class Tokens {
  #source;
  #timeout;
  #token = null;

  constructor(source, timeout) {
    if (typeof source !== "function" && (typeof source !== "string" || source === "")) {
      throw new TypeError("connectUser needs an access token, or a function that returns one.");
    }
    this.#source = source;
    this.#timeout = timeout;
  }

  get isRenewable() {
    return typeof this.#source === "function";
  }

  /** Rejects with `token_provider` if the function failed, and with `no_token` if it says that there is none any more. */
  async current() {
    return (this.#token ??= await this.#fetch());
  }

  async renew() {
    this.#token = await this.#fetch();
    return this.#token;
  }

  /** The server did not take the token: the next one is fetched. */
  refuse() {
    this.#token = null;
  }

  async #fetch() {
    if (!this.isRenewable) return this.#source;
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`no answer within ${this.#timeout} ms`)), this.#timeout);
    });
    let token;
    try {
      token = await Promise.race([Promise.resolve().then(this.#source), late]);
    } catch (cause) {
      const message = `The token provider failed: ${cause?.message ?? cause}`;
      throw new ReachabilityError("token_provider", message, { cause });
    } finally {
      clearTimeout(timer);
    }
    if (token === null || token === undefined || token === "") {
      throw new ReachabilityError("no_token", "The token provider has no token any more.");
    }
    if (typeof token !== "string") {
      throw new ReachabilityError("no_token", `The token provider returned a ${typeof token}, which is no token.`);
    }
    return token;
  }
}
