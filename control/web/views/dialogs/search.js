/** Finding messages of a room. */

import { h } from '../../dom.js';
import { inWords, shortTime } from '../../format.js';
import { personAvatar } from '../avatar.js';
import { openSearch } from './find.js';

/** @typedef {import('../../chat.js').Chat} Chat */

/** Answers without a message before giving up. */
const PARTS = 10;

/** @param {Chat} chat @param {string} room @param {(message: string) => void} show */
export function openMessageSearch(chat, room, show) {
  const state = chat.store.state(room);
  openSearch({
    title: 'Search messages',
    label: state ? `Search in ${chat.store.title(state)}` : 'Search',
    empty: (query) => (query === '' ? 'Type words that were said in this room.' : 'Nothing was found.'),
    search: async (query, isWanted) => (query === '' ? [] : firstFound(chat, room, query, isWanted)),
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

/**
 * The newest messages with these words. In a very large room the server answers in parts, perhaps with nothing yet.
 * @param {Chat} chat @param {string} room @param {string} query @param {() => boolean} isWanted
 */
async function firstFound(chat, room, query, isWanted) {
  let cursor;
  for (let part = 0; part < PARTS && isWanted(); part += 1) {
    const page = await chat.api.search(room, query, cursor);
    if (page.items.length > 0 || page.next === null) return page.items;
    cursor = page.next;
  }
  return [];
}
