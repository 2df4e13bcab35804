/**
 * What a signed-in person does and hears: joins the store to the connection and the REST calls.
 *
 * History and live events meet without a gap: rooms are joined from the newest event that the server had stored when it
 * listed them, and history is read after that.
 */

import { Connection, HubbubError, compareIds, newNonce } from './client.js';
import { inWords } from './format.js';
import { Store } from './store.js';

/** @typedef {import('./client/types.js').Message} Message */
/** @typedef {import('./client/types.js').Room} Room */
/** @typedef {import('./store.js').RoomState} RoomState */

const PAGE = 50;
/** Messages kept for a room that is read at its end. */
const KEEP = 400;
const READ_AGAIN_MS = 800;
/** Rooms whose newest message is fetched for the list. */
const PREVIEWS = 20;
const TYPING_EVERY_MS = 3_000;
const TYPING_LASTS_MS = 5_000;
const READ_EVERY_MS = 1_000;
const REFUSED_AGAIN_MS = 1_500;
/** New direct rooms are not announced on the connection: the list is asked for from time to time. */
const ROOMS_EVERY_MS = 20_000;

export class Chat extends EventTarget {
  /** @type {any[]} */
  #timers = [];
  /** @type {(() => void)[]} */
  #stops = [];
  #typedAt = 0;
  /** @type {any} */
  #readTimer = null;

  /**
   * @param {import('./client.js').Api} api
   * @param {import('./client/types.js').User} user
   */
  constructor(api, user) {
    super();
    this.api = api;
    this.store = new Store();
    this.store.me = { id: user.id, name: user.display_name || user.username };
    this.store.names.set(user.id, this.store.me.name);
    this.connection = new Connection({ api });
    this.#listen();
  }

  async start() {
    this.connection.connect();
    const refresh = () => document.visibilityState === 'visible' && this.#refreshQuietly();
    this.#timers.push(setInterval(refresh, ROOMS_EVERY_MS), setInterval(() => this.#forgetTyping(), 1_000));
    document.addEventListener('visibilitychange', refresh);
    this.#stops.push(() => document.removeEventListener('visibilitychange', refresh));
    await this.refreshRooms();
  }

  stop() {
    this.connection.close();
    clearTimeout(this.#readTimer);
    this.#timers.forEach(clearInterval);
    this.#stops.forEach((stop) => stop());
  }

  // ---- rooms ----

  async refreshRooms() {
    const { store } = this;
    const before = [...store.rooms.keys()]; // rooms entered while the answer is on its way may not be in it
    const rooms = await this.api.rooms();
    const listed = new Set(rooms.map((room) => room.id));
    for (const id of before) if (!listed.has(id)) this.#forget(id);
    for (const room of rooms) this.#addRoom(room);
    store.roomsLoaded = true;
    store.changed('rooms');
    this.#loadPreviews();
  }

  /** A failure is left to the next time, unless the login has ended. */
  async #refreshQuietly() {
    try {
      await this.refreshRooms();
    } catch (error) {
      if (error instanceof HubbubError && error.status === 401) this.#signedOut();
    }
  }

  #signedOut() {
    this.dispatchEvent(new CustomEvent('signed-out'));
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
  #forget(id) {
    this.connection.leave(id);
    this.store.rooms.delete(id);
    this.store.changed('rooms');
    if (this.store.current === id) this.dispatchEvent(new CustomEvent('gone', { detail: id }));
  }

  /** Joins a public room and lists it. @param {Room} room */
  async joinRoom(room) {
    await this.api.joinRoom(room.id);
    await this.refreshRooms();
  }

  /** @param {{ name: string, kind: 'public' | 'private', topic?: string }} form */
  async createRoom(form) {
    const room = await this.api.createRoom(form);
    this.#addRoom(room);
    this.store.changed('rooms');
    return room;
  }

  /** @param {string} user */
  async startDirect(user) {
    const room = await this.api.directRoom(user);
    this.#addRoom(room);
    this.store.changed('rooms');
    return room;
  }

  /** @param {string} id */
  async leaveRoom(id) {
    await this.api.leaveRoom(id);
    this.#forget(id);
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

  // ---- history ----

  /** Loads what is needed to show a room. @param {string} id */
  async openRoom(id) {
    const state = this.store.state(id);
    if (!state) return;
    this.loadPresence(id).catch(() => {});
    if (state.members.size === 0) this.loadMembers(id);
    if (state.history === 'none' || state.history === 'failed') await this.#loadNewest(state);
  }

  /** @param {RoomState} state */
  async #loadNewest(state) {
    const { id } = state.room;
    const listed = state.lastId ?? '0';
    state.history = 'loading';
    this.store.changed('timeline', id);
    try {
      const { items } = await this.api.history(id, { limit: PAGE });
      const newest = items[items.length - 1]?.id ?? '0';
      const live = state.timeline.messages.filter((message) => compareIds(message.id, newest) > 0);
      this.#learn(items);
      state.timeline.reset(items);
      state.timeline.add(...live);
      state.atStart = items.length < PAGE;
      state.history = 'ready';
      if (compareIds(newest, listed) < 0) setTimeout(() => this.#readAgain(state, newest), READ_AGAIN_MS);
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

  /** @param {string} id */
  async loadOlder(id) {
    const state = this.store.state(id);
    const before = state?.timeline.oldest;
    if (!state || !before || state.atStart || state.loadingOlder || state.history !== 'ready') return;
    state.loadingOlder = true;
    this.store.changed('timeline', id);
    try {
      const { items } = await this.api.history(id, { before, limit: PAGE });
      this.#learn(items);
      state.timeline.add(...items);
      state.atStart = items.length < PAGE;
    } finally {
      state.loadingOlder = false;
      this.store.changed('timeline', id);
    }
  }

  /** Forgets old messages of a room that is read at its end. @param {string} id */
  trim(id) {
    const state = this.store.state(id);
    if (!state || state.timeline.messages.length <= KEEP * 2) return;
    state.timeline.trim(KEEP);
    state.atStart = false;
  }

  /** @param {Message[]} messages */
  #learn(messages) {
    for (const { from, name } of messages) if (name) this.store.names.set(from, name);
  }

  // ---- writing ----

  /** @param {string} id @param {string} body */
  send(id, body) {
    return this.#post(id, { nonce: newNonce(), kind: 'text', body });
  }

  /** Uploads an image and sends its address. @param {string} id @param {File} file */
  sendImage(id, file) {
    return this.#post(id, { nonce: newNonce(), kind: 'image', body: '', file });
  }

  /** @param {string} id @param {{ nonce: string, kind?: string, body: string, file?: Blob }} draft  perhaps one that failed */
  async #post(id, { nonce, kind, body, file }) {
    const state = this.store.state(id);
    if (!state) return;
    const { me } = this.store;
    state.timeline.addPending({ nonce, kind, body, file, ts: Date.now() });
    this.store.changed('timeline', id);
    this.#typedAt = 0;
    try {
      if (file && !body) {
        body = (await this.api.upload(file)).url;
        if (!state.timeline.setPendingBody(nonce, body)) return; // discarded meanwhile
      }
      const ack = await this.connection.send(id, body, { nonce, kind });
      state.timeline.confirmPending(nonce, { room: id, ...ack, from: me.id, name: me.name });
    } catch (error) {
      const { code, fields } = error instanceof HubbubError ? error : { code: 'internal', fields: undefined };
      state.timeline.failPending(nonce, code, Object.values(fields ?? {})[0]);
    }
    this.store.changed('timeline', id);
  }

  /** @param {string} id @param {string} nonce */
  retry(id, nonce) {
    const item = this.store.state(id)?.timeline.pending.find((candidate) => candidate.nonce === nonce);
    if (item) this.#post(id, item);
  }

  /** @param {string} id @param {string} nonce */
  discard(id, nonce) {
    this.store.state(id)?.timeline.discardPending(nonce);
    this.store.changed('timeline', id);
  }

  /** Called on every key; tells the others once in a while. @param {string} id */
  typing(id) {
    if (Date.now() - this.#typedAt < TYPING_EVERY_MS) return;
    this.#typedAt = Date.now();
    this.connection.typing(id);
  }

  /** The newest message of a room has been seen. @param {string} id */
  markRead(id) {
    const state = this.store.state(id);
    const newest = state?.timeline.newest;
    if (!state || !newest) return;
    if (state.unread > 0) {
      state.unread = 0;
      this.store.changed('rooms', id);
    }
    if (state.readUpTo !== null && compareIds(newest, state.readUpTo) <= 0) return;
    clearTimeout(this.#readTimer);
    this.#readTimer = setTimeout(() => {
      if (this.connection.state !== 'connected') return;
      state.readUpTo = newest;
      this.connection.read(id, newest);
    }, READ_EVERY_MS);
  }

  // ---- hearing ----

  #listen() {
    const { connection, store } = this;
    connection.on('state', (status) => {
      store.status = status;
      store.changed('status');
      if (status.state === 'closed' && status.reason !== 'closed') {
        this.#signedOut();
      }
    });
    connection.on('welcome', () => {
      if (store.roomsLoaded) this.#refreshQuietly();
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
      if (state && (room === store.current || store.isDirect(state))) this.loadPresence(room).catch(() => {});
    });
    connection.on('member', ({ room, user, state }) => {
      if (user === store.me.id && state !== 'joined' && state !== 'role') this.#forget(room);
      else if (store.current === room) this.loadMembers(room);
    });
    connection.on('room', ({ room, state }) => {
      if (state === 'deleted') this.#forget(room);
      else this.#refreshQuietly();
    });
    connection.on('refused', ({ room }) => this.#refused(room));
    connection.on('gap', ({ room }) => {
      const state = store.state(room);
      // What changed in older messages meanwhile is only in history.
      if (state?.history === 'ready') this.#loadNewest(state);
    });
  }

  /**
   * A membership that is a moment old may not have reached the gateway; the list says whether it is one.
   * @param {string} room
   */
  #refused(room) {
    const again = async () => {
      await this.refreshRooms();
      const state = this.store.state(room);
      if (state) this.connection.join({ room, since: state.lastId ?? '0' });
    };
    this.#timers.push(setTimeout(() => again().catch(() => {}), REFUSED_AGAIN_MS));
  }

  /** @param {Message} message */
  #heard(message) {
    const { store } = this;
    const state = store.state(message.room);
    if (!state) return;
    this.#learn([message]);
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
    this.dispatchEvent(new CustomEvent('message', { detail: message }));
  }

  /**
   * @param {string} room
   * @param {(timeline: import('./client.js').Timeline) => boolean} apply
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

  /** @param {import('./client/types.js').Events['presence']} event */
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

  #forgetTyping() {
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

/** @param {Message} message */
function previewOf(message) {
  return { name: message.name, from: message.from, body: inWords(message) };
}
