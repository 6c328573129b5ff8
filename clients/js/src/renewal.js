import { Backoff } from "./backoff.js";
import { ReachabilityError } from "./error.js";

/**
 * Gives the server the next token before the one in use expires, and tries again with backoff for as long as the
 * connection lasts. `isOver()`, `send(token)`, `failed(error)`.
 */
export async function renewToken(tokens, expiresAt, { isOver, send, failed }) {
  if (!tokens.isRenewable) {
    const message = `The token expires at ${expiresAt}. Given a function that fetches tokens, connectUser keeps the connection.`;
    return failed(new ReachabilityError("token_expiring", message));
  }
  const backoff = new Backoff();
  while (!isOver()) {
    try {
      const token = await tokens.renew();
      if (!isOver()) await send(token);
      return;
    } catch (error) {
      if (isOver()) return;
      failed(error);
      if (error.code === "no_token") return;
    }
    // It keeps no Node process alive that has nothing else to do.
    await new Promise((done) => setTimeout(done, backoff.next()).unref?.());
  }
}
