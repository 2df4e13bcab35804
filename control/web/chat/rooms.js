/** The list of one's rooms, who is in them, and getting in and out. */

import { HubbubError } from '../client.js';
import { inWords } from '../format.js';

/** @typedef {import('../client/types.js').Message} Message */
/** @typedef {import('../client/types.js').Room} Room */

/** Rooms whose newest message is fetched for the list. */
const PREVIEWS = 20;
const REFUSED_AGAIN_MS = 1_500;

export class Rooms {
  /** To have the list anew, since nobody asked for it. */
  #wishes = 0;

  /** @param {import('../chat.js').Chat} chat */
  constructor(chat) {
    this.chat = chat;
    this.api = chat.api;
    this.store = chat.store;
    this.connection = chat.connection;
  }

  /** Asks for the list, and joins what is new in it. */
  async refresh() {
    const { store } = this;
    const before = [...store.rooms.keys()]; // rooms entered while the answer is on its way may not be in it
    const rooms = await this.api.rooms();
    const listed = new Set(rooms.map((room) => room.id));
    for (const id of before) if (!listed.has(id)) this.forget(id);
    for (const room of rooms) this.#addRoom(room);
    store.roomsLoaded = true;
    store.changed('rooms');
    this.#loadPreviews();
  }

  /** A failure is left to the next time, unless the login has ended. What is wished for meanwhile is one more time. */
  async refreshQuietly() {
    this.#wishes += 1;
    if (this.#wishes > 1) return;
    for (let met = 0; met !== this.#wishes; ) {
      met = this.#wishes;
      try {
        await this.refresh();
      } catch (error) {
        if (error instanceof HubbubError && error.status === 401) this.chat.signedOut();
      }
    }
    this.#wishes = 0;
  }

  /** The newest message of each of the busiest rooms, where none was heard yet; one request at a time. */
  async #loadPreviews() {
    const { store } = this;
    for (const state of store.sortedRooms().slice(0, PREVIEWS)) {
      if (state.preview || state.isPreviewAsked || !state.lastId) continue;
      state.isPreviewAsked = true;
      const { items } = await this.api.history(state.room.id, { limit: 1 }).catch(() => ({ items: [] }));
      const message = items[items.length - 1];
      if (!message || state.preview) continue;
      state.preview = previewOf(message);
      store.changed('rooms', state.room.id);
    }
  }

  /** @param {Room} room */
  #addRoom(room) {
    const { store } = this;
    const isNew = !store.rooms.has(room.id);
    store.putRoom(room);
    const state = store.rooms.get(room.id);
    if (!state || !isNew) return;
    this.connection.join({ room: room.id, since: state.lastId ?? '0' });
  }

  /** @param {string} id */
  forget(id) {
    this.connection.leave(id);
    this.store.rooms.delete(id);
    this.store.changed('rooms');
    if (this.store.current === id) this.chat.dispatchEvent(new CustomEvent('gone', { detail: id }));
  }

  /** Joins a public room and lists it. @param {Room} room */
  async join(room) {
    await this.api.joinRoom(room.id);
    await this.refresh();
  }

  /** @param {{ name: string, kind: 'public' | 'private', topic?: string }} form */
  async create(form) {
    const room = await this.api.createRoom(form);
    this.#addRoom(room);
    this.store.changed('rooms');
    return room;
  }

  /** @param {string} user */
  async direct(user) {
    const room = await this.api.directRoom(user);
    this.#addRoom(room);
    this.store.changed('rooms');
    return room;
  }

  /** @param {string} id */
  async leave(id) {
    await this.api.leaveRoom(id);
    this.forget(id);
  }

  /**
   * A membership that is a moment old may not have reached the gateway; the list says whether it is one.
   * @param {string} id
   */
  refused(id) {
    const again = async () => {
      await this.refresh();
      const state = this.store.state(id);
      if (state) this.connection.join({ room: id, since: state.lastId ?? '0' });
    };
    this.chat.later(() => again().catch(() => {}), REFUSED_AGAIN_MS);
  }

  /** @param {string} id @param {{ name: string, topic: string }} changes */
  async update(id, changes) {
    this.store.putRoom(await this.api.updateRoom(id, changes));
    this.store.changed('rooms', id);
  }

  /** @param {string} id */
  async delete(id) {
    await this.api.deleteRoom(id);
    this.forget(id);
  }

  /** Invites, or gives a role; `null` ends the membership. @param {string} id @param {string} user @param {string | null} role */
  async setRole(id, user, role) {
    if (role === null) await this.api.removeMember(id, user);
    else await this.api.setMember(id, user, role);
    await this.loadMembers(id);
  }

  /** @param {string} id */
  async loadMembers(id) {
    const state = this.store.state(id);
    if (!state) return;
    const members = await this.api.members(id).catch(() => []);
    state.members = new Map(members.map((member) => [member.user.id, member]));
    for (const { user } of members) this.store.names.set(user.id, user.display_name || user.username);
    this.store.changed('members', id);
    this.store.changed('rooms', id);
  }

  /** @param {string} id */
  async loadPresence(id) {
    if (!this.connection.isJoined(id)) return; // asked for when it is
    const { online, count } = await this.connection.presence(id);
    const state = this.store.state(id);
    if (!state) return;
    state.online = new Set(online);
    state.onlineCount = count;
    this.store.changed('presence', id);
  }
}

/** @param {Message} message */
export function previewOf(message) {
  return { name: message.name, from: message.from, body: inWords(message) };
}
