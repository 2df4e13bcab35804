/** A small window to find something in. */

import { fill, h } from '../../dom.js';
import { explain } from '../../format.js';
import { icon } from '../../icons.js';
import { open } from '../dialog.js';

const SEARCH_AFTER_MS = 250;

/**
 * A search field with results below.
 * @template T
 * @param {{ title: string, label: string, empty: string | ((query: string) => string), search: (query: string, isWanted: () => boolean) => Promise<T[]>,
 *   draw: (item: T, dialog: HTMLDialogElement) => Node }} options
 */
export function openSearch({ title, label, empty, search, draw }) {
  const results = h('ul', { class: 'results', role: 'list' });
  const note = h('p', { class: 'results-note', role: 'status' });
  const input = h('input', { type: 'search', 'aria-label': label, placeholder: label, autocomplete: 'off', oninput: later });
  const dialog = open(title, h('div', { class: 'search' }, icon('search'), input), note, results);
  input.focus();
  /** @type {any} */
  let timer = null;
  let asked = 0;
  run();
  return { dialog, note };

  function later() {
    clearTimeout(timer);
    timer = setTimeout(run, SEARCH_AFTER_MS);
  }

  async function run() {
    asked += 1;
    const mine = asked;
    try {
      const query = input.value.trim();
      const items = await search(query, () => mine === asked && dialog.isConnected);
      if (mine !== asked) return;
      fill(results, ...items.map((item) => h('li', {}, draw(item, dialog))));
      note.textContent = items.length > 0 ? '' : typeof empty === 'string' ? empty : empty(query);
    } catch (error) {
      if (mine === asked) note.textContent = explain(error);
    }
  }
}
