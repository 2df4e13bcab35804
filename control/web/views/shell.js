/** The frame around everything: the list on one side, the room on the other; on a phone one of the two at a time. */

import { fill, h } from '../dom.js';
import { explain } from '../format.js';
import { icon } from '../icons.js';
import { personAvatar } from './avatar.js';
import { openAccount, openBrowse, openDirect, openNewRoom } from './dialogs.js';
import { showRoom } from './room.js';
import { showRooms } from './rooms.js';
import { showStatus } from './status.js';
import { toast } from './toast.js';

/**
 * @param {Element} root
 * @param {import('../chat.js').Chat} chat
 * @param {{ onLogout: () => void }} options
 */
export function showShell(root, chat, { onLogout }) {
  const { store } = chat;
  const main = h('main', { class: 'pane pane-room', 'aria-label': 'Conversation' });
  const list = h('nav', { class: 'room-list', 'aria-label': 'Rooms' });
  const status = showStatus(chat);
  const me = h('span', {});
  const myName = h('span', { class: 'me-name' });
  const frame = h('div', { class: 'shell' }, sidebar(), main);
  /** @type {{ stop: () => void } | null} */
  let room = null;
  fill(root, frame);
  drawMe();

  const rooms = showRooms(list, chat, { onBrowse: browse });
  const stops = [store.on('rooms', () => (title(), route())), () => window.removeEventListener('hashchange', route), rooms.stop, status.stop];
  const gone = () => go(null);
  chat.addEventListener('gone', gone);
  chat.addEventListener('problem', (/** @type {any} */ { detail }) => toast(explain(detail)));
  window.addEventListener('hashchange', route);
  route();

  return {
    stop() {
      stops.forEach((stop) => stop());
      room?.stop();
    },
    /** @param {unknown} error */
    showError(error) {
      if (!store.roomsLoaded) fill(list, h('p', { class: 'list-note' }, explain(error)));
    },
  };

  function sidebar() {
    return h(
      'div',
      { class: 'pane pane-list' },
      h(
        'header',
        { class: 'list-head' },
        h('div', { class: 'brand' }, h('img', { src: '/favicon.svg', alt: '', width: 26, height: 26 }), 'Hubbub'),
        h('div', { class: 'list-actions' },
          action('compass', 'Browse public rooms', browse),
          action('message', 'New direct message', () => openDirect(chat, go)),
          action('plus', 'New room', () => openNewRoom(chat, go)),
        ),
      ),
      list,
      h(
        'footer',
        { class: 'list-foot' },
        me,
        h('div', { class: 'me' }, myName, status.line),
        action('sliders', 'Your account', account),
        action('leave', 'Sign out', onLogout),
      ),
    );
  }

  function drawMe() {
    fill(me, personAvatar(store.me.name, 'small'));
    myName.textContent = store.me.name;
  }

  function account() {
    openAccount(chat, { onLogout, onRenamed: drawMe });
  }

  function browse() {
    openBrowse(chat, go);
  }

  /** @param {string | null} id */
  function go(id) {
    const hash = id === null ? '#/' : `#/rooms/${id}`;
    if (location.hash === hash) route();
    else location.hash = hash;
  }

  /** Shows what the address says. */
  function route() {
    const wanted = /^#\/rooms\/(\d+)$/.exec(location.hash)?.[1] ?? null;
    const id = wanted !== null && store.rooms.has(wanted) ? wanted : null;
    frame.dataset.pane = id === null ? 'list' : 'room';
    if (id === store.current && main.childElementCount > 0) return;
    room?.stop();
    room = null;
    store.current = id;
    if (id === null) fill(main, nothing());
    else room = showRoom(main, chat, id, { go, banner: status.banner });
    rooms.update();
    title();
  }

  function nothing() {
    return h(
      'div',
      { class: 'nothing' },
      h('img', { src: '/favicon.svg', alt: '', width: 56, height: 56 }),
      h('h2', {}, 'Pick a conversation'),
      h('p', {}, 'Choose a room on the left, browse the public ones, or start your own.'),
      h('div', { class: 'nothing-actions' },
        h('button', { class: 'button primary', onclick: browse }, 'Browse rooms'),
        h('button', { class: 'button', onclick: () => openNewRoom(chat, go) }, 'New room'),
      ),
    );
  }

  function title() {
    const unread = store.unreadTotal();
    const state = store.current === null ? undefined : store.state(store.current);
    document.title = `${unread > 0 ? `(${unread}) ` : ''}${state ? `${store.title(state)} · ` : ''}Hubbub`;
  }
}

/** @param {import('../icons.js').IconName} name @param {string} label @param {() => void} onclick */
function action(name, label, onclick) {
  return h('button', { class: 'icon-button', 'aria-label': label, title: label, onclick }, icon(name));
}
