/** The three small windows: browse public rooms, new room, new direct message. */

import { fill, h } from '../dom.js';
import { explain, plural } from '../format.js';
import { icon } from '../icons.js';
import { personAvatar } from './avatar.js';
import { field, showFieldErrors } from './login.js';

const SEARCH_AFTER_MS = 250;

/** @typedef {import('../chat.js').Chat} Chat */
/** @typedef {(room: string) => void} Go */

/**
 * A modal window; the browser keeps the focus inside and closes it on Escape.
 * @param {string} title
 * @param {...(Node | null)} content
 */
function open(title, ...content) {
  const close = h('button', { class: 'icon-button', type: 'button', 'aria-label': 'Close', onclick: () => dialog.close() }, icon('close'));
  const dialog = h(
    'dialog',
    { class: 'dialog', 'aria-labelledby': 'dialog-title', onclose: () => dialog.remove() },
    h('header', { class: 'dialog-head' }, h('h2', { id: 'dialog-title' }, title), close),
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
 * @param {{ title: string, label: string, empty: string, search: (query: string) => Promise<T[]>,
 *   draw: (item: T, dialog: HTMLDialogElement) => Node }} options
 */
function openSearch({ title, label, empty, search, draw }) {
  const results = h('ul', { class: 'results', role: 'list' });
  const note = h('p', { class: 'results-note', role: 'status' });
  const input = h('input', { type: 'search', 'aria-label': label, placeholder: label, autocomplete: 'off', oninput: later });
  const dialog = open(title, h('div', { class: 'search' }, icon('search'), input), note, results);
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
      const items = await search(input.value.trim());
      if (mine !== asked) return;
      fill(results, ...items.map((item) => h('li', {}, draw(item, dialog))));
      note.textContent = items.length === 0 ? empty : '';
    } catch (error) {
      note.textContent = explain(error);
    }
  }
}

/** @param {Chat} chat @param {Go} go */
export function openBrowse(chat, go) {
  const { note } = openSearch({
    title: 'Public rooms',
    label: 'Search rooms',
    empty: 'No public rooms found. Start one of your own.',
    search: async (query) => (await chat.api.publicRooms(query)).items,
    draw: (room, dialog) => {
      const isMine = chat.store.rooms.has(room.id);
      return h(
        'button',
        { class: 'result', onclick: () => enter(room, dialog) },
        h('span', { class: 'avatar room-mark', 'aria-hidden': 'true' }, icon('hash')),
        h('span', { class: 'result-text' },
          h('span', { class: 'result-title' }, room.name),
          h('span', { class: 'result-note' }, [room.topic, room.members ? plural(room.members, 'member') : ''].filter(Boolean).join(' · ')),
        ),
        h('span', { class: 'result-action' }, isMine ? 'Open' : 'Join'),
      );
    },
  });

  /** @param {any} room @param {HTMLDialogElement} dialog */
  async function enter(room, dialog) {
    try {
      if (!chat.store.rooms.has(room.id)) await chat.joinRoom(room);
      dialog.close();
      go(room.id);
    } catch (error) {
      note.textContent = explain(error);
    }
  }
}

/** @param {Chat} chat @param {Go} go */
export function openDirect(chat, go) {
  const { note } = openSearch({
    title: 'New direct message',
    label: 'Search people',
    empty: 'Nobody found by that name.',
    search: async (query) => (await chat.api.users(query)).items.filter((user) => user.id !== chat.store.me.id),
    draw: (user, dialog) =>
      h(
        'button',
        { class: 'result', onclick: () => start(user.id, dialog) },
        personAvatar(user.display_name || user.username),
        h('span', { class: 'result-text' },
          h('span', { class: 'result-title' }, user.display_name || user.username),
          h('span', { class: 'result-note' }, user.username),
        ),
      ),
  });

  /** @param {string} user @param {HTMLDialogElement} dialog */
  async function start(user, dialog) {
    try {
      const room = await chat.startDirect(user);
      dialog.close();
      go(room.id);
    } catch (error) {
      note.textContent = explain(error);
    }
  }
}

/** @param {Chat} chat @param {Go} go */
export function openNewRoom(chat, go) {
  const message = h('p', { class: 'form-error', role: 'alert' });
  const submit = h('button', { class: 'button primary', type: 'submit' }, 'Create room');
  const form = h(
    'form',
    { class: 'dialog-body', onsubmit: create },
    field({ name: 'name', label: 'Name', required: true, maxlength: 64, autocomplete: 'off' }),
    field({ name: 'topic', label: 'What is it about?', maxlength: 256, autocomplete: 'off', hint: 'Optional.' }),
    h('fieldset', { class: 'choices' },
      h('legend', {}, 'Who can join'),
      choice('public', 'Everyone', 'Listed among the public rooms.', true),
      choice('private', 'By invitation', 'Only its members see that it exists.', false),
    ),
    message,
    h('div', { class: 'dialog-actions' }, submit),
  );
  const dialog = open('New room', form);
  form.querySelector('input')?.focus();

  /** @param {Event} event */
  async function create(event) {
    event.preventDefault();
    const data = /** @type {Record<string, string>} */ (Object.fromEntries(new FormData(form)));
    submit.disabled = true;
    showFieldErrors(form, {});
    message.textContent = '';
    try {
      const room = await chat.createRoom({
        name: (data.name ?? '').trim(),
        kind: data.kind === 'private' ? 'private' : 'public',
        topic: data.topic?.trim() || undefined,
      });
      dialog.close();
      go(room.id);
    } catch (error) {
      const { fields = {} } = /** @type {any} */ (error);
      showFieldErrors(form, fields);
      message.textContent = Object.keys(fields).length > 0 ? '' : explain(error);
    } finally {
      submit.disabled = false;
    }
  }
}

/** @param {string} value @param {string} title @param {string} note @param {boolean} checked */
function choice(value, title, note, checked) {
  return h(
    'label',
    { class: 'choice' },
    h('input', { type: 'radio', name: 'kind', value, checked }),
    h('span', { class: 'choice-text' }, h('span', { class: 'choice-title' }, title), h('span', { class: 'choice-note' }, note)),
  );
}
