/** One run of a gateway: how it is, its last minutes, and the button that drains it. */

import { announce, h } from '../dom.js';
import { explain, plural } from '../format.js';
import { confirm } from '../views/dialog.js';
import { toast } from '../views/toast.js';
import { barChart, lineChart } from './chart.js';
import { count, duration, rate } from './scale.js';
import { SILENT_MS } from './watch.js';

/** @typedef {import('./types.js').Gateway} Gateway */
/** @typedef {import('./history.js').Series} Series */

/**
 * @param {Gateway} first
 * @param {(gateway: string) => Promise<unknown>} drain
 */
export function gatewayCard(first, drain) {
  const name = first.server_id;
  let gateway = first;
  /** Other gateways that take clients. */
  let others = 0;
  let isAsked = false;
  const title = h('h3', { tabindex: -1 }, name);
  const badge = h('span', { class: 'badge-state' });
  const about = h('p', { class: 'card-about' });
  const button = h('button', { class: 'button small', onclick: ask, 'aria-label': `Drain ${name}` }, 'Drain');
  const connections = measure(`Connections of ${name}`, 'Connections', lineChart, count);
  const cores = h('div', { class: 'measure' });
  const coresNote = h('p', { class: 'measure-name' });
  const coresChart = barChart({ name: `Connections of ${name} by core`, each: 'core' });
  const delivered = measure(`Deliveries of ${name} a second`, 'Deliveries a second', lineChart, rate);
  const lag = h('p', { class: 'measure-value' });
  const sent = h('p', { class: 'measure-value' });
  cores.append(coresNote, coresChart.element);
  const element = h(
    'li',
    { class: 'card', 'aria-label': name },
    h('div', { class: 'card-head' }, title, badge, about),
    connections.element,
    cores,
    delivered.element,
    h('div', { class: 'measure pair' },
      h('div', {}, h('p', { class: 'measure-name' }, 'Sent a second'), sent),
      h('div', {}, h('p', { class: 'measure-name', title: 'Age of the oldest entry that it read from Redis in the last second' }, 'Behind Redis'), lag)),
    h('div', { class: 'card-action' }, button),
  );
  return { element, name, draw };

  /** @param {Gateway} now @param {{ rates: import('./types.js').Rates, connections: Series, delivered: Series, silentMs: number, takers: number }} seen */
  function draw(now, seen) {
    gateway = now;
    others = seen.takers - (now.draining ? 0 : 1);
    if (now.draining) isAsked = false;
    const [state, words] = stateOf(now, seen.silentMs);
    if (badge.dataset.state !== undefined && badge.dataset.state !== state) announce(`${name}: ${words}`);
    badge.dataset.state = state;
    badge.textContent = words;
    about.textContent = `${now.address} · version ${now.version} · up ${duration(now.uptime)}`;
    button.hidden = state !== 'serving';
    connections.draw(seen.connections, count(now.connections));
    coresNote.textContent = now.cores?.length ? plural(now.cores.length, 'core') : 'Cores: not told';
    coresChart.draw(now.cores ?? []);
    delivered.draw(seen.delivered, rate(seen.rates.delivered));
    sent.textContent = rate(seen.rates.published);
    lag.textContent = now.lag_ms === undefined ? '–' : `${count(now.lag_ms)} ms`;
  }

  /** @param {Gateway} now @param {number} silentMs @returns {[string, string]} */
  function stateOf(now, silentMs) {
    if (silentMs >= SILENT_MS) return ['silent', 'Silent'];
    if (now.draining) return now.connections > 0 ? ['draining', `Draining, ${count(now.connections)} left`] : ['drained', 'Drained'];
    return isAsked ? ['asked', 'To be drained…'] : ['serving', 'Serving'];
  }

  async function ask() {
    const leave = gateway.connections > 0 ? `${plural(gateway.connections, 'client')} will be sent away by and by.` : 'It has no clients now.';
    const where = others > 0 ? 'The other gateways take them.' : 'No other gateway takes clients: they will have nowhere to go.';
    const isSure = await confirm({
      title: `Drain ${name}?`,
      text: `${leave} ${where} It takes no new ones until it is started anew.`,
      action: 'Drain',
      isDangerous: true,
    });
    if (!isSure) return;
    try {
      isAsked = true;
      button.disabled = true;
      await drain(name);
      title.focus(); // the button goes
    } catch (error) {
      isAsked = false;
      toast(explain(error));
    } finally {
      button.disabled = false;
    }
  }
}

/**
 * A number and its last minutes.
 * @param {string} label
 * @param {string} name
 * @param {typeof lineChart} chartOf
 * @param {(value: number) => string} format
 */
function measure(label, name, chartOf, format) {
  const value = h('p', { class: 'measure-value' });
  const chart = chartOf({ name: label, format });
  return {
    element: h('div', { class: 'measure' }, h('p', { class: 'measure-name' }, name), value, chart.element),
    /** @param {Series} series @param {string} now */
    draw(series, now) {
      value.textContent = now;
      chart.draw(series);
    },
  };
}
