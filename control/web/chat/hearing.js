/** What comes over the connection, and what it changes in the store. */

import { compareIds } from '../client.js';
import { previewOf } from './rooms.js';

/** @typedef {import('../client/types.js').Message} Message */

const TYPING_LASTS_MS = 5_000;

export class Hearing {
  /** @param {import('../chat.js').Chat} chat */
  constructor(chat) {
    this.chat = chat;
    this.store = chat.store;
  }

  listen() {
    const { store } = this;
    const { connection, rooms, history } = this.chat;
    connection.on('state', (status) => {
      store.status = status;
      store.changed('status');
      if (status.state === 'closed' && status.reason !== 'closed') {
        this.chat.signedOut();
      }
    });
    connection.on('welcome', () => {
      if (store.roomsLoaded) rooms.refreshQuietly();
    });
    connection.on('message', (message) => this.#heard(message));
    connection.on('edited', (change) => this.#changed(change.room, (timeline) => timeline.edit(change)));
    connection.on('deleted', (change) => this.#changed(change.room, (timeline) => timeline.delete(change)));
    connection.on('reacted', (change) => this.#changed(change.room, (timeline) => timeline.react(change)));
    connection.on('typing', ({ room, from }) => {
      if (from === store.me.id) return;
      store.state(room)?.typing.set(from, Date.now());
      store.changed('typing', room);
    });
    connection.on('read', ({ room, from, msg }) => this.#readElsewhere(room, from, msg));
    connection.on('presence', (event) => this.#presence(event));
    connection.on('joined', ({ room }) => {
      const state = store.state(room);
      if (state && (room === store.current || store.isDirect(state))) rooms.loadPresence(room).catch(() => {});
    });
    connection.on('member', ({ room, user, state }) => {
      const isMe = user === store.me.id;
      if (isMe && state !== 'joined' && state !== 'role') rooms.forget(room);
      else if (store.current === room) rooms.loadMembers(room);
      // An invitation, a direct room that somebody opened, what one joined in another window; or another role.
      if (isMe && (state === 'role' || !store.rooms.has(room))) rooms.refreshQuietly();
    });
    connection.on('room', ({ room, state }) => {
      if (state === 'deleted') rooms.forget(room);
      else rooms.refreshQuietly();
    });
    connection.on('refused', ({ room }) => rooms.refused(room));
    connection.on('gap', ({ room }) => {
      const state = store.state(room);
      // What changed in older messages meanwhile is only in history.
      if (state?.history === 'ready') history.loadNewest(state);
    });
  }

  /** @param {Message} message */
  #heard(message) {
    const { store } = this;
    const state = store.state(message.room);
    if (!state) return;
    this.chat.history.learn([message]);
    state.timeline.add(message);
    state.typing.delete(message.from);
    if (message.ts >= state.lastTs) {
      state.lastTs = message.ts;
      state.lastId = message.id;
      state.preview = previewOf(message);
    }
    if (message.from === store.me.id) state.unread = 0;
    else state.unread += 1;
    store.changed('timeline', message.room);
    store.changed('typing', message.room);
    store.changed('rooms', message.room);
    this.chat.dispatchEvent(new CustomEvent('message', { detail: message }));
  }

  /**
   * @param {string} room
   * @param {(timeline: import('../client.js').Timeline) => boolean} apply
   */
  #changed(room, apply) {
    const state = this.store.state(room);
    if (state && apply(state.timeline)) this.store.changed('timeline', room);
  }

  /** @param {string} room @param {string} from @param {string} msg */
  #readElsewhere(room, from, msg) {
    const state = this.store.state(room);
    if (!state || from !== this.store.me.id) return;
    state.unread = state.timeline.messages.filter((message) => message.from !== from && compareIds(message.id, msg) > 0).length;
    this.store.changed('rooms', room);
  }

  /** @param {import('../client/types.js').Events['presence']} event */
  #presence({ room, user, state: presence, online, count }) {
    const state = this.store.state(room);
    if (!state) return;
    if (online) {
      state.online = new Set(online);
      state.onlineCount = count ?? online.length;
    } else if (user) {
      const changed = presence === 'online' ? !state.online.has(user) : state.online.has(user);
      if (!changed) return;
      if (presence === 'online') state.online.add(user);
      else state.online.delete(user);
      state.onlineCount += presence === 'online' ? 1 : -1;
    }
    this.store.changed('presence', room);
  }

  forgetTyping() {
    const oldest = Date.now() - TYPING_LASTS_MS;
    for (const [id, { typing }] of this.store.rooms) {
      for (const [user, at] of typing) {
        if (at >= oldest) continue;
        typing.delete(user);
        this.store.changed('typing', id);
      }
    }
  }
}
