/** The list of one's rooms, the busiest first. */

import { fill, h, reconcile } from '../dom.js';
import { fullTime, plural, shortTime } from '../format.js';
import { roomAvatar } from './avatar.js';

/**
 * @param {Element} nav
 * @param {import('../chat.js').Chat} chat
 * @param {{ onBrowse: () => void }} options
 */
export function showRooms(nav, chat, { onBrowse }) {
  const { store } = chat;
  const list = h('ul', { role: 'list' });
  const drawn = new Map();
  const stops = [store.on('rooms', update), store.on('presence', update), store.on('typing', update)];
  update();
  return { update, stop: () => stops.forEach((stop) => stop()) };

  function update() {
    if (!store.roomsLoaded) return fill(nav, h('p', { class: 'list-note' }, 'Loading…'));
    if (store.rooms.size === 0) return fill(nav, empty());
    if (list.parentElement !== nav) fill(nav, list);
    reconcile(
      list,
      drawn,
      store.sortedRooms().map((state) => ({
        key: state.room.id,
        value: looks(state),
        draw: () => row(state),
      })),
    );
  }

  /** Everything that a row shows, as one string. @param {import('../store.js').RoomState} state */
  function looks(state) {
    const { room, unread, lastTs } = state;
    return JSON.stringify([room.id === store.current, store.title(state), preview(state), unread, when(lastTs), store.isPeerOnline(state)]);
  }

  /** @param {number} ts */
  function when(ts) {
    return ts > 0 ? shortTime(ts, Date.now()) : '';
  }

  /** @param {import('../store.js').RoomState} state */
  function preview(state) {
    if (state.typing.size > 0) return 'typing…';
    if (state.preview) {
      const { from, name, body } = state.preview;
      const who = from === store.me.id ? 'You: ' : store.isDirect(state) ? '' : `${name}: `;
      return who + body;
    }
    if (state.room.topic) return state.room.topic;
    if (store.isDirect(state)) return 'Direct message';
    return state.room.members ? plural(state.room.members, 'member') : '';
  }

  /** @param {import('../store.js').RoomState} state */
  function row(state) {
    const { room, unread, lastTs } = state;
    const isCurrent = room.id === store.current;
    return h(
      'li',
      {},
      h(
        'a',
        { class: `room-row${unread > 0 ? ' unread' : ''}`, href: `#/rooms/${room.id}`, 'aria-current': isCurrent ? 'page' : null },
        h('span', { class: 'avatar-box' }, roomAvatar(store, state), store.isPeerOnline(state) ? h('span', { class: 'online-dot', title: 'Online' }) : null),
        h('span', { class: 'room-row-title' }, store.title(state)),
        lastTs > 0 ? h('time', { class: 'room-row-time', title: fullTime(lastTs) }, when(lastTs)) : null,
        h('span', { class: 'room-row-preview' }, preview(state)),
        unread > 0
          ? h('span', { class: 'badge' }, unread > 99 ? '99+' : String(unread), h('span', { class: 'visually-hidden' }, ' unread'))
          : null,
      ),
    );
  }

  function empty() {
    return h(
      'div',
      { class: 'list-note' },
      h('p', {}, 'No conversations yet.'),
      h('button', { class: 'button', onclick: onBrowse }, 'Browse public rooms'),
    );
  }
}
