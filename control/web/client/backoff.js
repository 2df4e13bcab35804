/** How long to wait before the next attempt. Pure: the random source is an argument. */

export class Backoff {
  #attempt = 0;

  /** @param {{ baseMs?: number, maxMs?: number, random?: () => number }} [options] */
  constructor({ baseMs = 500, maxMs = 30_000, random = Math.random } = {}) {
    this.baseMs = baseMs;
    this.maxMs = maxMs;
    this.random = random;
  }

  /** Attempts since the last `reset`. */
  get attempt() {
    return this.#attempt;
  }

  /**
   * The next delay: exponential with half of it random, so that the clients of a lost gateway spread out but none
   * comes back at once. A server's own wish replaces it: that one is already spread over the clients.
   * @param {number} [wishedMs]
   */
  next(wishedMs) {
    const ceiling = Math.min(this.maxMs, this.baseMs * 2 ** Math.min(this.#attempt, 30));
    this.#attempt += 1;
    if (wishedMs !== undefined) return Math.max(0, wishedMs);
    return Math.round(ceiling / 2 + (this.random() * ceiling) / 2);
  }

  reset() {
    this.#attempt = 0;
  }
}
