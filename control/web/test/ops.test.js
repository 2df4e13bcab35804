import assert from 'node:assert/strict';
import { test } from 'node:test';

import { History, SAMPLES_MAX } from '../ops/history.js';
import { ceiling, duration, paths } from '../ops/scale.js';
import { EVERY_MS, Watch } from '../ops/watch.js';
import { FakeClock, settle } from './fakes.js';

function gateway(run, seenAt, more = {}) {
  const counts = { published: 0, delivered: 0, handshakes: 0, evicted: 0, ...more.counts };
  return { server_id: run.split('#')[0], run, version: '1', address: 'a', connections: 1, draining: false, uptime: 1, seen_at: seenAt, cores: [1], lag_ms: 0, ...more, counts };
}

function control(more = {}) {
  return { server_id: 'c1', version: '1', address: 'a', uptime: 1, seen_at: 1, leader: false, stream_lag: 0, problem: null, ...more };
}

test('counts become rates over the gateway’s own time', () => {
  const history = new History();
  history.add([gateway('g1#1', 1_000)], []);
  assert.equal(history.of('g1#1').rates.delivered, null);
  history.add([gateway('g1#1', 3_000, { counts: { delivered: 40, published: 3 } })], []);
  assert.deepEqual(history.of('g1#1').rates, { published: 1.5, delivered: 20, handshakes: 0, evicted: 0 });
  // Asked again before it counted again.
  history.add([gateway('g1#1', 3_000, { counts: { delivered: 40, published: 3 } })], []);
  assert.deepEqual(history.of('g1#1').delivered, [null, 20, 20]);
  assert.deepEqual(history.cluster.delivered, [null, 20, 20]);
});

test('a gateway that was started anew begins anew; one that has gone is forgotten', () => {
  const history = new History();
  history.add([gateway('g1#1', 1_000, { counts: { delivered: 900 } }), gateway('g2#1', 1_000)], []);
  history.add([gateway('g1#1', 2_000, { counts: { delivered: 910 } }), gateway('g2#1', 2_000, { counts: { delivered: 5 } })], []);
  assert.equal(history.cluster.delivered[1], 15);
  history.add([gateway('g1#2', 3_000, { counts: { delivered: 7 } }), gateway('g2#1', 3_000, { counts: { delivered: 10 } })], []);
  assert.equal(history.of('g1#2').rates.delivered, null);
  assert.equal(history.cluster.delivered[2], 5, 'of what is known');
  assert.deepEqual(history.of('g1#1').connections, []);
});

test('a gateway of an older version tells less', () => {
  const history = new History();
  for (const at of [1_000, 2_000]) {
    const { counts, cores, lag_ms, ...older } = gateway('g1#1', at);
    history.add([older], []);
  }
  assert.equal(history.of('g1#1').rates.delivered, null);
  assert.deepEqual(history.cluster.connections, [1, 1]);
});

test('what waits is what the leader says, or the most where nobody leads', () => {
  const history = new History();
  history.add([], [control({ stream_lag: 9 }), control({ server_id: 'c2', leader: true, stream_lag: 4 })]);
  history.add([], [control({ stream_lag: 9 }), control({ server_id: 'c2', stream_lag: 4 })]);
  history.add([], []);
  assert.deepEqual(history.cluster.lag, [4, 9, null]);
});

test('only the last minutes are kept', () => {
  const history = new History();
  for (let at = 0; at < SAMPLES_MAX + 20; at += 1) history.add([gateway('g1#1', at)], []);
  history.skip();
  assert.equal(history.cluster.connections.length, SAMPLES_MAX);
  assert.equal(history.of('g1#1').connections.length, SAMPLES_MAX);
  assert.equal(history.cluster.connections.at(-1), null);
});

test('the ends of scales are round', () => {
  const cases = [[0, 1], [0.3, 0.5], [1, 1], [3, 5], [7, 10], [10, 10], [11, 20], [99_000, 100_000]];
  for (const [value, expected] of cases) assert.equal(Math.round(ceiling(value) * 1e6) / 1e6, expected, String(value));
});

test('lines end at the right edge, and have gaps where nothing is known', () => {
  const box = { width: 40, height: 12, slots: 5, most: 10 };
  assert.deepEqual(paths([], box), { line: '', area: '' });
  assert.equal(paths([0, 10], box).line, 'M30 11L40 1');
  assert.equal(paths([0, 10], box).area, 'M30 11L40 1V12H30Z');
  assert.equal(paths([5, 5, null, 0, 10], box).line, 'M0 6L10 6M30 11L40 1');
  assert.equal(paths([null, 5], box).line, 'M35 6L40 6', 'one value is seen, too');
});

test('durations read in their largest unit', () => {
  assert.deepEqual([5, 61, 7_200, 90_000, 200_000].map(duration), ['5 s', '1 min', '2 h', '25 h', '2 days']);
});

/** A watch over a server that answers what the test says. */
function watching() {
  const clock = new FakeClock();
  const page = Object.assign(new EventTarget(), { visibilityState: 'visible' });
  const server = { gateways: [gateway('g1#1', 1)], controls: [control()], asked: 0, fails: null };
  const ask = async (path) => {
    if (path === '/admin/gateways') server.asked += 1;
    if (server.fails) throw server.fails;
    return { items: path === '/admin/gateways' ? server.gateways : server.controls };
  };
  const watch = new Watch({ ask, page, clock });
  const told = [];
  for (const type of ['seen', 'refused']) watch.addEventListener(type, () => told.push(type));
  const show = (state) => {
    page.visibilityState = state;
    page.dispatchEvent(new Event('visibilitychange'));
    return settle();
  };
  return { clock, server, watch, told, show };
}

test('it asks while somebody looks, and not otherwise', async () => {
  const { clock, server, watch, show } = watching();
  watch.start();
  await settle();
  await clock.pass(2 * EVERY_MS);
  assert.equal(server.asked, 3);
  await show('hidden');
  assert.equal(watch.state, 'paused');
  await clock.pass(60_000);
  assert.equal(server.asked, 3);
  await show('visible');
  assert.deepEqual([server.asked, watch.state], [4, 'live']);
  assert.deepEqual(watch.history.cluster.connections, [1, 1, 1, null, 1], 'nothing is made up for the while between');
  watch.stop();
  await clock.pass(60_000);
  assert.equal(server.asked, 4);
});

test('a server that does not answer is asked again; one that refuses is not', async () => {
  const { clock, server, watch, told } = watching();
  watch.start();
  await settle();
  server.fails = Object.assign(new Error('away'), { status: 503 });
  await clock.pass(EVERY_MS);
  assert.equal(watch.state, 'unreachable');
  server.fails = null;
  await clock.pass(EVERY_MS);
  assert.equal(watch.state, 'live');
  server.fails = Object.assign(new Error('no'), { status: 403 });
  await clock.pass(10 * EVERY_MS);
  assert.deepEqual(told, ['seen', 'seen', 'refused']);
  assert.equal(server.asked, 4);
});

test('who tells nothing new is silent, whatever the clocks say', async () => {
  const { clock, server, watch } = watching();
  watch.start();
  await settle();
  for (let turn = 0; turn < 3; turn += 1) {
    server.gateways = [gateway('g1#1', 10 + turn), gateway('g2#1', 500)];
    await clock.pass(EVERY_MS);
  }
  assert.equal(watch.silentFor('g1#1'), 0);
  assert.equal(watch.silentFor('g2#1'), 2 * EVERY_MS);
});
