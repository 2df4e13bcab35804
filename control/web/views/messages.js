/**
 * The messages of a room: days, groups, older ones on scrolling up, the end kept in view for those who are there.
 *
 * Invariant: drawing never moves what the reader looks at. Whoever is at the end stays there; for anyone else
 * the first visible message keeps its place, whatever is added above. However long the room, only a part is drawn.
 */

import { announce, h, reconcile } from '../dom.js';
import { dayHeading, inWords, isSameDay } from '../format.js';
import { icon } from '../icons.js';
import { showActions } from './actions.js';
import { confirm } from './dialog.js';
import { drawMessage, drawPending } from './message.js';
import { drawnPart, partAfter, partAround, partBefore } from './window.js';

/** Messages of one person within this time stand together. */
const GROUP_MS = 5 * 60_000;
/** This near to the end counts as there. */
const END_PX = 60;
/** More messages are drawn, or asked for, this long before the edge is reached. */
const AHEAD_PX = 800;
const SLOW_AFTER_MS = 3_000;
const POINTED_AT_MS = 2_000;

/** @typedef {import('../client/types.js').Message} Message */

/**
 * @param {import('../chat.js').Chat} chat
 * @param {string} id
 * @param {{ onReply: (message: Message) => void, onEdit: (message: Message) => void, onLeave: () => void }} options
 */
export function showMessages(chat, id, { onReply, onEdit, onLeave }) {
  const { store } = chat;
  const top = h('div', { class: 'messages-top', role: 'status' });
  const list = h('ol', { class: 'messages', role: 'list' });
  const scroller = h('div', { class: 'scroller', tabindex: 0, 'aria-label': 'Messages', role: 'log', 'aria-live': 'off', onscroll, onkeydown }, top, list);
  const badge = h('span', { class: 'to-end-count' });
  const toEndButton = h('button', { class: 'to-end', type: 'button', hidden: true, 'aria-label': 'To the newest message', onclick: () => toEnd() }, badge, icon('down'));
  const element = h('div', { class: 'messages-box' }, scroller, toEndButton);
  const drawn = new Map();
  let isAtEnd = true;
  let unseen = 0;
  /** The last message drawn; null: the newest. @type {string | null} */
  let last = null;
  let frame = 0;

  showActions(list, {
    messageOf: (msg) => store.state(id)?.timeline.get(msg),
    mayEdit: (message) => message.from === store.me.id && message.kind === 'text',
    mayDelete: (message) => message.from === store.me.id || store.isAdmin(id),
    onReact: (message, emoji) => chat.attempt(chat.writing.toggleReaction(id, message, emoji)),
    onReply,
    onEdit,
    onDelete: remove,
    onJump: (msg) => show(msg),
    onLeave,
  });
  const heard = (/** @type {any} */ { detail }) => onMessage(detail);
  chat.addEventListener('message', heard);
  const seen = () => see();
  document.addEventListener('visibilitychange', seen);
  window.addEventListener('focus', seen);
  const observer = new ResizeObserver(() => isAtEnd && jumpToEnd());
  observer.observe(scroller);
  const slowTimer = setInterval(() => (store.state(id)?.timeline.pending.length ?? 0) > 0 && update(), 1_000);
  const stops = [
    store.on('timeline', (room) => room === id && updateSoon()),
    store.on('progress', (room, progress) => room === id && showProgress(progress)),
    () => chat.removeEventListener('message', heard),
    () => document.removeEventListener('visibilitychange', seen),
    () => window.removeEventListener('focus', seen),
    () => observer.disconnect(),
    () => clearInterval(slowTimer),
    () => cancelAnimationFrame(frame),
  ];
  update();
  return { element, toEnd, show, stop: () => stops.forEach((stop) => stop()) };

  // ---- drawing ----

  /** Many events of one moment are drawn once. */
  function updateSoon() {
    if (frame === 0) frame = requestAnimationFrame(update);
  }

  function update() {
    cancelAnimationFrame(frame);
    frame = 0;
    const state = store.state(id);
    if (!state) return;
    if (isAtEnd) chat.history.trim(id);
    const anchor = isAtEnd ? null : firstVisible();
    const focused = itemInFocus();
    drawTop(state);
    reconcile(list, drawn, rows(state));
    if (focused !== null && !list.contains(document.activeElement)) drawn.get(focused)?.element.focus({ preventScroll: true });
    if (isAtEnd) jumpToEnd();
    else if (anchor) keepInPlace(anchor);
    see();
    // A page may not fill the screen.
    if (state.history === 'ready' && scroller.scrollHeight <= scroller.clientHeight + END_PX) chat.history.loadOlder(id);
  }

  /** @param {import('../store.js').RoomState} state */
  function drawTop({ history, atStart, timeline }) {
    const isWhole = atStart && drawnPart(timeline, last)[0] === 0;
    const words = {
      none: 'Loading messages…',
      loading: timeline.messages.length > 0 ? '' : 'Loading messages…',
      failed: 'The messages could not be loaded.',
      ready: !isWhole ? 'Loading older messages…' : timeline.messages.length > 0 ? 'This is the beginning of the conversation.' : 'Nothing here yet. Say hello.',
    };
    if (top.textContent !== words[history]) top.textContent = words[history];
    top.classList.toggle('empty', timeline.messages.length + timeline.pending.length === 0);
    if (history === 'failed') top.append(' ', h('button', { class: 'link', onclick: () => chat.history.open(id) }, 'Try again'));
  }

  /** @param {import('../store.js').RoomState} state */
  function rows({ timeline, history }) {
    /** @type {Parameters<typeof reconcile<any>>[2]} */
    const result = [];
    const now = Date.now();
    const messages = history === 'ready' || history === 'loading' ? timeline.messages : [];
    const [first, end] = drawnPart(timeline, last);
    messages.slice(first, end).forEach((message, offset) => {
      const at = first + offset;
      const before = messages[at - 1];
      const after = messages[at + 1];
      if (!before || offset === 0 || !isSameDay(before.ts, message.ts)) result.push(dayRow(message.ts, now));
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
        draw: () => drawMessage(look, { me: store.me, nameOf: (user) => store.nameOf(user) }),
      });
    });
    if (end < messages.length) return result;
    timeline.pending.forEach((item, at) => {
      const isFirst = at === 0 && messages[messages.length - 1]?.from !== store.me.id;
      const isSlow = item.state === 'sending' && now - item.ts > SLOW_AFTER_MS;
      const answered = item.reply_to ? timeline.get(item.reply_to) : undefined;
      result.push({
        key: `${store.me.id}/${item.nonce}`,
        value: `${item.state} ${isFirst} ${isSlow} ${item.body !== ''}`,
        draw: () => drawPending(item, {
          isFirst,
          isSlow,
          answered,
          onRetry: () => chat.writing.retry(id, item.nonce),
          onDiscard: () => chat.writing.discard(id, item.nonce),
        }),
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

  /** @param {{ nonce: string, share: number }} progress */
  function showProgress({ nonce, share }) {
    const bar = /** @type {HTMLProgressElement | null} */ (list.querySelector(`progress[data-nonce="${CSS.escape(nonce)}"]`));
    if (bar) bar.value = share;
  }

  /** The key of the message that has the focus, or something in it. */
  function itemInFocus() {
    const { activeElement } = document;
    if (!list.contains(activeElement)) return null;
    for (const [key, { element: item }] of drawn) if (item.contains(activeElement)) return key;
    return null;
  }

  // ---- scrolling ----

  function onscroll() {
    const below = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight;
    const { timeline } = store.state(id) ?? {};
    if (!timeline) return;
    const [first, end] = drawnPart(timeline, last);
    const isAllDrawn = end === timeline.messages.length;
    isAtEnd = isAllDrawn && below < END_PX;
    if (isAtEnd) last = null;
    if (scroller.scrollTop < AHEAD_PX && first > 0) draw(partBefore(timeline, last));
    else if (scroller.scrollTop < AHEAD_PX) chat.history.loadOlder(id);
    else if (below < AHEAD_PX && !isAllDrawn) draw(partAfter(timeline, last));
    see();
  }

  /** Draws another part, whatever is in both staying where it is. @param {string | null} part */
  function draw(part) {
    if (part === last) return;
    last = part;
    update();
  }

  /** From the list itself into its newest message. @param {KeyboardEvent} event */
  function onkeydown(event) {
    if (event.target !== scroller || event.key !== 'ArrowUp') return;
    event.preventDefault();
    const items = /** @type {NodeListOf<HTMLElement>} */ (list.querySelectorAll('.message[data-id]'));
    items[items.length - 1]?.focus();
  }

  /** The first message in view, by its key: drawing may replace its element. */
  function firstVisible() {
    const { top: edge } = scroller.getBoundingClientRect();
    let found = null;
    for (const [key, { element: item }] of drawn) {
      // Headings come and go with the part that is drawn.
      if (key.startsWith('day ')) continue;
      const box = item.getBoundingClientRect();
      if (box.bottom > edge && (!found || box.top < found.top)) found = { key, top: box.top };
    }
    return found;
  }

  /** @param {{ key: string, top: number }} anchor */
  function keepInPlace({ key, top: before }) {
    const item = drawn.get(key)?.element;
    if (item) scroller.scrollTop += item.getBoundingClientRect().top - before;
  }

  function jumpToEnd() {
    scroller.scrollTop = scroller.scrollHeight;
  }

  function toEnd() {
    isAtEnd = true;
    last = null;
    update();
  }

  /** Brings a message into view, however far up. @param {string} msg */
  async function show(msg) {
    isAtEnd = false;
    const isThere = await chat.history.reach(id, msg);
    const state = store.state(id);
    if (!state || !isThere) return;
    last = partAround(state.timeline, msg);
    update();
    const item = /** @type {HTMLElement | null} */ (list.querySelector(`[data-id="${CSS.escape(msg)}"]`));
    if (!item) return;
    item.scrollIntoView({ block: 'center' });
    item.focus({ preventScroll: true });
    item.classList.add('pointed-at');
    setTimeout(() => item.classList.remove('pointed-at'), POINTED_AT_MS);
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
    if (isReady && isAtEnd && document.visibilityState === 'visible' && document.hasFocus()) chat.writing.markRead(id);
  }

  // ---- changing ----

  /** @param {Message} message */
  async function remove(message) {
    const isSure = await confirm({ title: 'Delete this message?', text: inWords(message), action: 'Delete', isDangerous: true });
    if (isSure) chat.attempt(chat.writing.delete(id, message));
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
