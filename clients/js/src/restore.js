/** Errors that pass by themselves: the next connection tries again. */
const PASSING = new Set(["timeout", "too_many_requests", "unavailable"]);

/**
 * Restores all watches on a new connection. `isOver()`: that connection is lost; `drop(error)` drops it; `failed(error)`: the
 * server does not restore these watches, so that their users stay stale; `done()`: all were answered.
 */
export function restoreWatches(watches, requests, { isOver, drop, failed, done }) {
  const messages = watches.toRestore();
  if (messages.length === 0) return done();
  let left = messages.length;
  const answered = () => {
    left -= 1;
    if (left === 0) done();
  };
  for (const fields of messages) {
    const read = (answer, request) => {
      watches.restored(fields, answer, request);
      answered();
    };
    requests.begin("restore", fields, { read, isRepeatable: false }).catch((error) => {
      if (isOver()) return;
      if (PASSING.has(error.code)) return drop(error);
      failed(error);
      answered();
    });
  }
}
