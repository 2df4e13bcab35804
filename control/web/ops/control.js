/** One control plane: whether it leads, and what keeps messages from Postgres. */

import { announce, h } from '../dom.js';
import { plural } from '../format.js';
import { duration } from './scale.js';
import { SILENT_MS } from './watch.js';

/** @typedef {import('./types.js').Control} Control */

/** By the words of `/health`. @type {Record<string, string>} */
const PROBLEMS = {
  redis: 'Redis is away, or has other data than before',
  database: 'Postgres is away, or refuses',
  'database-read-only': 'Postgres is read-only',
  'database-full': 'Postgres has no room left',
  entry: 'A newer version wrote what this one can’t read',
};

/** @param {Control} first */
export function controlRow(first) {
  const name = first.server_id;
  const badge = h('span', { class: 'badge-state' });
  const about = h('p', { class: 'card-about' });
  const waiting = h('p', { class: 'card-waiting' });
  const problem = h('p', { class: 'card-problem' });
  const element = h('li', { class: 'card control', 'aria-label': name }, h('div', { class: 'card-head' }, h('h3', {}, name), badge, about), waiting, problem);
  return { element, name, draw };

  /** @param {Control} control @param {number} silentMs */
  function draw(control, silentMs) {
    const [state, words] = silentMs >= SILENT_MS ? ['silent', 'Silent'] : control.leader ? ['leader', 'Leader'] : ['standby', 'Standby'];
    if (badge.dataset.state !== undefined && badge.dataset.state !== state) announce(`${name}: ${words}`);
    badge.dataset.state = state;
    badge.textContent = words;
    about.textContent = `${control.address} · version ${control.version} · up ${duration(control.uptime)}`;
    waiting.textContent = `${plural(control.stream_lag, 'entry', 'entries')} to be stored`;
    problem.textContent = control.problem ? PROBLEMS[control.problem] ?? control.problem : '';
  }
}
