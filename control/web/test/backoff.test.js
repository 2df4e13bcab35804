import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Backoff } from '../client.js';

test('delays double up to the most, half of each being random', () => {
  const cases = [
    { random: 0, delays: [250, 500, 1000, 2000, 4000, 4000] },
    { random: 0.5, delays: [375, 750, 1500, 3000, 6000, 6000] },
    { random: 1, delays: [500, 1000, 2000, 4000, 8000, 8000] },
  ];
  for (const { random, delays } of cases) {
    const backoff = new Backoff({ baseMs: 500, maxMs: 8000, random: () => random });
    assert.deepEqual(delays.map(() => backoff.next()), delays);
  }
});

test("the server's wish is taken as it is, and still counts as an attempt", () => {
  const backoff = new Backoff({ baseMs: 500, maxMs: 8000, random: () => 1 });
  assert.equal(backoff.next(1234), 1234);
  assert.equal(backoff.next(0), 0);
  assert.equal(backoff.next(), 2000);
});

test('a reset starts anew', () => {
  const backoff = new Backoff({ random: () => 1 });
  backoff.next();
  backoff.next();
  backoff.reset();
  assert.equal(backoff.next(), 500);
});
