/** Who is in a room, those online first. */

import { fill, h } from '../dom.js';
import { nameOf } from '../format.js';
import { icon } from '../icons.js';
import { personAvatar } from './avatar.js';
import { confirm } from './dialog.js';
import { openInvite, openMember, openRoomSettings } from './dialogs.js';

/**
 * @param {import('../chat.js').Chat} chat
 * @param {string} id
 * @param {{ go: (room: string) => void, onClose: () => void }} options
 */
export function showMembers(chat, id, { go, onClose }) {
  const { store } = chat;
  const list = h('ul', { role: 'list' });
  const close = h('button', { class: 'icon-button', 'aria-label': 'Close members', onclick: onClose }, icon('close'));
  const footer = h('footer', { class: 'members-foot' });
  const element = h('aside', { class: 'members', 'aria-label': 'Members' }, h('header', { class: 'members-head' }, h('h2', {}, 'Members'), close), list, footer);
  const stops = [store.on('members', update), store.on('presence', update), store.on('rooms', update)];
  update();
  return {
    element,
    opened() {
      chat.rooms.loadMembers(id);
      close.focus();
    },
    stop: () => stops.forEach((stop) => stop()),
  };

  async function leave() {
    const state = store.state(id);
    if (!state) return;
    const isPrivate = state.room.kind === 'private';
    const isSure = await confirm({
      title: `Leave “${store.title(state)}”?`,
      text: isPrivate ? 'You need an invitation to come back.' : 'You can join again among the public rooms.',
      action: 'Leave',
      isDangerous: true,
    });
    if (isSure) chat.attempt(chat.rooms.leave(id));
  }

  function update() {
    const state = store.state(id);
    if (!state) return;
    const isHere = (/** @type {import('../client/types.js').Member} */ { user }) => Number(state.online.has(user.id));
    const members = [...state.members.values()].sort((a, b) => isHere(b) - isHere(a) || nameOf(a.user).localeCompare(nameOf(b.user)));
    fill(list, ...members.map((member) => row(member, state.online.has(member.user.id))));
    drawFooter(state);
  }

  /** A direct room can't be left. @param {import('../store.js').RoomState} state */
  function drawFooter(state) {
    const isAdmin = store.isAdmin(id);
    footer.hidden = store.isDirect(state);
    fill(
      footer,
      isAdmin && h('button', { class: 'button wide', onclick: () => openInvite(chat, id) }, 'Invite people'),
      isAdmin && h('button', { class: 'button wide', onclick: () => openRoomSettings(chat, id) }, 'Room settings'),
      h('button', { class: 'button wide', onclick: leave }, 'Leave this room'),
    );
  }

  /** @param {import('../client/types.js').Member} member @param {boolean} isOnline */
  function row(member, isOnline) {
    const { user, role } = member;
    const name = nameOf(user);
    const isMe = user.id === store.me.id;
    const note = [isOnline ? 'Online' : '', role !== 'member' ? role : ''].filter(Boolean).join(' · ') || user.username;
    return h(
      'li',
      { class: 'member' },
      h('span', { class: 'avatar-box' }, personAvatar(name, 'small'), isOnline ? h('span', { class: 'online-dot' }) : null),
      h('span', { class: 'member-text' },
        h('span', { class: 'member-name' }, name, isMe ? ' (you)' : ''),
        h('span', { class: 'member-note' }, note),
      ),
      !isMe && store.isAdmin(id) && action('sliders', `What ${name} may do`, () => openMember(chat, id, member)),
      !isMe && action('message', `Message ${name}`, () => chat.attempt(direct(user.id))),
    );
  }

  /** @param {string} user */
  async function direct(user) {
    go((await chat.rooms.direct(user)).id);
  }
}

/** @param {import('../icons.js').IconName} name @param {string} label @param {() => void} onclick */
function action(name, label, onclick) {
  return h('button', { class: 'icon-button', 'aria-label': label, title: label, onclick }, icon(name));
}
