/** One's own account: the name, the password, and where one is signed in. */

import { fill, h } from '../../dom.js';
import { explain, fullTime, shortTime } from '../../format.js';
import { open } from '../dialog.js';
import { field } from '../login.js';
import { makeForm } from './form.js';

/** @typedef {import('../../chat.js').Chat} Chat */
/** @typedef {import('../../client/types.js').LoginSession} LoginSession */

/** @param {Chat} chat @param {{ onLogout: () => void, onRenamed: () => void }} options */
export function openAccount(chat, { onLogout, onRenamed }) {
  const sessions = h('ul', { class: 'sessions', role: 'list' });
  const note = h('p', { class: 'results-note', role: 'status' }, 'Loading…');
  const operations = section('For operators', h('a', { href: '/ops' }, 'How the system is'));
  operations.hidden = true;
  const dialog = open(
    'Your account',
    h('div', { class: 'dialog-body' },
      section('Your name', nameForm()),
      section('Where you are signed in', note, sessions),
      section('Password', passwordForm()),
      operations,
      h('div', { class: 'dialog-actions spread' },
        h('span', { class: 'field-note' }, `Signed in as ${chat.user.username}`),
        h('button', { class: 'button', type: 'button', onclick: signOut }, 'Sign out')),
    ),
  );
  load();
  // Whoever is no operator does not see it; one who was made one meanwhile does.
  chat.api.me().then(({ operator }) => (operations.hidden = !operator), () => {});

  function nameForm() {
    return makeForm({
      fields: [field({ name: 'display_name', label: 'What others see next to your messages', required: true, maxlength: 64, autocomplete: 'name', value: chat.store.me.name })],
      action: 'Save name',
      save: async ({ display_name = '' }) => {
        const user = await chat.api.updateProfile({ display_name: display_name.trim() });
        chat.store.me.name = user.display_name || user.username;
        chat.store.names.set(user.id, chat.store.me.name);
        onRenamed();
      },
    });
  }

  function passwordForm() {
    return makeForm({
      fields: [
        h('input', { type: 'text', name: 'username', autocomplete: 'username', value: chat.user.username, hidden: true, 'aria-label': 'User name' }),
        field({ name: 'old', label: 'Old password', type: 'password', required: true, autocomplete: 'current-password' }),
        field({ name: 'new', label: 'New password', type: 'password', required: true, autocomplete: 'new-password', hint: 'Signs you out everywhere else.' }),
      ],
      action: 'Change password',
      explains: (error) => (error.status === 401 || error.status === 403 ? 'The old password is not right.' : explain(error)),
      save: async (values, form) => {
        await chat.api.changePassword({ old: values.old ?? '', new: values.new ?? '' });
        form.reset();
        await load();
      },
    });
  }

  async function load() {
    try {
      const items = await chat.api.sessions();
      note.textContent = '';
      fill(sessions, ...items.sort((a, b) => Number(b.current) - Number(a.current) || b.created_at - a.created_at).map(row));
    } catch (error) {
      note.textContent = explain(error);
    }
  }

  /** @param {LoginSession} session */
  function row({ id, created_at, address, user_agent, current }) {
    const device = describe(user_agent ?? '');
    return h('li', { class: 'session' },
      h('span', { class: 'result-text' },
        h('span', { class: 'result-title' }, device),
        h('span', { class: 'result-note', title: fullTime(created_at) }, [address, `since ${shortTime(created_at, Date.now())}`].filter(Boolean).join(' · '))),
      current
        ? h('span', { class: 'session-current' }, 'This one')
        : h('button', { class: 'button small', type: 'button', 'aria-label': `Sign out ${device}`, onclick: () => revoke(id) }, 'Sign out'));
  }

  /** @param {string} id */
  async function revoke(id) {
    try {
      await chat.api.revokeSession(id);
      await load();
    } catch (error) {
      note.textContent = explain(error);
    }
  }

  function signOut() {
    dialog.close();
    onLogout();
  }
}

/** @param {string} title @param {...Node} content */
function section(title, ...content) {
  return h('section', { class: 'section', 'aria-label': title }, h('h3', {}, title), ...content);
}

/** A browser's long name in two words. @param {string} agent */
function describe(agent) {
  const find = (/** @type {[RegExp, string][]} */ names) => names.find(([pattern]) => pattern.test(agent))?.[1];
  const browser = find([[/Edg\//, 'Edge'], [/Firefox\//, 'Firefox'], [/Chrome\//, 'Chrome'], [/Safari\//, 'Safari']]);
  const system = find([[/Android/, 'Android'], [/iPhone|iPad/, 'iOS'], [/Windows/, 'Windows'], [/Mac OS/, 'macOS'], [/Linux/, 'Linux']]);
  if (browser) return system ? `${browser} on ${system}` : browser;
  return agent.split(/[\s/]/, 1)[0] || 'Unknown program';
}
