/**
 * What can be done with a message: one bar for the whole list, put into the message under the pointer, in focus, or
 * touched. Keys on a message in focus: R, E, Delete, Enter for the bar, arrows to go on.
 */

import { fill, h } from '../dom.js';
import { icon } from '../icons.js';

export const EMOJI = ['👍', '❤️', '😂', '🎉', '😮', '😢', '🙏', '✅'];

/** @typedef {import('../client/types.js').Message} Message */

/**
 * @param {HTMLElement} list
 * @param {{ messageOf: (id: string) => Message | undefined, mayEdit: (message: Message) => boolean,
 *   mayDelete: (message: Message) => boolean, onReact: (message: Message, emoji: string) => void,
 *   onReply: (message: Message) => void, onEdit: (message: Message) => void, onDelete: (message: Message) => void,
 *   onJump: (id: string) => void, onLeave: () => void }} does
 */
export function showActions(list, does) {
  const bar = h('div', { class: 'actions', role: 'toolbar', 'aria-label': 'Message actions' });
  /** @type {HTMLElement | null} */
  let place = null;
  list.addEventListener('pointerover', (event) => event.pointerType === 'mouse' && put(itemOf(event.target)));
  list.addEventListener('pointerleave', () => !list.contains(document.activeElement) && put(null));
  list.addEventListener('focusin', (event) => put(itemOf(event.target)));
  list.addEventListener('focusout', (event) => {
    if (!list.contains(/** @type {Node | null} */ (event.relatedTarget))) put(null);
  });
  list.addEventListener('click', onclick);
  list.addEventListener('keydown', onkeydown);
  return { hide: () => put(null) };

  /** @param {HTMLElement | null} item */
  function put(item) {
    if (item === place && bar.isConnected) return;
    place = item;
    const message = messageIn(item);
    if (!item || !message || message.deleted) return bar.remove();
    drawBar(message);
    item.querySelector('.bubble')?.append(bar);
  }

  /** @param {Message} message */
  function drawBar(message) {
    fill(
      bar,
      action('smile', 'React', () => drawEmoji(message)),
      action('reply', 'Reply', () => does.onReply(message)),
      does.mayEdit(message) && action('edit', 'Edit', () => does.onEdit(message)),
      does.mayDelete(message) && action('trash', 'Delete', () => does.onDelete(message)),
    );
  }

  /** @param {Message} message */
  function drawEmoji(message) {
    place?.focus(); // the button that has the focus goes away
    fill(
      bar,
      ...EMOJI.map((emoji) =>
        h('button', { class: 'action', type: 'button', 'aria-label': `React with ${emoji}`, onclick: () => react(message, emoji) }, emoji)),
    );
    bar.querySelector('button')?.focus();
  }

  /** @param {Message} message @param {string} emoji */
  function react(message, emoji) {
    place?.focus();
    bar.remove();
    does.onReact(message, emoji);
  }

  /** @param {Event} event */
  function onclick({ target }) {
    const item = itemOf(target);
    const message = messageIn(item);
    if (!(target instanceof Element) || !item || !message) return;
    const emoji = target.closest('[data-emoji]')?.getAttribute('data-emoji');
    const jump = target.closest('[data-jump]')?.getAttribute('data-jump');
    if (emoji) does.onReact(message, emoji);
    else if (jump) does.onJump(jump);
    else if (!target.closest('a, button')) put(item);
  }

  /** @param {KeyboardEvent} event */
  function onkeydown(event) {
    const item = itemOf(event.target);
    if (!item || event.ctrlKey || event.metaKey || event.altKey) return;
    const isOnItem = event.target === item;
    const message = messageIn(item);
    if (event.key === 'Escape') {
      if (isOnItem) does.onLeave();
      else item.focus();
    } else if (event.key === 'ArrowUp' || event.key === 'ArrowDown') {
      neighbour(item, event.key === 'ArrowUp')?.focus();
    } else if ((event.key === 'ArrowLeft' || event.key === 'ArrowRight') && bar.contains(/** @type {Node} */ (event.target))) {
      const buttons = [...bar.querySelectorAll('button')];
      const at = buttons.indexOf(/** @type {HTMLButtonElement} */ (event.target)) + (event.key === 'ArrowLeft' ? -1 : 1);
      buttons[(at + buttons.length) % buttons.length]?.focus();
    } else if (!isOnItem || !message || message.deleted) {
      return;
    } else if (event.key === 'Enter') {
      bar.querySelector('button')?.focus();
    } else if (event.key === 'r') {
      does.onReply(message);
    } else if (event.key === 'e' && does.mayEdit(message)) {
      does.onEdit(message);
    } else if (event.key === 'Delete' && does.mayDelete(message)) {
      does.onDelete(message);
    } else {
      return;
    }
    event.preventDefault();
  }

  /** @param {HTMLElement | null} item */
  function messageIn(item) {
    return item?.dataset.id === undefined ? undefined : does.messageOf(item.dataset.id);
  }
}

/** @param {EventTarget | null} target @returns {HTMLElement | null} */
function itemOf(target) {
  return target instanceof Element ? target.closest('.message[data-id]') : null;
}

/** @param {HTMLElement} item @param {boolean} isBefore @returns {HTMLElement | null} */
function neighbour(item, isBefore) {
  /** @type {Element | null} */
  let next = item;
  do next = isBefore ? next.previousElementSibling : next.nextElementSibling;
  while (next && !next.matches('.message[data-id]'));
  return /** @type {HTMLElement | null} */ (next);
}

/** @param {import('../icons.js').IconName} name @param {string} label @param {() => void} onclick */
function action(name, label, onclick) {
  return h('button', { class: 'action', type: 'button', 'aria-label': label, title: label, onclick }, icon(name));
}
