import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { Backoff, Connection, HubbubError, SUBPROTOCOL } from '../client.js';
import { FakeClock, FakeSocket, message, settle } from './fakes.js';

/** @type {FakeClock} */
let clock;
/** @type {Connection} */
let connection;
/** @type {any[]} */
let heard;

function make(options = {}) {
  connection = new Connection({
    url: 'http://chat.test/ws',
    WebSocket: FakeSocket,
    clock,
    backoff: new Backoff({ baseMs: 500, random: () => 1 }),
    ...options,
  });
  heard = [];
  for (const type of ['message', 'edited', 'gap', 'refused']) connection.on(type, (detail) => heard.push([type, detail.id ?? detail.room]));
  return connection;
}

beforeEach(() => {
  FakeSocket.all = [];
  clock = new FakeClock();
  make();
});

async function connected() {
  connection.connect();
  await settle();
  await FakeSocket.last.welcomes();
  return FakeSocket.last;
}

/** Joined to room 1, where everything up to 50 is known. */
async function inRoom() {
  connection.join({ room: '1', since: '50' });
  const socket = await connected();
  await socket.grantsJoin();
  return socket;
}

async function reconnected() {
  const before = FakeSocket.all.length;
  while (FakeSocket.all.length === before) await clock.pass(100);
  await FakeSocket.last.welcomes();
  return FakeSocket.last;
}

test('connects with the subprotocol, and with a fresh ticket for every attempt', async () => {
  let tickets = 0;
  make({ ticket: async () => `t${(tickets += 1)}` });
  const first = await connected();
  assert.equal(first.url, 'ws://chat.test/ws?ticket=t1');
  assert.deepEqual(first.protocols, [SUBPROTOCOL]);
  await first.dies();
  await reconnected();
  assert.equal(FakeSocket.last.url, 'ws://chat.test/ws?ticket=t2');
});

test('states follow the socket', async () => {
  const states = [];
  connection.on('state', ({ state, reason }) => states.push(reason ? `${state} ${reason}` : state));
  const socket = await connected();
  await socket.says({ op: 'bye', code: 'drain', reconnect_after_ms: 700 });
  await socket.dies(1012);
  await reconnected();
  connection.close();
  assert.deepEqual(states, ['connecting', 'connected', 'reconnecting drain', 'reconnecting drain', 'connected', 'closed closed']);
});

test("bye's wish is honoured to the millisecond; without it there is back-off", async () => {
  const socket = await connected();
  await socket.says({ op: 'bye', code: 'drain', reconnect_after_ms: 700 });
  await socket.dies(1012);
  await clock.pass(699);
  assert.equal(FakeSocket.all.length, 1);
  await clock.pass(1);
  assert.equal(FakeSocket.all.length, 2);
  await FakeSocket.last.dies();
  await clock.pass(999);
  assert.equal(FakeSocket.all.length, 2);
  await clock.pass(1);
  assert.equal(FakeSocket.all.length, 3);
});

test('a connection that lasted resets the back-off, one that did not does not', async () => {
  let socket = await connected();
  for (const [livedMs, nextMs] of [[100, 500], [100, 1000], [20_000, 500]]) {
    await clock.pass(livedMs);
    await socket.dies();
    await clock.pass(nextMs - 1);
    assert.equal(FakeSocket.last, socket, `${livedMs}`);
    await clock.pass(1);
    assert.notEqual(FakeSocket.last, socket, `${livedMs}`);
    socket = FakeSocket.last;
    await socket.welcomes();
  }
});

test('revoked, replaced and a refused login end it', async () => {
  const unauthorized = new HubbubError('unauthorized', 'no', { status: 401 });
  const cases = [
    { reason: 'revoked', end: (socket) => socket.dies(4001) },
    { reason: 'replaced', end: async (socket) => (await socket.says({ op: 'bye', code: 'replaced', reconnect_after_ms: 0 }), socket.dies(1000)) },
    { reason: 'unauthorized', end: async (socket) => (await socket.dies(), await clock.pass(500), FakeSocket.last.dies()) },
  ];
  for (const { reason, end } of cases) {
    make({ api: { me: () => Promise.reject(unauthorized) } });
    const ends = [];
    connection.on('state', (change) => change.state === 'closed' && ends.push(change.reason));
    await end(await connected());
    assert.deepEqual(ends, [reason]);
    const sockets = FakeSocket.all.length;
    await clock.pass(120_000);
    assert.equal(FakeSocket.all.length, sockets, reason);
  }
});

test('a silent socket is asked, then replaced', async () => {
  const socket = await connected();
  await clock.pass(30_000);
  assert.equal(socket.ops('ping').length, 1);
  await socket.says({ op: 'pong' });
  await clock.pass(30_000);
  assert.equal(socket.ops('ping').length, 2);
  await clock.pass(5_000);
  assert.ok(socket.isClosed);
  assert.equal(connection.state, 'reconnecting');
});

test('no welcome in time counts as lost', async () => {
  connection.connect();
  await settle();
  await clock.pass(10_000);
  assert.ok(FakeSocket.all[0].isClosed);
  await clock.pass(500);
  assert.equal(FakeSocket.all.length, 2);
});

test('rooms are joined again from the last event, and a replay is not heard twice', async () => {
  const socket = await inRoom();
  await socket.says(message('1', '60'));
  await socket.dies();
  const next = await reconnected();
  assert.deepEqual(next.lastOp('join').rooms, [{ room: '1', since: '60' }]);
  await next.grantsJoin({ 1: { last: '80', replayed: 2 } });
  await next.says(message('1', '60'));
  await next.says({ op: 'edited', room: '1', id: '70', msg: '60', from: '9', ts: 1, body: 'x' });
  await next.says(message('1', '80'));
  assert.deepEqual(heard, [['message', '60'], ['edited', '70'], ['message', '80']]);
});

test('what can not be replayed is read from history; then the join goes on from there', async () => {
  const asked = [];
  const pages = { 60: [message('1', '65'), message('1', '70')] };
  make({
    api: {
      me: async () => ({}),
      history: async (room, { after }) => (asked.push([room, after]), { items: pages[after] ?? [] }),
    },
  });
  const socket = await inRoom();
  await socket.says(message('1', '60'));
  await socket.dies();
  const next = await reconnected();
  await next.grantsJoin({ 1: { last: '80', replayed: null } });
  await settle();
  assert.deepEqual(asked, [['1', '60']]);
  assert.deepEqual(next.lastOp('leave').rooms, ['1']);
  assert.deepEqual(next.lastOp('join').rooms, [{ room: '1', since: '70' }]);
  await next.grantsJoin({ 1: { last: '80', replayed: 1 } });
  await next.says(message('1', '80'));
  assert.deepEqual(heard, [['message', '60'], ['message', '65'], ['message', '70'], ['gap', '1'], ['message', '80']]);
});

test('history without anything newer goes on from what the gateway knew, so it ends', async () => {
  make({ api: { me: async () => ({}), history: async () => ({ items: [] }) } });
  connection.join({ room: '1', since: '50' });
  const socket = await connected();
  await socket.grantsJoin({ 1: { last: '80', replayed: null } });
  await settle();
  assert.deepEqual(socket.lastOp('join').rooms, [{ room: '1', since: '80' }]);
});

test('a refused room is told, one refused for now is tried again', async () => {
  connection.join('1', '2');
  const socket = await connected();
  await socket.grantsJoin({ 1: { error: 'forbidden' }, 2: { error: 'unavailable' } });
  assert.deepEqual(heard, [['refused', '1']]);
  await clock.pass(1_000);
  assert.deepEqual(socket.lastOp('join').rooms, [{ room: '2' }]);
});

test('a membership that ended within a gap: the room is told as refused, and not joined again', async () => {
  make({ api: { me: async () => ({}), history: async () => ({ items: [message('2', '75')] }) } });
  connection.join({ room: '1', since: '50' }, { room: '2', since: '50' });
  const socket = await connected();
  await socket.grantsJoin();
  // Nobody asked for it: room 1 is lost, and events of room 2 are.
  await socket.says({ op: 'joined', rooms: [{ room: '1', error: 'forbidden' }, { room: '2', last: '80', replayed: null }] });
  await settle();
  assert.deepEqual(heard, [['refused', '1'], ['message', '75'], ['gap', '2']]);
  assert.ok(!connection.isJoined('1'));
  assert.deepEqual(socket.lastOp('join').rooms, [{ room: '2', since: '75' }]);
  await socket.says(message('1', '90'));
  assert.equal(heard.length, 3, 'nothing more is heard of it');
  const refused = assert.rejects(connection.send('1', 'still there?'), { code: 'not_joined' });
  await settle();
  await socket.says({ op: 'error', ref: socket.lastOp('send').ref, code: 'not_joined', message: 'no' });
  await refused;
  await socket.dies();
  const next = await reconnected();
  assert.deepEqual(next.lastOp('join').rooms, [{ room: '2', since: '75' }]);
});

test('one error among the rooms of a gap ends a room whose history is being read', async () => {
  /** @type {(page: any) => void} */
  let answer = () => {};
  make({ api: { me: async () => ({}), history: () => new Promise((done) => (answer = done)) } });
  const socket = await inRoom();
  await socket.says({ op: 'joined', rooms: [{ room: '1', last: '80', replayed: null }] });
  await socket.says({ op: 'joined', rooms: [{ room: '1', error: 'forbidden' }] });
  answer({ items: [message('1', '75')] });
  await settle();
  await socket.grantsJoin({ 1: { error: 'forbidden' } });
  assert.deepEqual(heard.filter(([type]) => type === 'refused'), [['refused', '1']], 'told once');
});

test('a room that one has become a member of is told, joined or not', async () => {
  const members = [];
  connection.on('member', ({ room, id, user, state }) => members.push([room, id, user, state]));
  const socket = await inRoom();
  await socket.says({ op: 'member', room: '2', user: '7', state: 'joined', role: 'member' });
  await socket.says({ op: 'member', room: '3', id: '60', ts: 1, user: '7', state: 'joined', role: 'member' });
  await socket.says({ op: 'member', room: '1', id: '61', ts: 1, user: '9', state: 'joined', role: 'member' });
  assert.deepEqual(members, [['2', undefined, '7', 'joined'], ['1', '61', '9', 'joined']]);
});

test('a send waits for its room, resolves by its ack, and keeps its order', async () => {
  connection.connect();
  connection.join({ room: '1', since: '50' });
  const done = [connection.send('1', 'one', { nonce: 'a' }), connection.send('1', 'two', { nonce: 'b' })];
  await settle();
  const socket = FakeSocket.last;
  await socket.welcomes();
  assert.deepEqual(socket.ops('send'), []);
  await socket.grantsJoin();
  assert.deepEqual(socket.ops('send').map(({ body, nonce, room }) => [body, nonce, room]), [['one', 'a', '1']]);
  await socket.says({ op: 'ack', ref: socket.lastOp('send').ref, room: '1', id: '60', ts: 6 });
  assert.deepEqual(await done[0], { id: '60', ts: 6 });
  await socket.says({ op: 'ack', ref: socket.lastOp('send').ref, room: '1', id: '61', ts: 7 });
  assert.deepEqual(await done[1], { id: '61', ts: 7 });
});

test('an unconfirmed send goes again with its nonce after a reconnect; a lost ack is made good by the replay', async () => {
  const socket = await inRoom();
  const repeated = connection.send('1', 'one', { nonce: 'a' });
  await socket.dies();
  const next = await reconnected();
  await next.grantsJoin();
  assert.deepEqual(next.ops('send').map(({ nonce }) => nonce), ['a']);
  await next.says({ op: 'ack', ref: next.lastOp('send').ref, room: '1', id: '60', ts: 6 });
  assert.equal((await repeated).id, '60');

  const replayed = connection.send('1', 'two', { nonce: 'b' });
  await next.dies();
  const third = await reconnected();
  await third.grantsJoin({ 1: { last: '70', replayed: 1 } });
  await third.says(message('1', '70', { from: '7', nonce: 'b' }));
  assert.equal((await replayed).id, '70');
});

test('rate_limited, unavailable and internal are tried again; other refusals reject', async () => {
  const socket = await inRoom();
  const done = assert.rejects(connection.send('1', 'one', { nonce: 'a' }), { code: 'forbidden', message: 'muted' });
  for (const [at, code] of ['rate_limited', 'unavailable', 'internal'].entries()) {
    await socket.says({ op: 'error', ref: socket.lastOp('send').ref, code, message: code, retry_after_ms: 800 });
    await clock.pass(799);
    assert.equal(socket.ops('send').length, at + 1);
    await clock.pass(1);
    assert.equal(socket.ops('send').length, at + 2);
  }
  await socket.says({ op: 'error', ref: socket.lastOp('send').ref, code: 'forbidden', message: 'muted' });
  await done;
});

test('a body that is too long is refused here, and counted in bytes', async () => {
  await inRoom();
  connection.send('1', 'é'.repeat(2048)).catch(() => {});
  await assert.rejects(connection.send('1', 'é'.repeat(2049)), { code: 'too_large' });
});

test('closing rejects what was not sent', async () => {
  await inRoom();
  const done = connection.send('1', 'one');
  connection.close();
  await assert.rejects(done, { code: 'closed' });
  await assert.rejects(connection.send('1', 'two'), { code: 'closed' });
  assert.equal(clock.timers.length, 0, 'no timer is left');
});

test('requests are matched by ref, and fail by error, silence or a lost socket', async () => {
  const socket = await inRoom();
  const presence = connection.presence('1');
  await socket.says({ op: 'presence', ref: socket.lastOp('presence').ref, room: '1', online: ['7'], count: 1 });
  assert.deepEqual((await presence).online, ['7']);

  const refused = assert.rejects(connection.edit('1', '60', 'x'), { code: 'not_found' });
  await socket.says({ op: 'error', ref: socket.lastOp('edit').ref, code: 'not_found', message: 'no' });
  await refused;

  const again = connection.delete('1', '60');
  await socket.dies();
  const next = await reconnected();
  await clock.pass(1_000);
  await next.says({ op: 'ack', ref: next.lastOp('delete').ref, room: '1', id: '61', ts: 6 });
  assert.equal((await again).id, '61');
});
