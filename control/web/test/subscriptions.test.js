import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Subscriptions } from '../client/subscriptions.js';

test('joins name what was last seen, in lists of at most 256', () => {
  const rooms = new Subscriptions();
  for (let room = 1; room <= 300; room += 1) rooms.want(String(room), room === 1 ? '50' : undefined);
  const lists = rooms.takeJoins();
  assert.deepEqual(lists.map((list) => list.length), [256, 44]);
  assert.deepEqual(lists[0].slice(0, 2), [{ room: '1', since: '50' }, { room: '2' }]);
  assert.deepEqual(rooms.takeJoins(), []);
});

test('after a reconnect each room goes on from its last event', () => {
  const rooms = new Subscriptions();
  rooms.want('1', '50');
  rooms.want('2');
  rooms.takeJoins();
  rooms.joined({ room: '1', last: '50', replayed: 0 });
  rooms.joined({ room: '2', last: '70', replayed: null });
  assert.ok(rooms.accept({ room: '1', id: '60' }));
  rooms.disconnected();
  assert.deepEqual(rooms.takeJoins(), [[{ room: '1', since: '60' }, { room: '2', since: '70' }]]);
});

test('an event is let through once, and only forward', () => {
  const rooms = new Subscriptions();
  rooms.want('1', '50');
  rooms.takeJoins();
  rooms.joined({ room: '1', last: '50', replayed: 0 });
  const ids = ['50', '51', '51', '60', '59', '100'];
  assert.deepEqual(ids.filter((id) => rooms.accept({ room: '1', id })), ['51', '60', '100']);
  assert.ok(!rooms.accept({ room: '2', id: '1' }), 'a room that nobody wants');
});

test('what can not be replayed is a gap: live events wait until history has been read', () => {
  const rooms = new Subscriptions();
  rooms.want('1', '50');
  rooms.takeJoins();
  assert.deepEqual(rooms.joined({ room: '1', last: '90', replayed: null }), { is: 'gap', since: '50', last: '90' });
  assert.ok(!rooms.isOpen('1'));
  assert.ok(!rooms.accept({ room: '1', id: '95' }));
  assert.ok(rooms.accept({ room: '1', id: '80' }, true));
  rooms.again('1', '80');
  assert.deepEqual(rooms.takeJoins(), [[{ room: '1', since: '80' }]]);
  rooms.joined({ room: '1', last: '95', replayed: 2 });
  assert.ok(rooms.accept({ room: '1', id: '90' }));
  assert.ok(rooms.accept({ room: '1', id: '95' }));
});

test('nothing newer than what was seen is no gap', () => {
  const rooms = new Subscriptions();
  rooms.want('1', '50');
  rooms.takeJoins();
  assert.deepEqual(rooms.joined({ room: '1', last: '50', replayed: null }), { is: 'joined' });
});

test('a refusal ends the wish, unless it is for now', () => {
  const rooms = new Subscriptions();
  rooms.want('1');
  rooms.want('2');
  rooms.takeJoins();
  assert.deepEqual(rooms.joined({ room: '1', error: 'forbidden' }), { is: 'refused', code: 'forbidden' });
  assert.deepEqual(rooms.joined({ room: '2', error: 'unavailable' }), { is: 'later', code: 'unavailable' });
  rooms.again('2');
  assert.ok(!rooms.wants('1'));
  assert.deepEqual(rooms.takeJoins(), [[{ room: '2' }]]);
});
