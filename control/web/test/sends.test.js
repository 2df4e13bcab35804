import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { SendQueue } from '../client.js';

const open = () => true;
/** @type {SendQueue} */
let queue;

beforeEach(() => {
  queue = new SendQueue({ ackTimeoutMs: 10_000, repeatableMs: 120_000 });
});

const add = (nonce, room = '1') => queue.add({ nonce, room, body: nonce });
const due = (now, isOpen = open) => queue.due(now, isOpen).map((message) => message.nonce);

test('one message of a room is in flight at a time, rooms do not wait for each other', () => {
  add('a');
  add('b');
  add('c', '2');
  assert.deepEqual(due(0), ['a', 'c']);
  queue.sent('a', 'r1', 0);
  queue.sent('c', 'r2', 0);
  assert.deepEqual(due(0), []);
  queue.remove('a');
  assert.deepEqual(due(0), ['b']);
});

test('more may be in flight when asked for, still in order', () => {
  queue = new SendQueue({ inFlightPerRoomMax: 2 });
  for (const nonce of ['a', 'b', 'c']) add(nonce);
  assert.deepEqual(due(0), ['a', 'b']);
  queue.sent('a', 'r1', 0);
  assert.deepEqual(due(0), ['b']);
});

test('a room that is not open holds its messages', () => {
  add('a');
  add('b', '2');
  assert.deepEqual(due(0, (room) => room === '2'), ['b']);
});

test('a message that bounced is not overtaken', () => {
  add('a');
  add('b');
  queue.sent('a', 'r1', 0);
  queue.bounced('a', 100, 500, { stored: 'no' });
  assert.deepEqual(due(100), []);
  assert.equal(queue.nextAt(100, open), 600);
  assert.deepEqual(due(600), ['a']);
});

test('what was in flight when the socket died goes again, first', () => {
  add('a');
  add('b');
  queue.sent('a', 'r1', 0);
  queue.disconnected();
  assert.deepEqual(due(1), ['a']);
});

test('no answer in time: sent again, and an answer to either sending settles it', () => {
  add('a');
  queue.sent('a', 'r1', 0);
  assert.equal(queue.nextAt(0, open), 10_000);
  assert.deepEqual(queue.expire(9_999, open), []);
  assert.deepEqual(due(9_999), []);
  queue.expire(10_000, open);
  assert.deepEqual(due(10_000), ['a']);
  queue.sent('a', 'r2', 10_000);
  assert.equal(queue.nonceOf('r1'), 'a');
  assert.equal(queue.nonceOf('r2'), 'a');
  queue.remove('a');
  assert.equal(queue.nonceOf('r1'), undefined);
  assert.equal(queue.size, 0);
});

test('past what the server remembers a message is uncertain; judged only where it could have been seen', () => {
  add('a');
  queue.sent('a', 'r1', 0);
  queue.disconnected();
  assert.deepEqual(queue.expire(500_000, () => false), []);
  assert.deepEqual(queue.expire(119_999, open), []);
  assert.deepEqual(queue.expire(120_000, open).map(({ nonce }) => nonce), ['a']);
  assert.equal(queue.size, 0);
});

test('what was never sent, or certainly not stored, waits for as long as it takes', () => {
  add('a');
  assert.deepEqual(queue.expire(1e9, open), []);
  queue.sent('a', 'r1', 1e9);
  queue.bounced('a', 1e9, 1_000, { stored: 'no' });
  assert.deepEqual(queue.expire(2e9, open), []);
  queue.sent('a', 'r2', 2e9);
  queue.bounced('a', 2e9, 1_000, { stored: 'unknown' });
  assert.deepEqual(queue.expire(3e9, open).map(({ nonce }) => nonce), ['a']);
});
