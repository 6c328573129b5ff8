/** What is over a socket's close, by its code: the error's code, and what to say. */
const CLOSES = new Map([
  [1001, ["server_stopping", "The server stops."]],
  [1008, ["too_many_requests", "The server closed the connection: too many messages."]],
  [4400, ["invalid_message", "The server did not understand a message."]],
  [4401, ["invalid_token", "The server refused the token, or it has expired."]],
  [4403, ["revoked", "The key, the service or the user was deleted."]],
  [4408, ["connection_lost", "The server did not hear from this client in time."]],
  [4409, ["superseded", "A newer connection took this one's place."]],
  [4429, ["limit_reached", "The server has too many connections of this user."]],
  [4503, ["unavailable", "The server is not available now."]],
]);

/** Everything that this client rejects a promise with, or tells in an `error` event. */
export class ReachabilityError extends Error {
  constructor(code, message, { retryAfter = null, limit = null, twilioCode = null, cause } = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "ReachabilityError";
    this.code = code;
    this.retryAfter = retryAfter;
    this.limit = limit;
    this.twilioCode = twilioCode;
  }

  /** The error of an answer `{"type":"error",…}`. */
  static ofAnswer({ code, message, retry_after, limit, twilio_code }) {
    return new ReachabilityError(code, message, { retryAfter: retry_after, limit, twilioCode: twilio_code });
  }

  /** The error of a closed socket. */
  static ofClose(code, reason) {
    const [word, text] = CLOSES.get(code) ?? ["connection_lost", "The connection is lost."];
    return new ReachabilityError(word, `${text} (${code}${reason ? `, ${reason}` : ""})`);
  }
}
