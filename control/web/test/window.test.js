import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Timeline } from '../client.js';
import { DRAWN_MAX, STEP, drawnPart, partAfter, partAround, partBefore } from '../views/window.js';

/** @param {number} count */
function timelineOf(count) {
  const timeline = new Timeline();
  timeline.add(...Array.from({ length: count }, (_, at) => ({ room: '1', id: String(at + 1), ts: at, from: '1', name: 'a', kind: 'text', body: '' })));
  return timeline;
}

test('a short list is drawn whole', () => {
  const timeline = timelineOf(10);
  assert.deepEqual(drawnPart(timeline, null), [0, 10]);
  assert.equal(partBefore(timeline, null), null);
  assert.equal(partAfter(timeline, null), null);
});

test('from the end to the start and back, every part overlaps the one before and none is too long', () => {
  const timeline = timelineOf(10_000);
  let last = /** @type {string | null} */ (null);
  let seen = drawnPart(timeline, last);
  assert.deepEqual(seen, [10_000 - DRAWN_MAX, 10_000]);
  for (let steps = 0; seen[0] > 0; steps += 1) {
    assert.ok(steps < 10_000 / STEP + 1, 'it gets there');
    last = partBefore(timeline, last);
    const part = drawnPart(timeline, last);
    assert.ok(part[0] < seen[0] && part[1] - part[0] <= DRAWN_MAX);
    assert.ok(part[1] - seen[0] >= DRAWN_MAX - STEP, 'the place of the reader is in both');
    seen = part;
  }
  for (let steps = 0; last !== null; steps += 1) {
    assert.ok(steps < 10_000 / STEP + 1, 'it gets there');
    last = partAfter(timeline, last);
    const part = drawnPart(timeline, last);
    assert.ok(part[1] > seen[1] && seen[1] - part[0] >= DRAWN_MAX - STEP);
    seen = part;
  }
});

test('what is added on either side does not move the part', () => {
  const timeline = timelineOf(500);
  timeline.trim(400);
  const last = partBefore(timeline, null);
  const [first, end] = drawnPart(timeline, last);
  const drawn = timeline.messages.slice(first, end);
  timeline.add({ room: '1', id: '9', ts: 0, from: '1', name: 'a', kind: 'text', body: '' });
  timeline.add({ room: '1', id: '501', ts: 0, from: '1', name: 'a', kind: 'text', body: '' });
  assert.deepEqual(timeline.messages.slice(...drawnPart(timeline, last)), drawn);
});

test('a message that was looked for stands inside its part', () => {
  const timeline = timelineOf(1_000);
  for (const id of ['1', '500', '990', '1000']) {
    const [first, end] = drawnPart(timeline, partAround(timeline, id));
    const at = timeline.indexOf(id);
    assert.ok(first <= at && at < end, id);
  }
});

test('a part whose last message is gone is the newest', () => {
  assert.deepEqual(drawnPart(timelineOf(10), '99'), [0, 10]);
});
