/** The field to write in. Enter sends, Shift+Enter makes a new line. What is not sent stays, per room. */

import { h } from '../dom.js';
import { icon } from '../icons.js';
import { imageButton } from './images.js';

/** @type {Map<string, string>} room to what was being written */
const drafts = new Map();
/** Telling how much room is left starts here. */
const NEARLY_FULL = 0.9;

/**
 * @param {import('../chat.js').Chat} chat
 * @param {string} id
 * @param {{ onSent: () => void }} options
 */
export function showComposer(chat, id, { onSent }) {
  const state = chat.store.state(id);
  const label = `Message ${state ? chat.store.title(state) : ''}`.trim();
  const input = h('textarea', { rows: 1, 'aria-label': label, placeholder: label, enterkeyhint: 'send', oninput, onkeydown });
  const note = h('span', { class: 'composer-note', role: 'status' });
  const submit = h('button', { class: 'send', type: 'submit', 'aria-label': 'Send', title: 'Send' }, icon('send'));
  const element = h('form', { class: 'composer', onsubmit: send }, h('div', { class: 'composer-box' }, ...imageButton(sendImages), input, submit), note);
  input.value = drafts.get(id) ?? '';
  resize();
  requestAnimationFrame(resize);
  return {
    element,
    sendImages,
    focus: () => input.focus(),
    stop: () => (input.value ? drafts.set(id, input.value) : drafts.delete(id)),
  };

  function oninput() {
    resize();
    if (input.value.trim()) chat.typing(id);
  }

  /** @param {KeyboardEvent} event */
  function onkeydown(event) {
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    element.requestSubmit();
  }

  /** @param {Event} event */
  function send(event) {
    event.preventDefault();
    const body = input.value.trim();
    if (!body || bytesLeft(body) < 0) return;
    input.value = '';
    resize();
    input.focus();
    chat.send(id, body);
    onSent();
  }

  /** @param {File[]} images */
  function sendImages(images) {
    for (const image of images) chat.sendImage(id, image);
    if (images.length > 0) onSent();
  }

  /** @param {string} text */
  function bytesLeft(text) {
    const max = chat.connection.welcome?.limits?.max_body_bytes ?? 4_096;
    return max - new TextEncoder().encode(text).length;
  }

  /** As high as the text, up to what the style allows; and what else depends on the text. */
  function resize() {
    input.rows = Math.min(Math.max(input.value.split('\n').length, 1), 8);
    const max = chat.connection.welcome?.limits?.max_body_bytes ?? 4_096;
    const left = bytesLeft(input.value.trim());
    note.textContent = left < 0 ? `${-left} too many` : left < max * (1 - NEARLY_FULL) ? `${left} left` : '';
    note.classList.toggle('error', left < 0);
    submit.disabled = left < 0 || input.value.trim() === '';
  }
}
