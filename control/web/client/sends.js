/**
 * Messages on their way out. Pure: takes `now`, says what to send, does no I/O.
 *
 * Invariants
 * - What was added leaves the queue by an ack, by its own message event, by a refusal, or by the caller: never silently.
 * - Per room the order of adding is the order of sending: with one message in flight per room (the default) a message that
 *   bounces is not overtaken by the next one.
 * - A message is repeated with its nonce, and only while the server still knows that nonce. Past that it is `uncertain`:
 *   whether it was stored can only be seen in the history.
 */

/**
 * @typedef {object} Outgoing
 * @property {string} nonce
 * @property {string} room
 * @property {string} body
 * @property {string} [kind]
 * @property {string} [reply_to]
 *
 * @typedef {object} Item
 * @property {Outgoing} message
 * @property {string[]} refs            of every time it was sent
 * @property {boolean} inFlight
 * @property {number} sentAt            the last time
 * @property {number} unanswered        times sent without an answer that says "not stored"
 * @property {number | null} firstSentAt  the first of those
 * @property {number} notBefore
 */

export class SendQueue {
  /** @type {Map<string, Item>} by nonce, in the order of adding */
  #items = new Map();
  /** @type {Map<string, string>} ref to nonce */
  #refs = new Map();

  /** @param {{ inFlightPerRoomMax?: number, ackTimeoutMs?: number, repeatableMs?: number }} [options] */
  constructor({ inFlightPerRoomMax = 1, ackTimeoutMs = 10_000, repeatableMs = 120_000 } = {}) {
    this.inFlightPerRoomMax = inFlightPerRoomMax;
    this.ackTimeoutMs = ackTimeoutMs;
    /** How long the server remembers a nonce. */
    this.repeatableMs = repeatableMs;
  }

  get size() {
    return this.#items.size;
  }

  /** @param {string} nonce */
  has(nonce) {
    return this.#items.has(nonce);
  }

  /** @param {Outgoing} message */
  add(message) {
    this.#items.set(message.nonce, {
      message,
      refs: [],
      inFlight: false,
      sentAt: 0,
      unanswered: 0,
      firstSentAt: null,
      notBefore: 0,
    });
  }

  /**
   * What may go out now, in order. `isOpen` says whether a room can take messages at the moment.
   * @param {number} now
   * @param {(room: string) => boolean} isOpen
   * @returns {Outgoing[]}
   */
  due(now, isOpen) {
    /** @type {Map<string, number>} how many more a room takes */
    const free = new Map();
    for (const { message, inFlight } of this.#items.values()) {
      const left = free.get(message.room) ?? (isOpen(message.room) ? this.inFlightPerRoomMax : 0);
      free.set(message.room, inFlight ? left - 1 : left);
    }
    const due = [];
    for (const { message, inFlight, notBefore } of this.#items.values()) {
      if (inFlight) continue;
      const left = free.get(message.room) ?? 0;
      if (left <= 0) continue;
      const mayGo = notBefore <= now;
      free.set(message.room, mayGo ? left - 1 : 0);
      if (mayGo) due.push(message);
    }
    return due;
  }

  /**
   * @param {string} nonce
   * @param {string} ref
   * @param {number} now
   */
  sent(nonce, ref, now) {
    const item = this.#items.get(nonce);
    if (!item) return;
    item.inFlight = true;
    item.sentAt = now;
    item.unanswered += 1;
    item.firstSentAt ??= now;
    item.refs.push(ref);
    this.#refs.set(ref, nonce);
  }

  /**
   * The message that was sent under `ref`, if it still waits.
   * @param {string} ref
   */
  nonceOf(ref) {
    return this.#refs.get(ref);
  }

  /**
   * Done with: acknowledged, refused or given up.
   * @param {string} nonce
   */
  remove(nonce) {
    const item = this.#items.get(nonce);
    if (!item) return false;
    for (const ref of item.refs) this.#refs.delete(ref);
    return this.#items.delete(nonce);
  }

  /**
   * The server asked to send it again later.
   * @param {string} nonce
   * @param {number} now
   * @param {number} afterMs
   * @param {{ stored: 'no' | 'unknown' }} known   about the message
   */
  bounced(nonce, now, afterMs, { stored }) {
    const item = this.#items.get(nonce);
    if (!item) return;
    item.inFlight = false;
    item.notBefore = now + afterMs;
    if (stored === 'no') item.unanswered -= 1;
    if (item.unanswered === 0) item.firstSentAt = null;
  }

  /** The socket is gone: what was in flight is to be sent again. */
  disconnected() {
    for (const item of this.#items.values()) item.inFlight = false;
  }

  /**
   * Time has passed: what got no answer is to be sent again; what is too old for that is returned, and no longer here.
   * Only rooms that are open are judged: in the others the message itself may still come by, from replay or history.
   * @param {number} now
   * @param {(room: string) => boolean} isOpen
   * @returns {Outgoing[]}
   */
  expire(now, isOpen) {
    const uncertain = [];
    for (const [nonce, item] of [...this.#items]) {
      if (item.inFlight && now - item.sentAt >= this.ackTimeoutMs) item.inFlight = false;
      if (item.firstSentAt === null || item.inFlight || !isOpen(item.message.room)) continue;
      if (now - item.firstSentAt >= this.repeatableMs) {
        this.remove(nonce);
        uncertain.push(item.message);
      }
    }
    return uncertain;
  }

  /**
   * When to look again, or null when only an event can change anything.
   * @param {number} now
   * @param {(room: string) => boolean} isOpen
   * @returns {number | null}
   */
  nextAt(now, isOpen) {
    let next = Infinity;
    for (const { message, inFlight, sentAt, notBefore } of this.#items.values()) {
      if (inFlight) next = Math.min(next, sentAt + this.ackTimeoutMs);
      else if (notBefore > now && isOpen(message.room)) next = Math.min(next, notBefore);
    }
    return next === Infinity ? null : next;
  }

  /** Empties the queue. */
  takeAll() {
    const all = [...this.#items.values()].map((item) => item.message);
    this.#items.clear();
    this.#refs.clear();
    return all;
  }
}
