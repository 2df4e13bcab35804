/**
 * The rooms that a connection wants to hear, and how far it has heard each. Pure.
 *
 * Invariant: an event of a room is let through only when its id is past every one let through before; so whatever
 * is replayed, repeated or read from history, nobody sees an event twice or out of order.
 */

import { compareIds, newerId } from './ids.js';

/** `asked`: a join is on its way. `filling`: not subscribed, history is being read. */
/** @typedef {{ lastSeen: string | null, phase: 'wanted' | 'asked' | 'joined' | 'filling' }} Subscription */
/** @typedef {{ room: string, last?: string, replayed?: number | null, error?: string }} JoinedRoom */

/** Rooms in one `join`, by the protocol. */
const JOIN_ROOMS_MAX = 256;

export class Subscriptions {
  /** @type {Map<string, Subscription>} */
  #rooms = new Map();

  /**
   * @param {string} room
   * @param {string} [since]  the newest event already known from elsewhere
   */
  want(room, since) {
    const subscription = this.#rooms.get(room);
    if (!subscription) {
      this.#rooms.set(room, { lastSeen: since ?? null, phase: 'wanted' });
    } else if (since !== undefined && subscription.phase === 'wanted') {
      subscription.lastSeen = subscription.lastSeen === null ? since : newerId(since, subscription.lastSeen);
    }
  }

  /** @param {string} room */
  drop(room) {
    return this.#rooms.delete(room);
  }

  /** @param {string} room */
  wants(room) {
    return this.#rooms.has(room);
  }

  /** @param {string} room */
  isJoined(room) {
    return this.#rooms.get(room)?.phase === 'joined';
  }

  /**
   * Whether messages can be sent there now. A room that nobody wants is open: the server's refusal says more than waiting.
   * @param {string} room
   */
  isOpen(room) {
    const phase = this.#rooms.get(room)?.phase;
    return phase === undefined || phase === 'joined';
  }

  /**
   * The joins to send now, in lists that the protocol allows; they count as asked from here on.
   * @returns {{ room: string, since?: string }[][]}
   */
  takeJoins() {
    const joins = [];
    for (const [room, subscription] of this.#rooms) {
      if (subscription.phase !== 'wanted') continue;
      subscription.phase = 'asked';
      joins.push(subscription.lastSeen === null ? { room } : { room, since: subscription.lastSeen });
    }
    const lists = [];
    for (let at = 0; at < joins.length; at += JOIN_ROOMS_MAX) lists.push(joins.slice(at, at + JOIN_ROOMS_MAX));
    return lists;
  }

  /**
   * What a room's entry in `joined` means.
   * @param {JoinedRoom} entry
   * @returns {{ is: 'joined' } | { is: 'ignored' } | { is: 'refused', code: string }
   *   | { is: 'later', code: string } | { is: 'gap', since: string, last: string }}
   */
  joined({ room, last = '0', replayed, error }) {
    const subscription = this.#rooms.get(room);
    if (!subscription || subscription.phase === 'filling') return { is: 'ignored' };
    if (error !== undefined) {
      if (error === 'unavailable' || error === 'rate_limited' || error === 'internal') {
        return { is: 'later', code: error };
      }
      this.#rooms.delete(room);
      return { is: 'refused', code: error };
    }
    const since = subscription.lastSeen;
    if (since !== null && replayed === null && compareIds(last, since) > 0) {
      subscription.phase = 'filling';
      return { is: 'gap', since, last };
    }
    subscription.phase = 'joined';
    if (since === null) subscription.lastSeen = last;
    return { is: 'joined' };
  }

  /**
   * Back to wanting: the join was refused for now, or history has been read and live events go on after `since`.
   * @param {string} room
   * @param {string} [since]
   */
  again(room, since) {
    const subscription = this.#rooms.get(room);
    if (!subscription) return;
    subscription.phase = 'wanted';
    if (since !== undefined) subscription.lastSeen = since;
  }

  /**
   * Whether to let an event through. While history is being read, live events are not: the join after it replays them.
   * @param {{ room: string, id?: string }} event
   * @param {boolean} [fromHistory]
   */
  accept({ room, id }, fromHistory = false) {
    const subscription = this.#rooms.get(room);
    if (!subscription) return false;
    if ((subscription.phase === 'filling') !== fromHistory) return false;
    if (id === undefined) return true;
    if (subscription.lastSeen !== null && compareIds(id, subscription.lastSeen) <= 0) return false;
    subscription.lastSeen = id;
    return true;
  }

  /** The socket is gone: every room is to be joined again, from where it had got to. */
  disconnected() {
    for (const subscription of this.#rooms.values()) subscription.phase = 'wanted';
  }
}
