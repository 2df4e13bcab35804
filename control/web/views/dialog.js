/** Small windows: the frame, and a question. */

import { h } from '../dom.js';
import { icon } from '../icons.js';

/**
 * A modal window; the browser keeps the focus inside and closes it on Escape.
 * @param {string} title
 * @param {...(Node | null)} content
 */
export function open(title, ...content) {
  const close = h('button', { class: 'icon-button', type: 'button', 'aria-label': 'Close', onclick: () => dialog.close() }, icon('close'));
  const dialog = h(
    'dialog',
    { class: 'dialog', 'aria-label': title, onclose: () => dialog.remove() },
    h('header', { class: 'dialog-head' }, h('h2', {}, title), close),
    ...content,
  );
  // A click outside closes; one that began inside, such as selecting text, does not.
  dialog.addEventListener('pointerdown', (event) => {
    if (event.target === dialog) dialog.close();
  });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/**
 * Asks before something that can't be undone.
 * @param {{ title: string, text: string, action: string, isDangerous?: boolean }} question
 * @returns {Promise<boolean>}
 */
export function confirm({ title, text, action, isDangerous = false }) {
  return new Promise((resolve) => {
    const no = h('button', { class: 'button', type: 'button', onclick: () => dialog.close() }, 'Cancel');
    const yes = h('button', { class: `button ${isDangerous ? 'danger' : 'primary'}`, type: 'button', onclick: () => dialog.close('yes') }, action);
    const dialog = open(title, h('div', { class: 'dialog-body' }, h('p', { class: 'question' }, text), h('div', { class: 'dialog-actions' }, no, yes)));
    dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes'));
    no.focus();
  });
}
