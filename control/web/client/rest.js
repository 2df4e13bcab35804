/**
 * The REST calls of the control plane. A browser on the same origin is known by its cookie; anyone else passes a token.
 *
 * Every call resolves with the answer's JSON or rejects with a `HubbubError` that carries the problem's code, status,
 * field errors and time to try again.
 */

import { HubbubError } from './errors.js';
import { putFile } from './upload.js';

/** @typedef {import('./types.js').User} User */
/** @typedef {import('./types.js').Room} Room */
/** @typedef {import('./types.js').Message} Message */
/** @typedef {import('./types.js').Member} Member */
/** @typedef {import('./types.js').Ack} Ack */
/** @typedef {import('./types.js').LoginSession} LoginSession */
/**
 * @template T
 * @typedef {{ items: T[], next: string | null }} List
 */

export class Api {
  /** @param {{ baseUrl?: string, token?: string, fetch?: typeof globalThis.fetch }} [options] */
  constructor({ baseUrl = '/api/v1', token, fetch = globalThis.fetch } = {}) {
    this.baseUrl = baseUrl.replace(/\/$/, '');
    /** Set by `login` and `register` where no cookie can be kept, or by the caller. */
    this.token = token;
    this.fetch = fetch.bind(globalThis);
  }

  /** @param {{ username: string, password: string, display_name?: string }} form @returns {Promise<{ user: User, token: string }>} */
  register(form) {
    return this.request('POST', '/auth/register', form);
  }

  /** @param {{ username: string, password: string }} form @returns {Promise<{ user: User, token: string }>} */
  login(form) {
    return this.request('POST', '/auth/login', form);
  }

  /** @returns {Promise<void>} */
  logout() {
    return this.request('POST', '/auth/logout');
  }

  /** @returns {Promise<User>} */
  async me() {
    const answer = await this.request('GET', '/auth/me');
    return answer.user ?? answer;
  }

  /** Where the caller is logged in. @returns {Promise<LoginSession[]>} */
  async sessions() {
    return (await this.request('GET', '/auth/sessions')).items;
  }

  /** Ends a login session and its connections. @param {string} id @returns {Promise<void>} */
  revokeSession(id) {
    return this.request('DELETE', `/auth/sessions/${encodeURIComponent(id)}`);
  }

  /** Ends all other sessions too. @param {{ old: string, new: string }} passwords @returns {Promise<void>} */
  changePassword(passwords) {
    return this.request('POST', '/auth/password', passwords);
  }

  /** A short-lived proof for `Connection`'s `ticket`. @returns {Promise<string>} */
  async ticket() {
    return (await this.request('POST', '/auth/ticket')).ticket;
  }

  /** @param {string} query @returns {Promise<List<User>>} */
  users(query) {
    return this.request('GET', '/users', undefined, { query });
  }

  /** @param {string} id @returns {Promise<User>} */
  user(id) {
    return this.request('GET', `/users/${encodeURIComponent(id)}`);
  }

  /** @param {{ display_name: string }} profile @returns {Promise<User>} */
  async updateProfile(profile) {
    const answer = await this.request('PATCH', '/users/me', profile);
    return answer.user ?? answer;
  }

  /** All rooms of the caller. @returns {Promise<Room[]>} */
  rooms() {
    return this.#all('/rooms');
  }

  /** @param {string} [query] @param {string} [cursor] @returns {Promise<List<Room>>} */
  publicRooms(query, cursor) {
    return this.request('GET', '/rooms/public', undefined, { query: query || undefined, cursor });
  }

  /** @param {string} id @returns {Promise<Room>} */
  room(id) {
    return this.request('GET', roomPath(id));
  }

  /** @param {{ name: string, kind: 'public' | 'private', topic?: string }} form @returns {Promise<Room>} */
  createRoom(form) {
    return this.request('POST', '/rooms', form);
  }

  /** @param {string} id @param {{ name?: string, topic?: string }} changes @returns {Promise<Room>} */
  updateRoom(id, changes) {
    return this.request('PATCH', roomPath(id), changes);
  }

  /** @param {string} id @returns {Promise<void>} */
  deleteRoom(id) {
    return this.request('DELETE', roomPath(id));
  }

  /** @param {string} id @returns {Promise<void>} */
  joinRoom(id) {
    return this.request('POST', `${roomPath(id)}/join`);
  }

  /** @param {string} id @returns {Promise<void>} */
  leaveRoom(id) {
    return this.request('POST', `${roomPath(id)}/leave`);
  }

  /** The direct room with `user`, made on first use. @param {string} user @returns {Promise<Room>} */
  directRoom(user) {
    return this.request('POST', '/dms', { user });
  }

  /** @param {string} id @returns {Promise<Member[]>} */
  async members(id) {
    const items = await this.#all(`${roomPath(id)}/members`);
    return items.map(toMember);
  }

  /** Invites, or gives a role. @param {string} id @param {string} user @param {string} role @returns {Promise<void>} */
  setMember(id, user, role) {
    return this.request('PUT', memberPath(id, user), { role });
  }

  /** @param {string} id @param {string} user @returns {Promise<void>} */
  removeMember(id, user) {
    return this.request('DELETE', memberPath(id, user));
  }

  /**
   * A page of history, newest last.
   * @param {string} id
   * @param {{ before?: string, after?: string, limit?: number }} [page]
   * @returns {Promise<List<Message>>}
   */
  history(id, page = {}) {
    return this.request('GET', `${roomPath(id)}/messages`, undefined, page);
  }

  /** A page of what was found, newest first. @param {string} id @param {string} q @param {string} [cursor] @returns {Promise<List<Message>>} */
  search(id, q, cursor) {
    return this.request('GET', `${roomPath(id)}/search`, undefined, { q, cursor });
  }

  /** Sends without a WebSocket. @param {string} id @param {{ body: string, nonce?: string, kind?: string, reply_to?: string }} message @returns {Promise<Ack>} */
  sendMessage(id, message) {
    return this.request('POST', `${roomPath(id)}/messages`, message);
  }

  /**
   * Sends a file; its `url` can be named in messages. Whoever is logged in and knows it can read it.
   * @param {Blob & { name?: string }} file
   * @param {{ onProgress?: (share: number) => void, signal?: AbortSignal }} [options]  `onProgress`: in browsers, with 0 to 1
   * @returns {Promise<{ id: string, url: string }>}
   */
  async upload(file, options = {}) {
    const form = { file_name: file.name || 'image', content_type: file.type || 'application/octet-stream', size: file.size };
    const { id, put_url: putUrl, headers, url } = await this.request('POST', '/uploads', form);
    const answer = await putFile({ url: putUrl, headers, file, fetch: this.fetch, ...options });
    if (!answer.ok) throw problem(answer, answer.text);
    return { id, url };
  }

  /**
   * Every page of a list.
   * @param {string} path
   * @returns {Promise<any[]>}
   */
  async #all(path) {
    const items = [];
    let cursor;
    do {
      const page = await this.request('GET', path, undefined, { limit: 100, cursor });
      items.push(...page.items);
      cursor = page.next ?? undefined;
    } while (cursor !== undefined);
    return items;
  }

  /**
   * Any call, for what has no method here.
   * @param {string} method
   * @param {string} path     under `/api/v1`
   * @param {unknown} [body]
   * @param {Record<string, string | number | undefined>} [query]
   * @returns {Promise<any>}
   */
  async request(method, path, body, query = {}) {
    const search = new URLSearchParams();
    for (const [name, value] of Object.entries(query)) if (value !== undefined) search.set(name, String(value));
    const url = this.baseUrl + path + (search.size > 0 ? `?${search}` : '');
    /** @type {Record<string, string>} */
    const headers = { accept: 'application/json' };
    if (body !== undefined) headers['content-type'] = 'application/json';
    if (this.token) headers.authorization = `Bearer ${this.token}`;
    let response;
    let answer;
    try {
      response = await this.fetch(url, {
        method,
        headers,
        body: body === undefined ? undefined : JSON.stringify(body),
        credentials: 'same-origin',
      });
      answer = await response.text();
    } catch (cause) {
      throw new HubbubError('network', 'the server could not be reached', { cause });
    }
    if (!response.ok) throw problem(response, answer);
    if (answer === '') return undefined;
    try {
      return JSON.parse(answer);
    } catch (cause) {
      throw new HubbubError('bad_answer', 'the server answered with something that is not JSON', { cause });
    }
  }
}

/** @param {string} id */
function roomPath(id) {
  return `/rooms/${encodeURIComponent(id)}`;
}

/** @param {string} id @param {string} user */
function memberPath(id, user) {
  return `${roomPath(id)}/members/${encodeURIComponent(user)}`;
}

/**
 * `application/problem+json` as an error; anything else (a proxy's page) by its status alone.
 * @param {{ status: number, headers: Headers }} response
 * @param {string} text
 */
function problem(response, text) {
  /** @type {any} */
  let body = {};
  try {
    body = JSON.parse(text) ?? {};
  } catch {
    // A proxy's HTML: the status says enough.
  }
  const seconds = Number(response.headers.get('retry-after'));
  const fallback = response.status >= 500 ? 'unavailable' : `http_${response.status}`;
  return new HubbubError(body.code ?? fallback, body.detail ?? body.title ?? `the server answered ${response.status}`, {
    status: response.status,
    retryAfterMs: body.retry_after_ms ?? (seconds > 0 ? seconds * 1000 : undefined),
    fields: body.errors,
  });
}

/**
 * @param {any} item  a member with its user inside, or a user with a role
 * @returns {Member}
 */
function toMember({ role, user, ...rest }) {
  return { user: typeof user === 'object' ? user : { ...rest, id: user ?? rest.id }, role };
}
