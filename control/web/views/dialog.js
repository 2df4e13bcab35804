/** Small windows: the frame, a search in one, a question. */

import { fill, h } from '../dom.js';
import { explain } from '../format.js';
import { icon } from '../icons.js';
import { showFieldErrors } from './login.js';

const SEARCH_AFTER_MS = 250;

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
 * A search field with results below.
 * @template T
 * @param {{ title: string, label: string, empty: string | ((query: string) => string), search: (query: string) => Promise<T[]>,
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
      const items = await search(query);
      if (mine !== asked) return;
      fill(results, ...items.map((item) => h('li', {}, draw(item, dialog))));
      note.textContent = items.length > 0 ? '' : typeof empty === 'string' ? empty : empty(query);
    } catch (error) {
      if (mine === asked) note.textContent = explain(error);
    }
  }
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

/**
 * A form that shows what the server says about its fields.
 * @param {{ fields: Element[], action: string, actions?: Element[],
 *   save: (values: Record<string, string>, form: HTMLFormElement) => Promise<void>, explains?: (error: any) => string }} options
 */
export function makeForm({ fields, action, actions = [], save, explains = explain }) {
  const message = h('p', { class: 'form-error', role: 'alert' });
  const submit = h('button', { class: 'button primary', type: 'submit' }, action);
  const form = h('form', { class: 'form', onsubmit }, ...fields, message, h('div', { class: 'dialog-actions' }, ...actions, submit));
  return form;

  /** @param {Event} event */
  async function onsubmit(event) {
    event.preventDefault();
    const values = /** @type {Record<string, string>} */ (Object.fromEntries(new FormData(form)));
    submit.disabled = true;
    showFieldErrors(form, {});
    message.textContent = '';
    try {
      await save(values, form);
    } catch (error) {
      const { fields: errors = {} } = /** @type {any} */ (error);
      showFieldErrors(form, errors);
      message.textContent = Object.keys(errors).length > 0 ? '' : explains(error);
    } finally {
      submit.disabled = false;
    }
  }
}
