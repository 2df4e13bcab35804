import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Timeline } from '../client.js';
import { imageUrl, inWords } from '../format.js';

const HERE = 'https://chat.test';

test('images are uploads of this server and https addresses, in either form', () => {
  for (const [body, url] of [
    ['https://chat.test/api/v1/uploads/7', '/api/v1/uploads/7'],
    ['/api/v1/uploads/7', '/api/v1/uploads/7'],
    ['http://127.0.0.1:8080/api/v1/uploads/7', '/api/v1/uploads/7'], // this server by another name
    ['https://example.org/cat.png', 'https://example.org/cat.png'],
    ['https://example.org/api/v1/uploads/7', 'https://example.org/api/v1/uploads/7'],
    ['http://example.org/cat.png', null],
    ['https://chat.test/api/v1/auth/logout', null], // nothing else of this server is an image
    ['/api/v1/uploads/7/content', null],
    ['/api/v1/uploads/../rooms', null],
    ['javascript:alert(1)', null],
    ['data:image/svg+xml,x', null],
    ['https://a b', null],
    ['a cat', null],
    ['', null],
  ]) {
    assert.equal(imageUrl({ kind: 'image', body }, HERE), url, body);
    assert.equal(imageUrl({ kind: 'text', body: `[img]${body}` }, HERE), url, `[img]${body}`);
    assert.equal(imageUrl({ kind: 'text', body }, HERE), null);
    assert.equal(imageUrl({ kind: 'image', body, deleted: true }, HERE), null);
  }
});

test('an image has a word where there is no place to show it', () => {
  assert.equal(inWords({ kind: 'image', body: 'https://example.org/cat.png' }), 'Image');
  assert.equal(inWords({ kind: 'text', body: 'hello' }), 'hello');
  assert.equal(inWords({ kind: 'image', body: '', deleted: true }), 'Message deleted');
});

test('an image waits without an address, gets one, and is a message with it', () => {
  const timeline = new Timeline();
  const file = new Blob(['x']);
  timeline.addPending({ nonce: 'n', kind: 'image', body: '', file, ts: 1 });
  assert.equal(timeline.setPendingBody('other', 'url'), false);
  assert.equal(timeline.setPendingBody('n', '/api/v1/uploads/7'), true);
  timeline.failPending('n', 'bad_request', 'too large');
  const [item] = timeline.pending;
  assert.deepEqual([item.state, item.error, item.reason, item.file, item.body], ['failed', 'bad_request', 'too large', file, '/api/v1/uploads/7']);
  timeline.confirmPending('n', { room: '1', id: '5', ts: 5, from: '9', name: 'ada' });
  assert.deepEqual([timeline.pending.length, timeline.get('5').kind, timeline.get('5').body], [0, 'image', '/api/v1/uploads/7']);
});
