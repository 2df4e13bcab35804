/**
 * A WebSocket that comes back: opens it, notices when it died, waits with back-off, opens it again.
 *
 * Knows `welcome`, `bye`, `ping` and close codes, nothing else of the protocol; rooms and messages are `connection.js`.
 */

import { Backoff } from './backoff.js';
import { HubbubError } from './errors.js';

/** @typedef {import('./types.js').State} State */
/** @typedef {import('./types.js').StateChange} StateChange */
/** @typedef {import('./types.js').Welcome} Welcome */

export const SUBPROTOCOL = 'hubbub.v1.json';

const WELCOME_TIMEOUT_MS = 10_000;
const PONG_TIMEOUT_MS = 5_000;
const HEARTBEAT_MS = 30_000;
/** A connection that lived this long was a good one: the next back-off starts anew. */
const STABLE_AFTER_MS = 10_000;

/**
 * @typedef {object} Clock
 * @property {() => number} now
 * @property {(fn: () => void, ms: number) => any} setTimeout
 * @property {(timer: any) => void} clearTimeout
 *
 * @typedef {object} LinkOptions
 * @property {string} [url]          default: `/ws` on the page's own host
 * @property {string | (() => string | Promise<string>)} [ticket]  for `?ticket=`; a function is asked before every attempt,
 *                                   because tickets are short-lived. Without it the browser's cookie is used
 * @property {import('./rest.js').Api} [api]  tells a refused login from a lost network, and reads history over gaps
 * @property {any} [WebSocket]       the class to use; needed where there is no global one
 * @property {Backoff} [backoff]
 * @property {Clock} [clock]
 *
 * @typedef {object} Handlers
 * @property {(change: StateChange) => void} state
 * @property {(welcome: Welcome) => void} up
 * @property {(event: any) => void} event   every frame, `welcome` excepted
 * @property {() => void} down              the socket is gone; it may come back
 * @property {(error: HubbubError) => void} ended  it won't come back by itself
 */

/** @type {Clock} */
export const SYSTEM_CLOCK = {
  now: () => Date.now(),
  setTimeout: (fn, ms) => globalThis.setTimeout(fn, ms),
  clearTimeout: (timer) => globalThis.clearTimeout(timer),
};

export class Link {
  /** @type {State} */
  state = 'closed';
  /** @type {Welcome | null} the last one */
  welcome = null;
  /** @type {any} the WebSocket in use */
  #socket = null;
  /** Counts attempts and ends, so that what belongs to an older one can tell. */
  #serial = 0;
  #connectedAt = 0;
  #lastHeardAt = 0;
  /** @type {{ code: string, reconnect_after_ms?: number } | null} */
  #bye = null;
  /** Why there is no connection, until there is one. @type {string | undefined} */
  #reason;
  /** @type {Record<'attempt' | 'welcome' | 'heartbeat' | 'pong', any>} */
  #timers = { attempt: null, welcome: null, heartbeat: null, pong: null };

  /**
   * @param {LinkOptions} options
   * @param {Handlers} handlers
   */
  constructor(options, handlers) {
    this.options = options;
    this.handlers = handlers;
    this.clock = options.clock ?? SYSTEM_CLOCK;
    this.backoff = options.backoff ?? new Backoff();
    this.#followNetwork();
  }

  /** Connects, or tries again now instead of waiting. */
  open() {
    if (!this.#socket) this.#attempt();
  }

  /**
   * Ends it; `open` starts anew.
   * @param {string} reason
   * @param {HubbubError} error
   */
  end(reason, error) {
    const socket = this.#socket;
    this.#serial += 1;
    this.#detach();
    socket?.close(1000);
    this.backoff.reset();
    this.#reason = undefined;
    this.welcome = null;
    this.handlers.ended(error);
    this.#setState('closed', { reason });
  }

  /** Asks for a sign of life now; a dead socket is replaced within seconds. */
  probe() {
    if (this.state === 'connected') this.#sendPing();
    else if (this.state !== 'closed') this.open();
  }

  /** A socket that does not answer: waiting for its own close could take minutes. */
  abandon() {
    const socket = this.#socket;
    this.#lost(1006);
    socket?.close();
  }

  /** @param {object} command */
  write(command) {
    if (this.state === 'connected') this.#socket.send(JSON.stringify(command));
  }

  async #attempt() {
    this.#serial += 1;
    const serial = this.#serial;
    this.#clear('attempt');
    const isAgain = this.welcome !== null || this.backoff.attempt > 0;
    if (!isOffline()) this.#setState(isAgain ? 'reconnecting' : 'connecting', { reason: this.#reason });
    let socket;
    try {
      const url = await this.#address();
      if (serial !== this.#serial) return;
      const WebSocket = this.options.WebSocket ?? globalThis.WebSocket;
      socket = new WebSocket(url, [SUBPROTOCOL]);
    } catch (error) {
      if (serial === this.#serial) this.#refused(error);
      return;
    }
    this.#socket = socket;
    this.#bye = null;
    this.#timers.welcome = this.clock.setTimeout(() => this.abandon(), WELCOME_TIMEOUT_MS);
    socket.onmessage = (/** @type {{ data: unknown }} */ { data }) => this.#receive(String(data));
    socket.onclose = (/** @type {{ code: number }} */ { code }) => this.#lost(code);
    socket.onerror = () => {}; // `close` follows and says more
  }

  async #address() {
    const { url = '/ws', ticket } = this.options;
    const address = new URL(url, globalThis.location?.href);
    address.protocol = address.protocol.replace('http', 'ws');
    if (ticket !== undefined) {
      address.searchParams.set('ticket', typeof ticket === 'function' ? await ticket() : ticket);
    }
    return address.href;
  }

  /** @param {string} text */
  #receive(text) {
    this.#lastHeardAt = this.clock.now();
    this.#clear('pong');
    const event = JSON.parse(text);
    if (event.op === 'bye') this.#bye = event;
    if (event.op === 'welcome') this.#welcomed(event);
    else this.handlers.event(event);
  }

  /** @param {Welcome} welcome */
  #welcomed(welcome) {
    this.#clear('welcome');
    this.welcome = welcome;
    this.#connectedAt = this.clock.now();
    this.#reason = undefined;
    this.#watchHeartbeat();
    this.#setState('connected');
    this.handlers.up(welcome);
  }

  /** @param {number} code of the close frame */
  async #lost(code) {
    const bye = this.#bye;
    const wasConnected = this.state === 'connected';
    this.#detach();
    if (code === 4001 || bye?.code === 'revoked') {
      return this.end('revoked', new HubbubError('unauthorized', 'the login has ended'));
    }
    if (bye?.code === 'replaced') {
      return this.end('replaced', new HubbubError('closed', 'another connection took over'));
    }
    if (wasConnected && this.clock.now() - this.#connectedAt >= STABLE_AFTER_MS) this.backoff.reset();
    this.#retry(bye?.code ?? reasonOf(code), bye?.reconnect_after_ms);
    if (!wasConnected) await this.#checkLogin();
  }

  /** Browsers hide why a handshake was refused; the control plane tells whether it was the login. */
  async #checkLogin() {
    const serial = this.#serial;
    const { api, ticket } = this.options;
    if (!api || ticket !== undefined) return;
    const error = await api.me().then(() => null, (reason) => reason);
    if (error?.status === 401 && serial === this.#serial) this.#refused(error);
  }

  /** @param {any} error */
  #refused(error) {
    if (error?.status === 401 || error?.status === 403) {
      this.end('unauthorized', new HubbubError('unauthorized', 'not logged in', { cause: error }));
    } else {
      this.#retry(error?.code ?? 'network', error?.retryAfterMs);
    }
  }

  /**
   * @param {string} reason
   * @param {number} [wishedMs]
   */
  #retry(reason, wishedMs) {
    const delay = this.backoff.next(wishedMs);
    this.#reason = reason;
    this.#clear('attempt');
    this.#timers.attempt = this.clock.setTimeout(() => this.#attempt(), delay);
    this.#setState(isOffline() ? 'offline' : 'reconnecting', { reason, retryAt: this.clock.now() + delay });
  }

  /** Lets go of the socket. */
  #detach() {
    const socket = this.#socket;
    this.#socket = null;
    if (socket) socket.onmessage = socket.onclose = null;
    this.#clear('attempt', 'welcome', 'heartbeat', 'pong');
    if (this.state === 'connected') {
      this.state = 'reconnecting'; // nothing may be written from here on
      this.handlers.down();
    }
  }

  /**
   * @param {State} state
   * @param {Partial<StateChange>} [more]
   */
  #setState(state, more = {}) {
    this.state = state;
    this.handlers.state({ state, ...more });
  }

  /** @param {...('attempt' | 'welcome' | 'heartbeat' | 'pong')} names */
  #clear(...names) {
    for (const name of names) {
      this.clock.clearTimeout(this.#timers[name]);
      this.#timers[name] = null;
    }
  }

  /** The server's pings are invisible to a page; so when nothing came for a heartbeat, ask. */
  #watchHeartbeat() {
    const every = this.welcome?.heartbeat_ms ?? HEARTBEAT_MS;
    const quietFor = this.clock.now() - this.#lastHeardAt;
    this.#clear('heartbeat');
    this.#timers.heartbeat = this.clock.setTimeout(() => {
      if (this.clock.now() - this.#lastHeardAt >= every) this.#sendPing();
      this.#watchHeartbeat();
    }, Math.max(every - quietFor, PONG_TIMEOUT_MS));
  }

  #sendPing() {
    if (this.#timers.pong !== null) return;
    this.#timers.pong = this.clock.setTimeout(() => this.abandon(), PONG_TIMEOUT_MS);
    this.write({ op: 'ping' });
  }

  /** Browsers say when the network comes and goes, and when a page wakes up. */
  #followNetwork() {
    globalThis.addEventListener?.('online', () => this.probe());
    globalThis.addEventListener?.('offline', () => this.#offline());
    globalThis.document?.addEventListener('visibilitychange', () => {
      if (globalThis.document.visibilityState === 'visible') this.probe();
    });
  }

  #offline() {
    if (this.state === 'connected') this.#sendPing();
    else if (this.state === 'reconnecting' && !this.#socket) this.#setState('offline');
  }
}

function isOffline() {
  return globalThis.navigator?.onLine === false;
}

/** @param {number} code of a close frame */
function reasonOf(code) {
  if (code === 1012) return 'drain';
  if (code === 4008) return 'slow';
  if (code === 4010) return 'too_many_connections';
  return 'network';
}
