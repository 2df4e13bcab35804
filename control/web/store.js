/**
 * What the page knows, and nothing about how it came or how it looks. Views listen for changes; `chat.js` makes them.
 *
 * Events: `rooms` (the list or an entry of it), `timeline`, `typing`, `presence`, `members`, `progress` of an upload (each
 * with the room's id), `status`.
 */

import { Timeline, idToTime } from './client.js';

/** @typedef {import('./client/types.js').Room} Room */
/** @typedef {import('./client/types.js').Message} Message */
/** @typedef {import('./client/types.js').Member} Member */
/** @typedef {import('./client/types.js').StateChange} StateChange */

/**
 * @typedef {object} RoomState
 * @property {Room} room
 * @property {number} unread
 * @property {string | null} lastId   of the newest event
 * @property {number} lastTs
 * @property {{ name: string, from: string, body: string } | null} preview   the newest message, shortly
 * @property {boolean} isPreviewAsked
 * @property {Timeline} timeline
 * @property {'none' | 'loading' | 'ready' | 'failed'} history
 * @property {boolean} atStart        whether the oldest message is loaded
 * @property {boolean} loadingOlder
 * @property {Map<string, number>} typing   user to when it was last seen
 * @property {Map<string, Member>} members
 * @property {Set<string>} online
 * @property {number} onlineCount
 * @property {string | null} readUpTo
 */

export class Store extends EventTarget {
  /** @type {{ id: string, name: string }} */
  me = { id: '', name: '' };
  /** @type {Map<string, RoomState>} */
  rooms = new Map();
  roomsLoaded = false;
  /** @type {Map<string, string>} user id to name */
  names = new Map();
  /** @type {StateChange} */
  status = { state: 'connecting' };
  /** @type {string | null} the room in view */
  current = null;

  /** @param {string} type @param {string} [room] @param {any} [more] */
  changed(type, room, more) {
    this.dispatchEvent(new CustomEvent(type, { detail: { room, more } }));
  }

  /** @param {string} type @param {(room: string, more?: any) => void} listener */
  on(type, listener) {
    const handle = (/** @type {any} */ { detail }) => listener(detail.room, detail.more);
    this.addEventListener(type, handle);
    return () => this.removeEventListener(type, handle);
  }

  /**
   * Adds a room or refreshes what the server says about it.
   * @param {Room} room
   */
  putRoom(room) {
    const lastId = room.last && room.last !== '0' ? room.last : null;
    const lastTs = lastId === null ? 0 : idToTime(lastId);
    const known = this.rooms.get(room.id);
    if (!known) {
      this.rooms.set(room.id, {
        room,
        unread: room.unread ?? 0,
        lastId,
        lastTs,
        preview: null,
        isPreviewAsked: false,
        timeline: new Timeline(),
        history: 'none',
        atStart: false,
        loadingOlder: false,
        typing: new Map(),
        members: new Map(),
        online: new Set(),
        onlineCount: 0,
        readUpTo: null,
      });
      return;
    }
    known.room = { ...known.room, ...room };
    if (lastTs >= known.lastTs) {
      known.lastTs = lastTs;
      known.lastId = lastId;
    }
  }

  /** @param {string} id */
  state(id) {
    return this.rooms.get(id);
  }

  /** Rooms by last activity, newest first. */
  sortedRooms() {
    return [...this.rooms.values()].sort((a, b) => b.lastTs - a.lastTs || this.title(a).localeCompare(this.title(b)));
  }

  /** @param {string} user */
  nameOf(user) {
    return this.names.get(user) ?? 'Someone';
  }

  /** @param {RoomState} state */
  isDirect(state) {
    return state.room.kind === 'direct';
  }

  /** Whether the other person of a direct room is there. @param {RoomState} state */
  isPeerOnline(state) {
    return this.isDirect(state) && [...state.online].some((user) => user !== this.me.id);
  }

  /** Whether one may change a room, and delete what others wrote. @param {string} id */
  isAdmin(id) {
    const { role, kind } = this.rooms.get(id)?.room ?? {};
    return kind !== 'direct' && (role === 'owner' || role === 'admin');
  }

  /** @param {RoomState} state */
  title(state) {
    return state.room.name || 'Direct message';
  }

  /** Unread messages over all rooms. */
  unreadTotal() {
    let total = 0;
    for (const { unread } of this.rooms.values()) total += unread;
    return total;
  }
}
