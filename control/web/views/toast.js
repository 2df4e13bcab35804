/** Short notes at the edge of the screen, for what did not work. */

import { h } from '../dom.js';

const SHOWN_MS = 6_000;

/** @param {string} text */
export function toast(text) {
  const note = h('div', { class: 'toast', role: 'alert' }, text);
  document.body.append(note);
  setTimeout(() => note.remove(), SHOWN_MS);
}
