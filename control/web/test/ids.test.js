import assert from 'node:assert/strict';
import { test } from 'node:test';

import { compareIds, idToTime, newNonce } from '../client.js';

test('ids compare as the integers they are', () => {
  const rising = ['0', '2', '10', '9007199254740992', '9007199254740993', '9223372036854775807'];
  for (const [at, a] of rising.entries()) {
    for (const [other, b] of rising.entries()) assert.equal(Math.sign(compareIds(a, b)), Math.sign(at - other), `${a} ${b}`);
  }
});

test('an id holds its time', () => {
  const ts = Date.UTC(2026, 1, 3, 4, 5, 6, 789);
  const id = ((BigInt(ts) - BigInt(Date.UTC(2024, 0, 1))) << 22n) | (5n << 8n) | 3n;
  assert.equal(idToTime(String(id)), ts);
});

test('nonces fit the protocol and differ', () => {
  const nonces = new Set(Array.from({ length: 100 }, newNonce));
  assert.equal(nonces.size, 100);
  for (const nonce of nonces) assert.match(nonce, /^[0-9a-f]{32}$/);
});
