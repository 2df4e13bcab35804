/**
 * The messages of one room as a person sees them: sorted, each once, with edits, deletions and reactions folded in, and
 * one's own unsent messages at the end. Fed from history pages and live events in any order and with any overlap. Pure.
 */

import { compareIds } from './ids.js';

/** @typedef {import('./types.js').Message} Message */
/** @typedef {{ room: string, id: string, msg: string, from: string, ts: number, body?: string, emoji?: string, on?: boolean }} Change */

/**
 * @typedef {object} Pending
 * @property {string} nonce
 * @property {string} [kind]
 * @property {string} body      of an image: empty until it is uploaded
 * @property {Blob} [file]      of an image
 * @property {string} [reply_to]
 * @property {number} ts
 * @property {'sending' | 'failed'} state
 * @property {string} [error]   a code, when failed
 * @property {string} [reason]  in words, when failed
 */

export class Timeline {
  /** @type {Message[]} by rising id */
  messages = [];
  /** @type {Pending[]} in the order of writing */
  pending = [];

  get oldest() {
    return this.messages[0]?.id;
  }

  get newest() {
    return this.messages[this.messages.length - 1]?.id;
  }

  /**
   * Where `id` is, or where it would go.
   * @param {string} id
   */
  #indexOf(id) {
    let low = 0;
    let high = this.messages.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const message = /** @type {Message} */ (this.messages[middle]);
      if (compareIds(message.id, id) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Where a message is, -1 for one that is not there. @param {string} id */
  indexOf(id) {
    const at = this.#indexOf(id);
    return this.messages[at]?.id === id ? at : -1;
  }

  /** @param {string} id */
  get(id) {
    const found = this.messages[this.#indexOf(id)];
    return found?.id === id ? found : undefined;
  }

  /**
   * Adds messages; one that is there already keeps what it learned since.
   * @param {Message[]} messages
   * @returns {number} how many were new
   */
  add(...messages) {
    let added = 0;
    for (const message of messages) {
      if (message.nonce) this.#dropPending(message.nonce);
      const at = this.#indexOf(message.id);
      if (this.messages[at]?.id === message.id) continue;
      this.messages.splice(at, 0, message);
      added += 1;
    }
    return added;
  }

  /**
   * Forgets the messages (not the pending ones) and starts from this page.
   * @param {Message[]} messages
   */
  reset(messages) {
    this.messages = [];
    this.add(...messages);
  }

  /**
   * Forgets the oldest messages, to stay small.
   * @param {number} keep
   */
  trim(keep) {
    if (this.messages.length > keep) this.messages.splice(0, this.messages.length - keep);
  }

  /**
   * @param {Change} change
   * @returns {boolean} whether anything shown changed
   */
  edit({ msg, ts, body = '' }) {
    return this.#replace(msg, (old) => (old.deleted ? old : { ...old, body, edited_at: ts }));
  }

  /** @param {Change} change */
  delete({ msg }) {
    return this.#replace(msg, (old) => ({ ...old, body: '', deleted: true, reactions: {} }));
  }

  /** @param {Change} change */
  react({ msg, from, emoji = '', on = true }) {
    return this.#replace(msg, (old) => {
      const { [emoji]: before = [], ...others } = old.reactions ?? {};
      const users = before.filter((user) => user !== from);
      if (on) users.push(from);
      return { ...old, reactions: users.length > 0 ? { ...others, [emoji]: users } : others };
    });
  }

  /**
   * Messages are replaced, not changed, so that "is it the same object" tells whether to draw it again.
   * @param {string} id
   * @param {(old: Message) => Message} change
   */
  #replace(id, change) {
    const at = this.#indexOf(id);
    const old = this.messages[at];
    if (!old || old.id !== id) return false;
    this.messages[at] = change(old);
    return this.messages[at] !== old;
  }

  /** @param {{ nonce: string, kind?: string, body: string, file?: Blob, reply_to?: string, ts: number }} message */
  addPending({ nonce, kind, body, file, reply_to, ts }) {
    this.#dropPending(nonce);
    this.pending.push({ nonce, kind, body, file, reply_to, ts, state: 'sending' });
  }

  /**
   * A file was uploaded: what is sent from now on is its address.
   * @param {string} nonce
   * @param {string} body
   * @returns {boolean} whether it still waits to be sent
   */
  setPendingBody(nonce, body) {
    this.pending = this.pending.map((item) => (item.nonce === nonce ? { ...item, body } : item));
    return this.pending.some((item) => item.nonce === nonce);
  }

  /**
   * @param {string} nonce
   * @param {string} error
   * @param {string} [reason]
   */
  failPending(nonce, error, reason) {
    this.pending = this.pending.map((item) => (item.nonce === nonce ? { ...item, state: 'failed', error, reason } : item));
  }

  /**
   * The server has it: what was pending is a message. Its own event may have come before, or comes after.
   * @param {string} nonce
   * @param {{ room: string, id: string, ts: number, from: string, name: string }} known
   */
  confirmPending(nonce, known) {
    const item = this.pending.find((candidate) => candidate.nonce === nonce);
    if (item) this.add({ kind: item.kind ?? 'text', ...known, body: item.body, reply_to: item.reply_to, nonce });
  }

  /** @param {string} nonce */
  discardPending(nonce) {
    this.#dropPending(nonce);
  }

  /** @param {string} nonce */
  #dropPending(nonce) {
    if (this.pending.some((item) => item.nonce === nonce)) {
      this.pending = this.pending.filter((item) => item.nonce !== nonce);
    }
  }
}
