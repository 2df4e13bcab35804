/**
 * Start: finds out who is there, and shows either the login or the chat. The room in view is the address's fragment
 * (`#/rooms/42`), so that back, forward, reload and links work without help from the server.
 */

import { Api } from './client.js';
import { Chat } from './chat.js';
import { fill, h } from './dom.js';
import { explain } from './format.js';
import { showLogin } from './views/login.js';
import { showShell } from './views/shell.js';

const root = /** @type {HTMLElement} */ (document.getElementById('app'));
const api = new Api();

async function start() {
  try {
    const user = await api.me();
    enter(user);
  } catch (error) {
    if (/** @type {any} */ (error).status === 401) login();
    else showUnreachable(error);
  }
}

/** @param {string} [notice] */
function login(notice) {
  document.title = 'Hubbub';
  showLogin(root, { api, notice, onUser: enter });
}

/** @param {import('./client/types.js').User} user */
function enter(user) {
  const chat = new Chat(api, user);
  const shell = showShell(root, chat, { onLogout: logout });
  chat.addEventListener('signed-out', () => leave('You have been signed out. Sign in again to go on.'), { once: true });
  chat.start().catch(shell.showError);

  async function logout() {
    await api.logout().catch(() => {});
    leave();
  }

  /** @param {string} [notice] */
  function leave(notice) {
    chat.stop();
    shell.stop();
    if (!notice) history.replaceState(null, '', '#/');
    login(notice);
  }
}

/** @param {unknown} error */
function showUnreachable(error) {
  const again = h('button', { class: 'button primary', onclick: start }, 'Try again');
  fill(root, h('main', { class: 'unreachable' }, h('h1', {}, 'Hubbub is not reachable'), h('p', {}, explain(error)), again));
}

start();
