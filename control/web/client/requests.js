/** Requests that wait for the reply with their `ref`. */

import { HubbubError } from './errors.js';

/** @typedef {{ resolve: (reply: any) => void, reject: (error: HubbubError) => void, timer: any }} Waiting */

export class Requests {
  /** @type {Map<string, Waiting>} */
  #waiting = new Map();

  /** @param {{ setTimeout: (fn: () => void, ms: number) => any, clearTimeout: (timer: any) => void }} clock */
  constructor(clock) {
    this.clock = clock;
  }

  /**
   * @param {string} ref
   * @param {number} timeoutMs
   * @returns {Promise<any>}
   */
  wait(ref, timeoutMs) {
    return new Promise((resolve, reject) => {
      const timer = this.clock.setTimeout(() => {
        this.#waiting.delete(ref);
        reject(new HubbubError('timeout', 'the server did not answer in time'));
      }, timeoutMs);
      this.#waiting.set(ref, { resolve, reject, timer });
    });
  }

  /**
   * Hands a reply to whoever waits for it.
   * @param {{ ref?: string | number, op: string, code?: string, message?: string, retry_after_ms?: number }} reply
   * @returns {boolean} whether anyone did
   */
  settle(reply) {
    const ref = String(reply.ref);
    const waiting = this.#waiting.get(ref);
    if (!waiting) return false;
    this.#waiting.delete(ref);
    this.clock.clearTimeout(waiting.timer);
    if (reply.op === 'error') {
      const { code = 'internal', message = code, retry_after_ms: retryAfterMs } = reply;
      waiting.reject(new HubbubError(code, message, { retryAfterMs }));
    } else {
      waiting.resolve(reply);
    }
    return true;
  }

  /** @param {HubbubError} error */
  failAll(error) {
    const all = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { reject, timer } of all) {
      this.clock.clearTimeout(timer);
      reject(error);
    }
  }
}
