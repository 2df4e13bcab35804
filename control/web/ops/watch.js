/**
 * Asks how the cluster is, every two seconds while somebody looks.
 *
 * Events: `seen` (a new answer); `state` (`live`, `paused`, `unreachable`); `refused` (`detail.status` 401 or 403: it does
 * not ask any more).
 */

import { History } from './history.js';

/** @typedef {import('./types.js').Gateway} Gateway */
/** @typedef {import('./types.js').Control} Control */

export const EVERY_MS = 2_000;
/** Without a new report for this long, something is wrong with who should have made it. */
export const SILENT_MS = 6_000;

/** @type {import('../client/link.js').Clock} */
const SYSTEM_CLOCK = {
  now: () => performance.now(),
  setTimeout: (fn, ms) => setTimeout(fn, ms),
  clearTimeout: (timer) => clearTimeout(timer),
};

export class Watch extends EventTarget {
  /** @type {'loading' | 'live' | 'paused' | 'unreachable'} */
  state = 'loading';
  /** Why it is unreachable. @type {unknown} */
  problem = null;
  /** @type {Gateway[]} */
  gateways = [];
  /** @type {Control[]} */
  controls = [];
  history = new History();
  /** By gateway's run or control plane's name: its last report, and when that was new here. @type {Map<string, { seenAt: number, at: number }>} */
  #heard = new Map();
  /** @type {any} */
  #timer = null;
  /** Counts rounds, so that one that was given up can tell. */
  #round = 0;

  /**
   * @param {{ ask: (path: string) => Promise<any>, page: Pick<Document, 'visibilityState' | 'addEventListener' | 'removeEventListener'>,
   *   clock?: import('../client/link.js').Clock }} options
   */
  constructor({ ask, page, clock = SYSTEM_CLOCK }) {
    super();
    this.ask = ask;
    this.page = page;
    this.clock = clock;
  }

  start() {
    this.page.addEventListener('visibilitychange', this.#follow);
    this.#follow();
  }

  stop() {
    this.page.removeEventListener('visibilitychange', this.#follow);
    this.#pause();
  }

  /** Milliseconds since something new was heard of a run or control plane. @param {string} key */
  silentFor(key) {
    return this.clock.now() - (this.#heard.get(key)?.at ?? this.clock.now());
  }

  #follow = () => {
    if (this.page.visibilityState === 'visible') {
      if (this.state === 'paused') this.history.skip();
      this.#pause();
      this.#look();
    } else {
      this.#pause();
      this.#setState('paused');
    }
  };

  #pause() {
    this.#round += 1;
    this.clock.clearTimeout(this.#timer);
    this.#timer = null;
  }

  async #look() {
    const round = this.#round;
    const began = this.clock.now();
    try {
      const [gateways, controls] = await Promise.all([this.ask('/admin/gateways'), this.ask('/admin/controls')]);
      if (round !== this.#round) return;
      this.#take(gateways.items, controls.items);
    } catch (error) {
      if (round !== this.#round) return;
      const { status } = /** @type {any} */ (error);
      if (status === 401 || status === 403) {
        this.stop();
        this.dispatchEvent(new CustomEvent('refused', { detail: { status } }));
        return;
      }
      this.problem = error;
      this.history.skip();
      this.#setState('unreachable');
    }
    const left = Math.max(0, began + EVERY_MS - this.clock.now());
    this.#timer = this.clock.setTimeout(() => this.#look(), left);
  }

  /** @param {Gateway[]} gateways @param {Control[]} controls */
  #take(gateways, controls) {
    const wasLive = this.state === 'live';
    const reports = [...gateways.map(({ run, seen_at }) => ({ key: run, seenAt: seen_at })), ...controls.map(({ server_id, seen_at }) => ({ key: server_id, seenAt: seen_at }))];
    const now = this.clock.now();
    const before = this.#heard;
    this.#heard = new Map();
    for (const { key, seenAt } of reports) {
      const known = before.get(key);
      // While nobody asked, nobody was silent.
      this.#heard.set(key, wasLive && known?.seenAt === seenAt ? known : { seenAt, at: now });
    }
    this.gateways = gateways;
    this.controls = controls;
    this.history.add(gateways, controls);
    this.problem = null;
    this.#setState('live');
    this.dispatchEvent(new Event('seen'));
  }

  /** @param {Watch['state']} state */
  #setState(state) {
    this.state = state;
    this.dispatchEvent(new Event('state'));
  }
}
