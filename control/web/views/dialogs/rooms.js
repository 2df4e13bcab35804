/** Windows about rooms: the public ones, a new one, the settings of one. */

import { h } from '../../dom.js';
import { explain, plural } from '../../format.js';
import { icon } from '../../icons.js';
import { confirm, open } from '../dialog.js';
import { openSearch } from './find.js';
import { makeForm } from './form.js';
import { field } from '../login.js';

/** @typedef {import('../../chat.js').Chat} Chat */
/** @typedef {import('../../client/types.js').Room} Room */
/** @typedef {(room: string) => void} Go */

/** @param {Chat} chat @param {Go} go */
export function openBrowse(chat, go) {
  const { note } = openSearch({
    title: 'Public rooms',
    label: 'Search rooms',
    empty: 'No public rooms found. Start one of your own.',
    search: async (query) => (await chat.api.publicRooms(query)).items,
    draw: (room, dialog) =>
      h(
        'button',
        { class: 'result', onclick: () => enter(room, dialog) },
        h('span', { class: 'avatar room-mark', 'aria-hidden': 'true' }, icon('hash')),
        h('span', { class: 'result-text' },
          h('span', { class: 'result-title' }, room.name),
          h('span', { class: 'result-note' }, [room.topic, room.members ? plural(room.members, 'member') : ''].filter(Boolean).join(' · ')),
        ),
        h('span', { class: 'result-action' }, chat.store.rooms.has(room.id) ? 'Open' : 'Join'),
      ),
  });

  /** @param {Room} room @param {HTMLDialogElement} dialog */
  async function enter(room, dialog) {
    try {
      if (!chat.store.rooms.has(room.id)) await chat.rooms.join(room);
      dialog.close();
      go(room.id);
    } catch (error) {
      note.textContent = explain(error);
    }
  }
}

/** @param {Chat} chat @param {Go} go */
export function openNewRoom(chat, go) {
  const form = makeForm({
    fields: [
      ...nameAndTopic(),
      h('fieldset', { class: 'choices' },
        h('legend', {}, 'Who can join'),
        choice('public', 'Everyone', 'Listed among the public rooms.', true),
        choice('private', 'By invitation', 'Only its members see that it exists.', false),
      ),
    ],
    action: 'Create room',
    save: async ({ name = '', topic = '', kind }) => {
      const room = await chat.rooms.create({ name: name.trim(), kind: kind === 'private' ? 'private' : 'public', topic: topic.trim() || undefined });
      dialog.close();
      go(room.id);
    },
  });
  const dialog = open('New room', h('div', { class: 'dialog-body' }, form));
  form.querySelector('input')?.focus();
}

/** @param {Chat} chat @param {string} id */
export function openRoomSettings(chat, id) {
  const room = chat.store.state(id)?.room;
  if (!room) return;
  const form = makeForm({
    fields: nameAndTopic(room),
    action: 'Save',
    actions: room.role === 'owner' ? [h('button', { class: 'button danger-text', type: 'button', onclick: remove }, 'Delete room')] : [],
    save: async ({ name = '', topic = '' }) => {
      await chat.rooms.update(id, { name: name.trim(), topic: topic.trim() });
      dialog.close();
    },
  });
  const dialog = open('Room settings', h('div', { class: 'dialog-body' }, form));

  async function remove() {
    dialog.close();
    const isSure = await confirm({
      title: `Delete “${room?.name}”?`,
      text: 'Everything that was said in it goes with it, for everyone. This can’t be undone.',
      action: 'Delete room',
      isDangerous: true,
    });
    if (isSure) chat.attempt(chat.rooms.delete(id));
  }
}

/** @param {Room} [room] */
function nameAndTopic(room) {
  return [
    field({ name: 'name', label: 'Name', required: true, maxlength: 64, autocomplete: 'off', value: room?.name ?? null }),
    field({ name: 'topic', label: 'What is it about?', maxlength: 256, autocomplete: 'off', hint: 'Optional.', value: room?.topic ?? null }),
  ];
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
