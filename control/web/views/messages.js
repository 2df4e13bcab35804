/**
 * The messages of a room: days, groups, older ones on scrolling up, the end kept in view for those who are there.
 *
 * Invariant: drawing never moves what the reader looks at. Whoever is at the end stays there; for anyone else
 * the first visible message keeps its place, whatever is added above.
 */

import { announce, h, reconcile } from '../dom.js';
import { dayHeading, inWords, isSameDay } from '../format.js';
import { icon } from '../icons.js';
import { drawMessage, drawPending } from './message.js';

/** Messages of one person within this time stand together. */
const GROUP_MS = 5 * 60_000;
/** This near to the end counts as there. */
const END_PX = 60;
/** Older messages are asked for this long before the top is reached. */
const AHEAD_PX = 600;
const SLOW_AFTER_MS = 3_000;

/** @typedef {import('../client/types.js').Message} Message */

/**
 * @param {import('../chat.js').Chat} chat
 * @param {string} id
 */
export function showMessages(chat, id) {
  const { store } = chat;
  const top = h('div', { class: 'messages-top', role: 'status' });
  const list = h('ol', { class: 'messages', role: 'list' });
  const scroller = h('div', { class: 'scroller', tabindex: 0, 'aria-label': 'Messages', role: 'log', 'aria-live': 'off', onscroll }, top, list);
  const badge = h('span', { class: 'to-end-count' });
  const toEndButton = h('button', { class: 'to-end', type: 'button', hidden: true, 'aria-label': 'To the newest message', onclick: () => toEnd() }, badge, icon('down'));
  const element = h('div', { class: 'messages-box' }, scroller, toEndButton);
  const drawn = new Map();
  let isAtEnd = true;
  let unseen = 0;

  const heard = (/** @type {any} */ { detail }) => onMessage(detail);
  chat.addEventListener('message', heard);
  const seen = () => see();
  document.addEventListener('visibilitychange', seen);
  window.addEventListener('focus', seen);
  const observer = new ResizeObserver(() => isAtEnd && jumpToEnd());
  observer.observe(scroller);
  const slowTimer = setInterval(() => (store.state(id)?.timeline.pending.length ?? 0) > 0 && update(), 1_000);
  const stops = [
    store.on('timeline', (room) => room === id && update()),
    () => chat.removeEventListener('message', heard),
    () => document.removeEventListener('visibilitychange', seen),
    () => window.removeEventListener('focus', seen),
    () => observer.disconnect(),
    () => clearInterval(slowTimer),
  ];
  update();
  return { element, toEnd, stop: () => stops.forEach((stop) => stop()) };

  function update() {
    const state = store.state(id);
    if (!state) return;
    if (isAtEnd) chat.trim(id);
    const anchor = isAtEnd ? null : firstVisible();
    drawTop(state);
    reconcile(list, drawn, rows(state));
    if (isAtEnd) jumpToEnd();
    else if (anchor) keepInPlace(anchor);
    see();
    // A page may not fill the screen.
    if (state.history === 'ready' && scroller.scrollHeight <= scroller.clientHeight + END_PX) chat.loadOlder(id);
  }

  /** @param {import('../store.js').RoomState} state */
  function drawTop({ history, atStart, timeline }) {
    const words = {
      none: 'Loading messages…',
      loading: timeline.messages.length > 0 ? '' : 'Loading messages…',
      failed: 'The messages could not be loaded.',
      ready: !atStart ? 'Loading older messages…' : timeline.messages.length > 0 ? 'This is the beginning of the conversation.' : 'Nothing here yet. Say hello.',
    };
    top.textContent = words[history];
    top.classList.toggle('empty', timeline.messages.length + timeline.pending.length === 0);
    if (history === 'failed') top.append(' ', h('button', { class: 'link', onclick: () => chat.openRoom(id) }, 'Try again'));
  }

  /** @param {import('../store.js').RoomState} state */
  function rows({ timeline, history }) {
    /** @type {Parameters<typeof reconcile<any>>[2]} */
    const result = [];
    const now = Date.now();
    const messages = history === 'ready' || history === 'loading' ? timeline.messages : [];
    messages.forEach((message, at) => {
      const before = messages[at - 1];
      const after = messages[at + 1];
      if (!before || !isSameDay(before.ts, message.ts)) result.push(dayRow(message.ts, now));
      const answered = message.reply_to ? timeline.get(message.reply_to) : undefined;
      const look = {
        message,
        answered,
        isMine: message.from === store.me.id,
        isFirst: !isGrouped(before, message),
        isLast: !after || !isGrouped(message, after),
      };
      result.push({
        key: message.nonce ? `${message.from}/${message.nonce}` : message.id,
        value: look,
        isSame: (drawnBefore) => isSameLook(drawnBefore, look),
        draw: () => drawMessage(look),
      });
    });
    timeline.pending.forEach((item, at) => {
      const isFirst = at === 0 && messages[messages.length - 1]?.from !== store.me.id;
      const isSlow = item.state === 'sending' && now - item.ts > SLOW_AFTER_MS;
      result.push({
        key: `${store.me.id}/${item.nonce}`,
        value: `${item.state} ${isFirst} ${isSlow}`,
        draw: () => drawPending(item, { isFirst, isSlow, onRetry: () => chat.retry(id, item.nonce), onDiscard: () => chat.discard(id, item.nonce) }),
      });
    });
    return result;
  }

  /** @param {number} ts @param {number} now */
  function dayRow(ts, now) {
    const heading = dayHeading(ts, now);
    return {
      key: `day ${new Date(ts).toDateString()}`,
      value: heading,
      draw: () => h('li', { class: 'day' }, h('span', {}, heading)),
    };
  }

  // ---- scrolling ----

  function onscroll() {
    isAtEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < END_PX;
    if (scroller.scrollTop < AHEAD_PX) chat.loadOlder(id);
    see();
  }

  /** The first message in view, by its key: drawing may replace its element. */
  function firstVisible() {
    const { top: edge } = scroller.getBoundingClientRect();
    let found = null;
    for (const [key, { element }] of drawn) {
      const box = element.getBoundingClientRect();
      if (box.bottom > edge && (!found || box.top < found.top)) found = { key, top: box.top };
    }
    return found;
  }

  /** @param {{ key: string, top: number }} anchor */
  function keepInPlace({ key, top: before }) {
    const element = drawn.get(key)?.element;
    if (element) scroller.scrollTop += element.getBoundingClientRect().top - before;
  }

  function jumpToEnd() {
    scroller.scrollTop = scroller.scrollHeight;
  }

  function toEnd() {
    isAtEnd = true;
    jumpToEnd();
    see();
  }

  // ---- reading ----

  /** @param {Message} message */
  function onMessage(message) {
    const { room, from, name } = message;
    if (room !== id || from === store.me.id) return;
    announce(`${name}: ${inWords(message)}`);
    if (!isAtEnd) unseen += 1;
    see();
  }

  /** The end is in view, by someone: everything is read. */
  function see() {
    if (isAtEnd) unseen = 0;
    toEndButton.hidden = isAtEnd;
    badge.textContent = unseen > 0 ? String(unseen) : '';
    const isReady = store.state(id)?.history === 'ready';
    if (isReady && isAtEnd && document.visibilityState === 'visible' && document.hasFocus()) chat.markRead(id);
  }
}

/** @param {Message | undefined} a @param {Message} b */
function isGrouped(a, b) {
  return a !== undefined && a.from === b.from && b.ts - a.ts < GROUP_MS && isSameDay(a.ts, b.ts);
}

/**
 * @param {any} a
 * @param {import('./message.js').Look} b
 */
function isSameLook(a, b) {
  return (
    a.message === b.message && a.answered === b.answered && a.isMine === b.isMine && a.isFirst === b.isFirst && a.isLast === b.isLast
  );
}
