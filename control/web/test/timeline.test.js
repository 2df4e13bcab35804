import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { Timeline } from '../client.js';
import { message } from './fakes.js';

/** @type {Timeline} */
let timeline;
const ids = () => timeline.messages.map(({ id }) => id);

beforeEach(() => {
  timeline = new Timeline();
});

test('pages and live events in any order and overlap give one sorted list', () => {
  const all = ['5', '9', '10', '11', '100', '2000'];
  const orders = [all, [...all].reverse(), ['10', '5', '2000', '10', '9', '11', '5', '100']];
  for (const order of orders) {
    timeline = new Timeline();
    timeline.add(...order.map((id) => message('1', id)));
    assert.deepEqual(ids(), all);
  }
  assert.equal(timeline.oldest, '5');
  assert.equal(timeline.newest, '2000');
});

test('a message that is there already keeps what it learned', () => {
  timeline.add(message('1', '5'));
  timeline.edit({ room: '1', id: '6', msg: '5', from: '9', ts: 6, body: 'new' });
  assert.equal(timeline.add(message('1', '5')), 0);
  assert.equal(timeline.get('5').body, 'new');
  assert.equal(timeline.get('5').edited_at, 6);
});

test('changes make new objects, and say whether there was one', () => {
  timeline.add(message('1', '5'));
  const before = timeline.get('5');
  assert.ok(timeline.delete({ room: '1', id: '7', msg: '5', from: '9', ts: 7 }));
  assert.notEqual(timeline.get('5'), before);
  assert.deepEqual([timeline.get('5').deleted, timeline.get('5').body], [true, '']);
  assert.ok(!timeline.edit({ room: '1', id: '8', msg: '5', from: '9', ts: 8, body: 'x' }), 'deleted stays deleted');
  assert.ok(!timeline.edit({ room: '1', id: '8', msg: '99', from: '9', ts: 8, body: 'x' }), 'not loaded');
});

test('reactions count each user once', () => {
  timeline.add(message('1', '5'));
  const react = (from, on) => timeline.react({ room: '1', id: '6', msg: '5', from, ts: 6, emoji: '+', on });
  react('1', true);
  react('2', true);
  react('1', true);
  assert.deepEqual(timeline.get('5').reactions, { '+': ['2', '1'] });
  react('1', false);
  react('2', false);
  assert.deepEqual(timeline.get('5').reactions, {});
});

test('a pending message becomes its message once, whichever of ack and event is first', () => {
  const known = { room: '1', id: '50', ts: 50, from: '7', name: 'Ada' };
  const event = message('1', '50', { from: '7', nonce: 'n', body: 'hello' });
  for (const ackFirst of [true, false]) {
    timeline = new Timeline();
    timeline.addPending({ nonce: 'n', body: 'hello', ts: 1 });
    if (ackFirst) timeline.confirmPending('n', known);
    timeline.add(event);
    if (!ackFirst) timeline.confirmPending('n', known);
    assert.deepEqual(ids(), ['50']);
    assert.deepEqual(timeline.pending, []);
    assert.equal(timeline.get('50').body, 'hello');
  }
});

test('a failed message stays until it is retried, discarded or seen after all', () => {
  timeline.addPending({ nonce: 'a', body: 'x', ts: 1 });
  timeline.addPending({ nonce: 'b', body: 'y', ts: 2 });
  timeline.failPending('a', 'uncertain');
  timeline.failPending('b', 'forbidden');
  assert.deepEqual(timeline.pending.map(({ nonce, state, error }) => [nonce, state, error]), [['a', 'failed', 'uncertain'], ['b', 'failed', 'forbidden']]);
  timeline.add(message('1', '9', { nonce: 'a' }));
  timeline.discardPending('b');
  assert.deepEqual(timeline.pending, []);
});

test('trimming keeps the newest', () => {
  timeline.add(...['1', '2', '3'].map((id) => message('1', id)));
  timeline.trim(2);
  assert.deepEqual(ids(), ['2', '3']);
});
