/**
 * Before the n-th attempt (from 0), at most FIRST_MS · 2^n, and never more than MOST_MS: a server that was restarted shows who
 * is not back after 30 s as offline, and may refuse an attempt while everybody comes back at once.
 */
export const FIRST_MS = 1_000;
export const MOST_MS = 15_000;

/** How long to wait before the next attempt: exponential, with full jitter. */
export class Backoff {
  #attempts = 0;

  /** In ms: evenly distributed from 0 to the attempt's ceiling. */
  next() {
    const ceiling = Math.min(MOST_MS, FIRST_MS * 2 ** this.#attempts);
    if (ceiling < MOST_MS) this.#attempts += 1;
    return Math.random() * ceiling;
  }

  reset() {
    this.#attempts = 0;
  }
}
