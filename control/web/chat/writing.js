/** What one writes: messages, images, changes to them, and that one is typing or has read. */

import { HubbubError, compareIds, newNonce } from '../client.js';

/** @typedef {import('../client/types.js').Message} Message */
/** @typedef {{ nonce: string, kind?: string, body: string, file?: Blob, reply_to?: string }} Draft */

const TYPING_EVERY_MS = 3_000;
const READ_EVERY_MS = 1_000;

export class Writing {
  #typedAt = 0;
  /** @type {any} */
  #readTimer = null;
  /** @type {Map<string, AbortController>} by nonce */
  #uploads = new Map();

  /** @param {import('../chat.js').Chat} chat */
  constructor(chat) {
    this.chat = chat;
    this.api = chat.api;
    this.store = chat.store;
    this.connection = chat.connection;
  }

  stop() {
    clearTimeout(this.#readTimer);
    for (const upload of this.#uploads.values()) upload.abort();
  }

  // ---- messages ----

  /** @param {string} id @param {string} body @param {string} [replyTo] */
  send(id, body, replyTo) {
    return this.#post(id, { nonce: newNonce(), kind: 'text', body, reply_to: replyTo });
  }

  /** Uploads an image and sends its address. @param {string} id @param {File} file */
  sendImage(id, file) {
    return this.#post(id, { nonce: newNonce(), kind: 'image', body: '', file });
  }

  /** @param {string} id @param {Draft} draft  perhaps one that failed */
  async #post(id, draft) {
    const state = this.store.state(id);
    if (!state) return;
    const { me } = this.store;
    const { nonce, kind } = draft;
    state.timeline.addPending({ ...draft, ts: Date.now() });
    this.store.changed('timeline', id);
    this.#typedAt = 0;
    try {
      const body = draft.body || (await this.#upload(id, draft));
      if (!state.timeline.setPendingBody(nonce, body)) return; // discarded meanwhile
      const ack = await this.connection.send(id, body, { nonce, kind, replyTo: draft.reply_to });
      state.timeline.confirmPending(nonce, { room: id, ...ack, from: me.id, name: me.name });
    } catch (error) {
      const { code, fields } = error instanceof HubbubError ? error : { code: 'internal', fields: undefined };
      state.timeline.failPending(nonce, code, Object.values(fields ?? {})[0]);
    }
    this.store.changed('timeline', id);
  }

  /** @param {string} id @param {Draft} draft */
  async #upload(id, { nonce, file }) {
    if (!file) return '';
    const upload = new AbortController();
    this.#uploads.set(nonce, upload);
    const onProgress = (/** @type {number} */ share) => this.store.changed('progress', id, { nonce, share });
    try {
      return (await this.api.upload(file, { onProgress, signal: upload.signal })).url;
    } finally {
      this.#uploads.delete(nonce);
    }
  }

  /** @param {string} id @param {string} nonce */
  retry(id, nonce) {
    const item = this.store.state(id)?.timeline.pending.find((candidate) => candidate.nonce === nonce);
    if (item) this.#post(id, item);
  }

  /** @param {string} id @param {string} nonce */
  discard(id, nonce) {
    this.#uploads.get(nonce)?.abort();
    this.store.state(id)?.timeline.discardPending(nonce);
    this.store.changed('timeline', id);
  }

  // ---- changes ----

  /** @param {string} id @param {Message} message @param {string} body */
  async edit(id, message, body) {
    const { ts } = await this.connection.edit(id, message.id, body);
    this.#change(id, (timeline) => timeline.edit({ room: id, id: message.id, msg: message.id, from: message.from, ts, body }));
  }

  /** @param {string} id @param {Message} message */
  async delete(id, message) {
    const { ts } = await this.connection.delete(id, message.id);
    this.#change(id, (timeline) => timeline.delete({ room: id, id: message.id, msg: message.id, from: message.from, ts }));
  }

  /** Shown at once, and taken back where the server refuses. @param {string} id @param {Message} message @param {string} emoji */
  async toggleReaction(id, message, emoji) {
    const from = this.store.me.id;
    const on = !message.reactions?.[emoji]?.includes(from);
    const show = (/** @type {boolean} */ isOn) =>
      this.#change(id, (timeline) => timeline.react({ room: id, id: message.id, msg: message.id, from, ts: 0, emoji, on: isOn }));
    show(on);
    try {
      await this.connection.react(id, message.id, emoji, on);
    } catch (error) {
      show(!on);
      throw error;
    }
  }

  /** @param {string} id @param {(timeline: import('../client.js').Timeline) => boolean} change */
  #change(id, change) {
    const state = this.store.state(id);
    if (state && change(state.timeline)) this.store.changed('timeline', id);
  }

  // ---- signs of life ----

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
}
