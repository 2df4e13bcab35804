/**
 * What a signed-in person does and hears: joins the store to the connection and the REST calls, in four parts.
 *
 * History and live events meet without a gap: rooms are joined from the newest event that the server had stored when it
 * listed them, and history is read after that.
 *
 * Events: `signed-out`; `gone` (the room in view is no more); `message` (a live one); `problem` (`detail`: something that
 * a person asked for did not work).
 */

import { Connection } from './client.js';
import { Hearing } from './chat/hearing.js';
import { History } from './chat/history.js';
import { Rooms } from './chat/rooms.js';
import { Writing } from './chat/writing.js';
import { Store } from './store.js';

/** What is new in the list is told on the connection; it is asked for from time to time, in case that was lost. */
const ROOMS_EVERY_MS = 60_000;

export class Chat extends EventTarget {
  /** @type {Set<any>} */
  #timers = new Set();
  /** @type {(() => void)[]} */
  #stops = [];

  /**
   * @param {import('./client.js').Api} api
   * @param {import('./client/types.js').User} user
   */
  constructor(api, user) {
    super();
    this.api = api;
    this.user = user;
    this.store = new Store();
    this.store.me = { id: user.id, name: user.display_name || user.username };
    this.store.names.set(user.id, this.store.me.name);
    this.connection = new Connection({ api });
    this.rooms = new Rooms(this);
    this.history = new History(this);
    this.writing = new Writing(this);
    this.hearing = new Hearing(this);
    this.hearing.listen();
  }

  async start() {
    this.connection.connect();
    const refresh = () => document.visibilityState === 'visible' && this.rooms.refreshQuietly();
    const timers = [setInterval(refresh, ROOMS_EVERY_MS), setInterval(() => this.hearing.forgetTyping(), 1_000)];
    document.addEventListener('visibilitychange', refresh);
    this.#stops.push(() => timers.forEach(clearInterval), () => document.removeEventListener('visibilitychange', refresh));
    await this.rooms.refresh();
  }

  stop() {
    this.connection.close();
    this.writing.stop();
    this.#timers.forEach(clearTimeout);
    this.#stops.forEach((stop) => stop());
  }

  /** Does something after a while, unless the chat has stopped by then. @param {() => void} what @param {number} ms */
  later(what, ms) {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      what();
    }, ms);
    this.#timers.add(timer);
  }

  signedOut() {
    this.dispatchEvent(new CustomEvent('signed-out'));
  }

  /** Waits for what a person asked for, and tells them when it does not work. @param {Promise<unknown>} work */
  async attempt(work) {
    try {
      await work;
    } catch (error) {
      this.dispatchEvent(new CustomEvent('problem', { detail: error }));
    }
  }
}
