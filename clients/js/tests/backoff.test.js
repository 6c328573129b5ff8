import assert from "node:assert/strict";
import test from "node:test";
import { Backoff } from "../src/backoff.js";

/** The ceilings of the first attempts, as a draw of (almost) 1 shows them. */
const CEILINGS = [1_000, 2_000, 4_000, 8_000, 15_000, 15_000, 15_000];

test("waits are drawn from 0 to a ceiling that doubles up to 15 s", (t) => {
  for (const draw of [0, 0.25, 0.999]) {
    t.mock.method(Math, "random", () => draw);
    const backoff = new Backoff();
    assert.deepEqual(
      CEILINGS.map(() => backoff.next()),
      CEILINGS.map((ceiling) => draw * ceiling),
    );
    backoff.reset();
    assert.equal(backoff.next(), draw * 1_000);
    t.mock.restoreAll();
  }
});

test("waits fill the whole range", () => {
  const waits = Array.from({ length: 2_000 }, () => new Backoff().next());
  assert.ok(waits.every((wait) => wait >= 0 && wait < 1_000));
  for (let tenth = 0; tenth < 10; tenth += 1) {
    const inside = waits.filter((wait) => Math.floor(wait / 100) === tenth).length;
    assert.ok(inside > 100, `${inside} of 2,000 in the tenth number ${tenth}`);
  }
});
