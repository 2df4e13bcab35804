/** Messages that were: pages of a room, older ones, back to a certain one. */

import { compareIds } from '../client.js';

/** @typedef {import('../client/types.js').Message} Message */
/** @typedef {import('../store.js').RoomState} RoomState */

const PAGE = 50;
/** When a certain message is looked for. */
const PAGE_FAR = 200;
const PAGES_FAR_MAX = 100;
/** Messages kept for a room that is read at its end. */
const KEEP = 400;
const READ_AGAIN_MS = 800;
const OLDER_AGAIN_MS = 2_000;

export class History {
  /** @param {import('../chat.js').Chat} chat */
  constructor(chat) {
    this.chat = chat;
    this.api = chat.api;
    this.store = chat.store;
  }

  /** Loads what is needed to show a room. @param {string} id */
  async open(id) {
    const state = this.store.state(id);
    if (!state) return;
    this.chat.rooms.loadPresence(id).catch(() => {});
    if (state.members.size === 0) this.chat.rooms.loadMembers(id);
    if (state.history === 'none' || state.history === 'failed') await this.loadNewest(state);
  }

  /** @param {RoomState} state */
  async loadNewest(state) {
    const { id } = state.room;
    const listed = state.lastId ?? '0';
    state.history = 'loading';
    this.store.changed('timeline', id);
    try {
      const { items } = await this.api.history(id, { limit: PAGE });
      const newest = items[items.length - 1]?.id ?? '0';
      const live = state.timeline.messages.filter((message) => compareIds(message.id, newest) > 0);
      this.learn(items);
      state.timeline.reset(items);
      state.timeline.add(...live);
      state.atStart = items.length < PAGE;
      state.history = 'ready';
      if (compareIds(newest, listed) < 0) this.chat.later(() => this.#readAgain(state, newest), READ_AGAIN_MS);
    } catch {
      state.history = 'failed';
    }
    this.store.changed('timeline', id);
  }

  /**
   * The list knew of something newer than history does: something that is no message, or history came from a replica that
   * runs a moment behind.
   * @param {RoomState} state
   * @param {string} after
   */
  async #readAgain(state, after) {
    const { items } = await this.api.history(state.room.id, { after, limit: PAGE }).catch(() => ({ items: [] }));
    if (state.timeline.add(...items) > 0) this.store.changed('timeline', state.room.id);
  }

  /** @param {string} id @param {number} [limit] */
  async loadOlder(id, limit = PAGE) {
    const state = this.store.state(id);
    const before = state?.timeline.oldest;
    if (!state || !before || state.atStart || state.loadingOlder || state.history !== 'ready') return;
    state.loadingOlder = true;
    const done = () => {
      state.loadingOlder = false;
      this.store.changed('timeline', id);
    };
    try {
      const { items } = await this.api.history(id, { before, limit });
      this.learn(items);
      state.timeline.add(...items);
      state.atStart = items.length < limit;
      done();
    } catch {
      this.chat.later(done, OLDER_AGAIN_MS);
    }
  }

  /**
   * Loads back to a message, so that there is no gap between it and the newest.
   * @param {string} id
   * @param {string} msg
   * @returns {Promise<boolean>} whether it is there
   */
  async reach(id, msg) {
    const state = this.store.state(id);
    for (let page = 0; state && page < PAGES_FAR_MAX; page += 1) {
      const { oldest } = state.timeline;
      if (oldest === undefined || compareIds(oldest, msg) <= 0) break;
      await this.loadOlder(id, PAGE_FAR);
      if (state.timeline.oldest === oldest) break;
    }
    return state?.timeline.get(msg) !== undefined;
  }

  /** Forgets old messages of a room that is read at its end. @param {string} id */
  trim(id) {
    const state = this.store.state(id);
    if (!state || state.timeline.messages.length <= KEEP * 2) return;
    state.timeline.trim(KEEP);
    state.atStart = false;
  }

  /** @param {Message[]} messages */
  learn(messages) {
    for (const { from, name } of messages) if (name) this.store.names.set(from, name);
  }
}
