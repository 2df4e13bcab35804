/** Round marks for people and rooms. */

import { h } from '../dom.js';
import { colourClass, initials } from '../format.js';
import { icon } from '../icons.js';

/** @param {string} name @param {string} [size] a class */
export function personAvatar(name, size = '') {
  return h('span', { class: `avatar ${colourClass(name)} ${size}`, 'aria-hidden': 'true' }, initials(name));
}

/**
 * @param {import('../store.js').Store} store
 * @param {import('../store.js').RoomState} state
 * @param {string} [size]
 */
export function roomAvatar(store, state, size = '') {
  if (store.isDirect(state)) return personAvatar(store.title(state), size);
  return h('span', { class: `avatar room-mark ${size}`, 'aria-hidden': 'true' }, icon(state.room.kind === 'private' ? 'lock' : 'hash'));
}
