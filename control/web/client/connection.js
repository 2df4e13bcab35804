/**
 * One lasting connection to Hubbub, whatever happens to the sockets under it.
 *
 * Promises
 * - Rooms that were joined are joined again after a reconnect, from the last event seen; what the server can't replay is
 *   read from history (when an `api` is given). Events of a room come in order, each once.
 * - A `send` resolves when the message is stored and rejects when it certainly is not, or when that can't be known any more
 *   (`uncertain`); in between it survives reconnects, and is repeated with the same nonce.
 * - Clock, random source and WebSocket come in through the options, so that tests can be exact.
 */

import { HubbubError, isRetryable } from './errors.js';
import { readGap } from './gap.js';
import { Link, SUBPROTOCOL, SYSTEM_CLOCK } from './link.js';
import { Requests } from './requests.js';
import { Sending } from './sending.js';
import { SendQueue } from './sends.js';
import { Subscriptions } from './subscriptions.js';

export { SUBPROTOCOL };

/** @typedef {import('./types.js').Events} Events */
/** @typedef {import('./types.js').Ack} Ack */
/** @typedef {import('./types.js').Welcome} Welcome */
/** @typedef {import('./link.js').LinkOptions & { queue?: SendQueue }} Options */

const REPLY_TIMEOUT_MS = 10_000;
/** When a refusal that can be retried does not say when. */
const RETRY_AFTER_MS = 1_000;
const RETRIES_MAX = 5;
/** Events that are stored, and advance their room. */
const STORED = new Set(['message', 'edited', 'deleted', 'reacted', 'member', 'room']);
/** Events that are handed on as they come. */
const PASSING = new Set(['typing', 'read', 'presence', 'member', 'bye', 'error']);

export class Connection extends EventTarget {
  #refs = 0;
  #subscriptions = new Subscriptions();
  /** Counts sockets, so that work begun on an older one can tell. */
  #epoch = 0;
  /** @type {any} */
  #joinTimer = null;

  /** @param {Options} [options] */
  constructor(options = {}) {
    super();
    this.options = options;
    this.clock = options.clock ?? SYSTEM_CLOCK;
    this.requests = new Requests(this.clock);
    this.link = new Link(options, {
      state: (change) => this.#emit('state', change),
      up: (welcome) => this.#up(welcome),
      event: (event) => this.#receive(event),
      down: () => this.#down(),
      ended: (error) => this.#ended(error),
    });
    this.sending = new Sending(options.queue ?? new SendQueue(), {
      clock: this.clock,
      isUp: () => this.state === 'connected',
      isOpen: (room) => this.#subscriptions.isOpen(room),
      newRef: () => this.#ref(),
      write: (operation) => this.link.write(operation),
    });
  }

  get state() {
    return this.link.state;
  }

  /** The current `welcome`, or null before the first. */
  get welcome() {
    return this.link.welcome;
  }

  /**
   * @template {keyof Events} K
   * @param {K} type
   * @param {(detail: Events[K]) => void} listener
   * @returns {() => void} stops listening
   */
  on(type, listener) {
    const handle = (/** @type {any} */ event) => listener(event.detail);
    this.addEventListener(type, handle);
    return () => this.removeEventListener(type, handle);
  }

  /**
   * @template {keyof Events} K
   * @param {K} type
   * @param {Events[K]} detail
   */
  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  // ---- life ----

  /** Connects, or tries again now instead of waiting. */
  connect() {
    this.link.open();
  }

  /** Ends it for good: unsent messages are rejected. `connect` starts anew. */
  close() {
    this.link.end('closed', new HubbubError('closed', 'the connection was closed'));
  }

  /** @param {Welcome} welcome */
  #up(welcome) {
    const { queue } = this.sending;
    queue.repeatableMs = welcome.resume_window_ms ?? queue.repeatableMs;
    this.#emit('welcome', welcome);
    this.#sendJoins();
    this.sending.flush();
  }

  #down() {
    this.#epoch += 1;
    this.#stopTimer();
    this.#subscriptions.disconnected();
    this.sending.disconnected();
    this.requests.failAll(new HubbubError('disconnected', 'the connection was lost'));
  }

  /** @param {HubbubError} error */
  #ended(error) {
    this.#epoch += 1;
    this.#stopTimer();
    this.sending.ended(error);
  }

  #stopTimer() {
    this.clock.clearTimeout(this.#joinTimer);
    this.#joinTimer = null;
  }

  // ---- receiving ----

  /** @param {any} event */
  #receive(event) {
    if (event.op === 'joined') for (const entry of event.rooms) this.#joined(entry);
    if (event.ref !== undefined && (this.sending.settle(event) || this.requests.settle(event))) {
      if (event.op !== 'presence') return;
    }
    // A `member` without an id stands outside the order of its room: one is a member now, and did not join it yet.
    if (STORED.has(event.op) && event.id !== undefined) this.#stored(event);
    else if (PASSING.has(event.op)) this.#emit(event.op, event);
  }

  /**
   * @param {any} event
   * @param {boolean} [fromHistory]
   */
  #stored(event, fromHistory = false) {
    if (!this.#subscriptions.accept(event, fromHistory)) return;
    if (event.op === 'message' && event.nonce && event.from === this.welcome?.user.id) {
      // As good as an ack, and the only one there will be when the ack was lost with its socket.
      this.sending.confirmed(event.nonce, { id: event.id, ts: event.ts });
    }
    this.#emit(event.op, event);
  }

  // ---- rooms ----

  /**
   * Hears these rooms from now on, over every reconnect, until `leave`.
   * @param {...({ room: string, since?: string } | string)} rooms  `since`: the newest event already known
   */
  join(...rooms) {
    for (const wish of rooms) {
      if (typeof wish === 'string') this.#subscriptions.want(wish);
      else this.#subscriptions.want(wish.room, wish.since);
    }
    this.#sendJoins();
  }

  /** @param {...string} rooms */
  leave(...rooms) {
    const left = rooms.filter((room) => this.#subscriptions.drop(room));
    if (left.length > 0) this.link.write({ op: 'leave', ref: this.#ref(), rooms: left });
  }

  /** Whether events of this room come at the moment. @param {string} room */
  isJoined(room) {
    return this.state === 'connected' && this.#subscriptions.isJoined(room);
  }

  #sendJoins() {
    if (this.state !== 'connected') return;
    for (const rooms of this.#subscriptions.takeJoins()) {
      this.#request('join', { rooms }).catch((error) => this.#joinFailed(error, rooms));
    }
  }

  /**
   * @param {HubbubError} error
   * @param {{ room: string }[]} rooms
   */
  #joinFailed(error, rooms) {
    if (error.code === 'disconnected') return; // the next socket joins again
    for (const { room } of rooms) this.#subscriptions.again(room);
    if (error.code === 'timeout') this.link.abandon();
    else this.#joinLater(error.retryAfterMs);
  }

  #joinLater(afterMs = RETRY_AFTER_MS) {
    if (this.#joinTimer !== null) return;
    this.#joinTimer = this.clock.setTimeout(() => {
      this.#joinTimer = null;
      this.#sendJoins();
    }, afterMs);
  }

  /** @param {import('./subscriptions.js').JoinedRoom} entry */
  #joined(entry) {
    const { room } = entry;
    const outcome = this.#subscriptions.joined(entry);
    if (outcome.is === 'joined') {
      this.#emit('joined', { room, last: entry.last ?? '0', replayed: entry.replayed ?? null });
      this.sending.flush();
    } else if (outcome.is === 'refused') {
      this.#emit('refused', { room, code: outcome.code });
      this.sending.flush();
    } else if (outcome.is === 'later') {
      this.#subscriptions.again(room);
      this.#joinLater();
    } else if (outcome.is === 'gap') {
      this.#fill(room, outcome.since, outcome.last);
    }
  }

  /**
   * Leaves the room, reads what can't be replayed from history, and joins again from where history ends: history may lag
   * behind the stream, and that join replays the difference.
   * @param {string} room
   * @param {string} since
   * @param {string} last
   */
  async #fill(room, since, last) {
    const epoch = this.#epoch;
    const isWanted = () => epoch === this.#epoch && this.#subscriptions.wants(room);
    this.link.write({ op: 'leave', ref: this.#ref(), rooms: [room] });
    const { newest, filled } = await readGap(this.options.api, room, since, {
      isWanted,
      deliver: (message) => this.#stored({ ...message, room, op: 'message' }, true),
    });
    if (!isWanted()) return;
    // Nothing newer in history: nothing is missing up to `last`, which is recent enough to be replayed from.
    this.#subscriptions.again(room, filled && newest !== since ? newest : last);
    this.#emit('gap', { room, since, last, filled });
    this.#sendJoins();
  }

  // ---- asking ----

  #ref() {
    this.#refs += 1;
    return String(this.#refs);
  }

  /**
   * @param {string} op
   * @param {object} fields
   * @returns {Promise<any>}
   */
  #request(op, fields) {
    if (this.state !== 'connected') return Promise.reject(new HubbubError('disconnected', 'not connected'));
    const ref = this.#ref();
    const reply = this.requests.wait(ref, REPLY_TIMEOUT_MS);
    this.link.write({ op, ref, ...fields });
    return reply;
  }

  /**
   * For operations that do no harm when done twice.
   * @param {string} op
   * @param {object} fields
   */
  async #requestAgain(op, fields) {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.#request(op, fields);
      } catch (error) {
        if (!(error instanceof HubbubError) || !isRetryable(error)) throw error;
        if (attempt > RETRIES_MAX || this.state === 'closed') throw error;
        const wait = error.retryAfterMs ?? RETRY_AFTER_MS;
        await new Promise((resolve) => this.clock.setTimeout(() => resolve(null), wait));
      }
    }
  }

  /** @param {string} room @param {string} id @param {string} body @returns {Promise<Ack>} */
  edit(room, id, body) {
    return this.#requestAgain('edit', { room, id, body });
  }

  /** @param {string} room @param {string} id @returns {Promise<Ack>} */
  delete(room, id) {
    return this.#requestAgain('delete', { room, id });
  }

  /** @param {string} room @param {string} id @param {string} emoji @param {boolean} on @returns {Promise<Ack>} */
  react(room, id, emoji, on) {
    return this.#requestAgain('react', { room, id, emoji, on });
  }

  /** @param {string} room @returns {Promise<{ room: string, online: string[], count: number }>} */
  presence(room) {
    return this.#requestAgain('presence', { room });
  }

  /** @param {string} room */
  typing(room) {
    this.link.write({ op: 'typing', room });
  }

  /** @param {string} room @param {string} id */
  read(room, id) {
    this.link.write({ op: 'read', room, id });
  }

  // ---- sending messages ----

  /**
   * @param {string} room
   * @param {string} body
   * @param {{ nonce?: string, kind?: string, replyTo?: string }} [options]
   * @returns {Promise<Ack>}
   */
  send(room, body, options) {
    if (this.state === 'closed') return Promise.reject(new HubbubError('closed', 'the connection is closed'));
    const bytesMax = this.welcome?.limits?.max_body_bytes;
    if (bytesMax !== undefined && new TextEncoder().encode(body).length > bytesMax) {
      return Promise.reject(new HubbubError('too_large', `a message has at most ${bytesMax} bytes`));
    }
    return this.sending.send(room, body, options);
  }

  /**
   * Takes back a message that has not been confirmed. It may be stored all the same, if it was already on its way.
   * @param {string} nonce
   */
  cancel(nonce) {
    this.sending.failed(nonce, new HubbubError('cancelled', 'the message was taken back'));
  }
}
