/**
 * The operators' page: gateways and control planes as they are, and the last minutes of them. Whether somebody is an
 * operator the server says, by answering or not.
 */

import { Api } from './client/rest.js';
import { fill, h } from './dom.js';
import { explain } from './format.js';
import { showCluster } from './ops/cluster.js';
import { Watch } from './ops/watch.js';

const root = /** @type {HTMLElement} */ (document.getElementById('ops'));
const api = new Api();
const watch = new Watch({ ask: (path) => api.request('GET', path), page: document });

/** @type {{ stop: () => void } | null} */
let cluster = null;

watch.addEventListener('seen', () => {
  cluster ??= showCluster(root, watch, (gateway) => api.request('POST', `/admin/gateways/${encodeURIComponent(gateway)}/drain`));
});
watch.addEventListener('refused', (/** @type {any} */ { detail }) => {
  cluster?.stop();
  refuse(detail.status);
});
watch.addEventListener('state', () => {
  if (cluster === null && watch.state === 'unreachable') note('Hubbub is not reachable', explain(watch.problem));
});
note('Operations', 'Loading…');
watch.start();

/** @param {number} status */
function refuse(status) {
  if (status === 401) note('Sign in first', 'This page is for operators who are signed in.', link('/', 'Sign in'));
  else note('For operators only', 'Your account may not see this page.', link('/', 'To the chat'));
}

/** @param {string} title @param {string} text @param {Node} [more] */
function note(title, text, more) {
  fill(root, h('main', { class: 'ops-note' }, h('h1', {}, title), h('p', { role: 'status' }, text), more ?? null));
}

/** @param {string} href @param {string} text */
function link(href, text) {
  return h('a', { class: 'button', href }, text);
}
