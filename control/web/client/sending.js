/** Sends and their promises: joins the queue, which is pure, to the socket and the clock. */

import { HubbubError } from './errors.js';
import { newNonce } from './ids.js';

/** @typedef {import('./types.js').Ack} Ack */

/** When a refusal that can be retried does not say when. */
const RETRY_AFTER_MS = 1_000;

export class Sending {
  /** @type {Map<string, { resolve: (ack: Ack) => void, reject: (error: HubbubError) => void }>} by nonce */
  #waiting = new Map();
  /** @type {any} */
  #timer = null;

  /**
   * @param {import('./sends.js').SendQueue} queue
   * @param {{ clock: import('./link.js').Clock, isUp: () => boolean, isOpen: (room: string) => boolean,
   *   newRef: () => string, write: (operation: object) => void }} around
   */
  constructor(queue, around) {
    this.queue = queue;
    this.around = around;
  }

  /**
   * @param {string} room
   * @param {string} body
   * @param {{ nonce?: string, kind?: string, replyTo?: string }} [options]
   * @returns {Promise<Ack>}
   */
  send(room, body, { nonce = newNonce(), kind, replyTo } = {}) {
    return new Promise((resolve, reject) => {
      this.#waiting.set(nonce, { resolve, reject });
      this.queue.add({ nonce, room, body, kind, reply_to: replyTo });
      this.flush();
    });
  }

  /** Sends what may go, and sets the timer for what may go later. */
  flush() {
    const { clock, isUp, isOpen, newRef, write } = this.around;
    if (!isUp()) return;
    const now = clock.now();
    for (const { nonce } of this.queue.expire(now, isOpen)) {
      this.failed(nonce, new HubbubError('uncertain', 'sent, but whether it was stored is not known'));
    }
    for (const message of this.queue.due(now, isOpen)) {
      const ref = newRef();
      this.queue.sent(message.nonce, ref, now);
      write({ op: 'send', ref, ...message });
    }
    clock.clearTimeout(this.#timer);
    const next = this.queue.nextAt(now, isOpen);
    if (next !== null) this.#timer = clock.setTimeout(() => this.flush(), Math.max(next - now, 1));
  }

  /**
   * A reply to a send of ours?
   * @param {any} reply
   */
  settle({ op, ref, ...reply }) {
    const nonce = this.queue.nonceOf(String(ref));
    if (nonce === undefined) return false;
    if (op === 'ack') {
      this.confirmed(nonce, { id: reply.id, ts: reply.ts });
    } else if (op === 'error') {
      const afterMs = reply.retry_after_ms ?? RETRY_AFTER_MS;
      const now = this.around.clock.now();
      if (reply.code === 'rate_limited' || reply.code === 'unavailable') {
        this.queue.bounced(nonce, now, afterMs, { stored: 'no' });
      } else if (reply.code === 'internal') {
        this.queue.bounced(nonce, now, afterMs, { stored: 'unknown' });
      } else {
        this.failed(nonce, new HubbubError(reply.code, reply.message));
      }
      this.flush();
    }
    return true;
  }

  /** @param {string} nonce @param {Ack} ack */
  confirmed(nonce, ack) {
    this.queue.remove(nonce);
    this.#waiting.get(nonce)?.resolve(ack);
    this.#waiting.delete(nonce);
    this.flush();
  }

  /** @param {string} nonce @param {HubbubError} error */
  failed(nonce, error) {
    this.queue.remove(nonce);
    this.#waiting.get(nonce)?.reject(error);
    this.#waiting.delete(nonce);
  }

  /** The socket is gone: what was on its way goes again over the next. */
  disconnected() {
    this.#stopTimer();
    this.queue.disconnected();
  }

  /** There is no next socket. @param {HubbubError} error */
  ended(error) {
    this.#stopTimer();
    this.queue.takeAll();
    const all = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { reject } of all) reject(error);
  }

  #stopTimer() {
    this.around.clock.clearTimeout(this.#timer);
  }
}
