/** Windows about people: whom to write to, whom to invite, what somebody may do in a room. */

import { h } from '../../dom.js';
import { explain, nameOf } from '../../format.js';
import { personAvatar } from '../avatar.js';
import { confirm, open } from '../dialog.js';
import { openSearch } from './find.js';
import { makeForm } from './form.js';

/** @typedef {import('../../chat.js').Chat} Chat */
/** @typedef {import('../../client/types.js').User} User */
/** @typedef {import('../../client/types.js').Member} Member */

const ROLES = [
  { role: 'owner', title: 'Owner', note: 'Everything, even deleting the room.' },
  { role: 'admin', title: 'Admin', note: 'Invites, removes, changes the room, deletes messages.' },
  { role: 'member', title: 'Member', note: 'Reads and writes.' },
  { role: 'muted', title: 'Muted', note: 'Reads, but does not write.' },
  { role: 'banned', title: 'Banned', note: 'Is out, and can’t come back.' },
];

/**
 * @param {Chat} chat
 * @param {{ title: string, action?: string, isListed?: (user: User) => boolean, choose: (user: User) => Promise<void> }} options
 */
function openPeople(chat, { title, action, isListed = () => true, choose }) {
  const { note } = openSearch({
    title,
    label: 'Search people',
    empty: 'Nobody found by that name.',
    search: async (query) => (await chat.api.users(query)).items.filter((user) => user.id !== chat.store.me.id && isListed(user)),
    draw: (user, dialog) =>
      h(
        'button',
        { class: 'result', onclick: () => chosen(user, dialog) },
        personAvatar(nameOf(user)),
        h('span', { class: 'result-text' },
          h('span', { class: 'result-title' }, nameOf(user)),
          h('span', { class: 'result-note' }, user.username),
        ),
        action ? h('span', { class: 'result-action' }, action) : null,
      ),
  });

  /** @param {User} user @param {HTMLDialogElement} dialog */
  async function chosen(user, dialog) {
    try {
      await choose(user);
      dialog.close();
    } catch (error) {
      note.textContent = explain(error);
    }
  }
}

/** @param {Chat} chat @param {(room: string) => void} go */
export function openDirect(chat, go) {
  openPeople(chat, { title: 'New direct message', choose: async (user) => go((await chat.rooms.direct(user.id)).id) });
}

/** @param {Chat} chat @param {string} room */
export function openInvite(chat, room) {
  openPeople(chat, {
    title: 'Invite people',
    action: 'Invite',
    isListed: (user) => !chat.store.state(room)?.members.has(user.id),
    choose: (user) => chat.rooms.setRole(room, user.id, 'member'),
  });
}

/** What a member may do. @param {Chat} chat @param {string} room @param {Member} member */
export function openMember(chat, room, { user, role }) {
  const name = nameOf(user);
  const isOwner = chat.store.state(room)?.room.role === 'owner';
  const form = makeForm({
    fields: [
      h('fieldset', { class: 'choices' },
        h('legend', {}, `What ${name} may do here`),
        ...ROLES.filter((choice) => isOwner || !['owner', 'admin'].includes(choice.role)).map(({ role: value, title, note }) =>
          h('label', { class: 'choice' },
            h('input', { type: 'radio', name: 'role', value, checked: value === role }),
            h('span', { class: 'choice-text' }, h('span', { class: 'choice-title' }, title), h('span', { class: 'choice-note' }, note)))),
      ),
    ],
    action: 'Save',
    actions: [h('button', { class: 'button danger-text', type: 'button', onclick: remove }, role === 'banned' ? 'Lift the ban' : 'Remove from the room')],
    save: async ({ role: chosen = role }) => {
      if (chosen !== role) await chat.rooms.setRole(room, user.id, chosen);
      dialog.close();
    },
  });
  const dialog = open(name, h('div', { class: 'dialog-body' }, form));

  async function remove() {
    dialog.close();
    const isSure = role === 'banned' || (await confirm({
      title: `Remove ${name}?`,
      text: 'Their messages stay. A public room can be joined again; to a private one they need an invitation.',
      action: 'Remove',
      isDangerous: true,
    }));
    if (isSure) chat.attempt(chat.rooms.setRole(room, user.id, null));
  }
}
