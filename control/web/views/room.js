/** One room: its head, its messages, who is typing, the field to write in, and its members. */

import { fill, h } from '../dom.js';
import { listNames, plural } from '../format.js';
import { icon } from '../icons.js';
import { roomAvatar } from './avatar.js';
import { showComposer } from './composer.js';
import { openMessageSearch } from './dialogs.js';
import { takeImages } from './images.js';
import { showMembers } from './members.js';
import { showMessages } from './messages.js';

/**
 * @param {Element} main
 * @param {import('../chat.js').Chat} chat
 * @param {string} id
 * @param {{ go: (room: string | null) => void, banner: Element }} options
 */
export function showRoom(main, chat, id, { go, banner }) {
  const { store } = chat;
  const head = h('header', { class: 'room-head' });
  const typing = h('div', { class: 'typing', 'aria-live': 'polite' });
  const composer = showComposer(chat, id, { onSent: () => messages.toEnd() });
  const messages = showMessages(chat, id, { onReply: composer.reply, onEdit: composer.edit, onLeave: composer.focus });
  const members = showMembers(chat, id, { go, onClose: () => toggleMembers(false) });
  const column = h('section', { class: 'room-column' }, head, banner, messages.element, typing, composer.element);
  takeImages(column, composer.sendImages);
  const frame = h('div', { class: 'room' }, column, members.element);
  const title = h('h1', {});
  const subtitle = h('p', {});
  const avatarBox = h('span', { class: 'avatar-box' });
  const membersButton = h('button', { class: 'icon-button', 'aria-label': 'Members', title: 'Members', 'aria-expanded': 'false', onclick: () => toggleMembers() }, icon('people'));
  const search = () => openMessageSearch(chat, id, messages.show);
  const searchButton = h('button', { class: 'icon-button', 'aria-label': 'Search messages', title: 'Search messages', onclick: search }, icon('search'));

  fill(
    head,
    h('button', { class: 'icon-button back', 'aria-label': 'Back to the list', onclick: () => go(null) }, icon('back')),
    avatarBox,
    h('div', { class: 'room-title' }, title, subtitle),
    searchButton,
    membersButton,
  );
  fill(main, frame);
  const stops = [store.on('rooms', drawHead), store.on('members', drawHead), store.on('presence', drawHead), store.on('typing', drawTyping)];
  drawHead();
  drawTyping();
  chat.history.open(id);
  if (matchMedia('(min-width: 60rem) and (hover: hover)').matches) composer.focus();

  return {
    stop() {
      stops.forEach((stop) => stop());
      messages.stop();
      composer.stop();
      members.stop();
    },
  };

  function drawHead() {
    const state = store.state(id);
    if (!state) return;
    fill(avatarBox, roomAvatar(store, state));
    title.textContent = store.title(state);
    const count = state.members.size || state.room.members || 0;
    const people = store.isDirect(state)
      ? (store.isPeerOnline(state) ? 'Online' : 'Direct message')
      : [count > 0 ? plural(count, 'member') : '', state.onlineCount > 0 ? `${state.onlineCount} online` : ''].filter(Boolean).join(', ');
    subtitle.textContent = [people, state.room.topic].filter(Boolean).join(' · ');
  }

  function drawTyping() {
    const users = [...(store.state(id)?.typing.keys() ?? [])];
    const names = users.map((user) => store.nameOf(user));
    const said = names.length === 0 ? '' : `${listNames(names)} ${names.length === 1 ? 'is' : 'are'} typing`;
    if ((typing.dataset.said ?? '') === said) return;
    typing.dataset.said = said;
    fill(typing, said && h('span', { class: 'typing-dots', 'aria-hidden': 'true' }, h('i'), h('i'), h('i')), said);
  }

  /** @param {boolean} [wanted] */
  function toggleMembers(wanted) {
    const isOpen = frame.classList.toggle('with-members', wanted);
    membersButton.setAttribute('aria-expanded', String(isOpen));
    if (isOpen) members.opened();
    else membersButton.focus();
  }
}
