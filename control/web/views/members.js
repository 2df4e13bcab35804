/** Who is in a room, those online first. */

import { fill, h } from '../dom.js';
import { icon } from '../icons.js';
import { explain } from '../format.js';
import { personAvatar } from './avatar.js';

/**
 * @param {import('../chat.js').Chat} chat
 * @param {string} id
 * @param {{ go: (room: string) => void, onClose: () => void }} options
 */
export function showMembers(chat, id, { go, onClose }) {
  const { store } = chat;
  const list = h('ul', { role: 'list' });
  const close = h('button', { class: 'icon-button', 'aria-label': 'Close members', onclick: onClose }, icon('close'));
  const element = h('aside', { class: 'members', 'aria-label': 'Members' }, h('header', { class: 'members-head' }, h('h2', {}, 'Members'), close), list, footer());
  const stops = [store.on('members', update), store.on('presence', update)];
  update();
  return {
    element,
    opened() {
      chat.loadMembers(id);
      close.focus();
    },
    stop: () => stops.forEach((stop) => stop()),
  };

  /** A direct room can't be left. */
  function footer() {
    const state = store.state(id);
    if (!state || store.isDirect(state)) return null;
    return h('footer', { class: 'members-foot' }, h('button', { class: 'button wide', onclick: leave }, 'Leave this room'));
  }

  async function leave() {
    const state = store.state(id);
    if (!state || !confirm(`Leave “${store.title(state)}”?`)) return;
    try {
      await chat.leaveRoom(id);
    } catch (error) {
      alert(explain(error));
    }
  }

  function update() {
    const state = store.state(id);
    if (!state) return;
    const nameOf = (/** @type {import('../client/types.js').User} */ user) => user.display_name || user.username;
    const members = [...state.members.values()].sort(
      (a, b) =>
        Number(state.online.has(b.user.id)) - Number(state.online.has(a.user.id)) || nameOf(a.user).localeCompare(nameOf(b.user)),
    );
    fill(list, ...members.map(({ user, role }) => row(user, nameOf(user), role, state.online.has(user.id))));
  }

  /**
   * @param {import('../client/types.js').User} user
   * @param {string} name
   * @param {string} role
   * @param {boolean} isOnline
   */
  function row(user, name, role, isOnline) {
    const isMe = user.id === store.me.id;
    const message = h('button', { class: 'icon-button', 'aria-label': `Message ${name}`, title: `Message ${name}`, onclick: () => direct(user.id) }, icon('message'));
    return h(
      'li',
      { class: 'member' },
      h('span', { class: 'avatar-box' }, personAvatar(name, 'small'), isOnline ? h('span', { class: 'online-dot' }) : null),
      h('span', { class: 'member-text' },
        h('span', { class: 'member-name' }, name, isMe ? ' (you)' : ''),
        h('span', { class: 'member-note' }, [isOnline ? 'Online' : '', role && role !== 'member' ? role : ''].filter(Boolean).join(' · ') || user.username),
      ),
      isMe ? null : message,
    );
  }

  /** @param {string} user */
  async function direct(user) {
    try {
      go((await chat.startDirect(user)).id);
    } catch (error) {
      alert(explain(error));
    }
  }
}
