/** Finding messages of a room. */

import { h } from '../../dom.js';
import { inWords, shortTime } from '../../format.js';
import { personAvatar } from '../avatar.js';
import { openSearch } from './find.js';

/** @typedef {import('../../chat.js').Chat} Chat */

/** @param {Chat} chat @param {string} room @param {(message: string) => void} show */
export function openMessageSearch(chat, room, show) {
  const state = chat.store.state(room);
  openSearch({
    title: 'Search messages',
    label: state ? `Search in ${chat.store.title(state)}` : 'Search',
    empty: (query) => (query === '' ? 'Type words that were said in this room.' : 'Nothing was found.'),
    search: async (query) => (query === '' ? [] : (await chat.api.search(room, query)).items),
    draw: (message, dialog) =>
      h(
        'button',
        {
          class: 'result',
          onclick: () => {
            dialog.close();
            show(message.id);
          },
        },
        personAvatar(message.name, 'small'),
        h('span', { class: 'result-text' },
          h('span', { class: 'result-head' }, h('span', { class: 'result-title' }, message.name), h('time', { class: 'result-note' }, shortTime(message.ts, Date.now()))),
          h('span', { class: 'result-body' }, inWords(message)),
        ),
      ),
  });
}
