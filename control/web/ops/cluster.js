/** The whole page: the cluster in numbers, its gateways, its control planes. */

import { announce, fill, h } from '../dom.js';
import { lineChart } from './chart.js';
import { gatewayCard } from './gateway.js';
import { controlRow } from './control.js';
import { lagOf } from './history.js';
import { count, extent, rate } from './scale.js';
import { SILENT_MS } from './watch.js';

/** @typedef {import('./watch.js').Watch} Watch */

const STATES = { loading: 'Loading…', live: 'Live', paused: 'Paused', unreachable: 'Not reachable. Trying again…' };

/**
 * @param {Element} root
 * @param {Watch} watch
 * @param {(gateway: string) => Promise<unknown>} drain
 */
export function showCluster(root, watch, drain) {
  const state = h('span', {});
  const stateLine = h('p', { class: 'ops-state', role: 'status' }, h('span', { class: 'status-dot', 'aria-hidden': 'true' }), state);
  const { cluster } = watch.history;
  const now = (/** @type {import('./history.js').Series} */ series) => series[series.length - 1] ?? null;
  const numbers = [
    number('Connections', cluster.connections, () => count(now(cluster.connections) ?? 0), count),
    number('Messages sent a second', cluster.published, () => rate(now(cluster.published)), rate),
    number('Deliveries a second', cluster.delivered, () => rate(now(cluster.delivered)), rate),
    number('Handshakes a second', cluster.handshakes, () => rate(now(cluster.handshakes)), rate),
    number('Evictions a second', cluster.evicted, () => rate(now(cluster.evicted)), rate),
    number('Entries to be stored', cluster.lag, () => (watch.controls.length > 0 ? count(lagOf(watch.controls)) : '–'), count),
  ];
  const gateways = h('ul', { class: 'ops-list', role: 'list' });
  const controls = h('ul', { class: 'ops-list', role: 'list' });
  /** @type {Map<string, ReturnType<typeof gatewayCard>>} */
  const cards = new Map();
  /** @type {Map<string, ReturnType<typeof controlRow>>} */
  const rows = new Map();
  fill(
    root,
    h('header', { class: 'ops-head' },
      h('h1', { class: 'brand' }, h('img', { src: '/favicon.svg', alt: '', width: 26, height: 26 }), 'Hubbub operations'),
      stateLine,
      h('a', { class: 'button small', href: '/' }, 'To the chat')),
    h('main', { class: 'ops' },
      h('section', { class: 'numbers', 'aria-label': 'The whole system' }, ...numbers.map(({ element }) => element)),
      h('section', { 'aria-labelledby': 'gateways' }, h('h2', { id: 'gateways' }, 'Gateways'), gateways),
      h('section', { 'aria-labelledby': 'controls' }, h('h2', { id: 'controls' }, 'Control planes'), controls)),
  );
  watch.addEventListener('state', drawState);
  watch.addEventListener('seen', draw);
  drawState();
  draw();
  return {
    stop() {
      watch.removeEventListener('state', drawState);
      watch.removeEventListener('seen', draw);
    },
  };

  function drawState() {
    stateLine.dataset.state = watch.state;
    if (state.textContent !== STATES[watch.state]) state.textContent = STATES[watch.state];
    numbers.forEach((one) => one.draw());
  }

  function draw() {
    const takers = watch.gateways.filter(({ run, draining }) => !draining && watch.silentFor(run) < SILENT_MS).length;
    inOrder(gateways, cards, watch.gateways, ({ run }) => run, (gateway) => gatewayCard(gateway, drain), (card, gateway) =>
      card.draw(gateway, { ...watch.history.of(gateway.run), silentMs: watch.silentFor(gateway.run), takers }), 'No gateway has told of itself.');
    inOrder(controls, rows, watch.controls, ({ server_id }) => server_id, controlRow, (row, control) => row.draw(control, watch.silentFor(control.server_id)), 'No control plane has told of itself.');
  }
}

/**
 * One number of the whole system, and its last minutes.
 * @param {string} name
 * @param {import('./history.js').Series} series
 * @param {() => string} current
 * @param {(value: number) => string} format
 */
function number(name, series, current, format) {
  const value = h('p', { class: 'number-value' });
  const most = h('p', { class: 'number-most' });
  const chart = lineChart({ name, format });
  const element = h('div', { class: 'number' }, h('h2', { class: 'number-name' }, name), h('div', { class: 'number-line' }, value, most), chart.element);
  return {
    element,
    draw() {
      const seen = extent(series);
      value.textContent = current();
      most.textContent = seen ? `at most ${format(seen.most)}` : '';
      chart.draw(series);
    },
  };
}

/**
 * Keeps what is drawn and in focus, adds what is new, removes what is gone, and tells screen readers of both.
 * @template T
 * @template {{ element: HTMLElement, name: string }} V
 * @param {HTMLElement} list
 * @param {Map<string, V>} drawn
 * @param {T[]} items
 * @param {(item: T) => string} keyOf
 * @param {(item: T) => V} make
 * @param {(view: V, item: T) => void} draw
 * @param {string} empty
 */
function inOrder(list, drawn, items, keyOf, make, draw, empty) {
  const isFirst = drawn.size === 0;
  const keys = new Set(items.map(keyOf));
  for (const [key, view] of drawn) {
    if (keys.has(key)) continue;
    view.element.remove();
    drawn.delete(key);
    announce(`${view.name} is gone`);
  }
  if (items.length === 0) return fill(list, h('li', { class: 'ops-empty' }, empty));
  list.querySelector('.ops-empty')?.remove();
  for (const [place, item] of items.entries()) {
    let view = drawn.get(keyOf(item));
    if (!view) {
      view = make(item);
      drawn.set(keyOf(item), view);
      if (!isFirst) announce(`${view.name} is there`);
    }
    if (list.children[place] !== view.element) list.insertBefore(view.element, list.children[place] ?? null);
    draw(view, item);
  }
}
