/**
 * The field to write in. Enter sends, Shift+Enter makes a new line, Escape leaves a reply or a change, the arrow up in an
 * empty field changes one's last message. What is not sent stays, per room.
 */

import { fill, h } from '../dom.js';
import { inWords } from '../format.js';
import { icon } from '../icons.js';
import { imageButton } from './images.js';

/** @typedef {import('../client/types.js').Message} Message */
/** @typedef {{ is: 'new' } | { is: 'reply' | 'edit', message: Message }} Purpose */

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
  const about = h('div', { class: 'composer-about', hidden: true });
  const submit = h('button', { class: 'send', type: 'submit', 'aria-label': 'Send', title: 'Send' }, icon('send'));
  const element = h('form', { class: 'composer', onsubmit: send }, about, h('div', { class: 'composer-box' }, ...imageButton(sendImages), input, submit), note);
  /** @type {Purpose} */
  let purpose = { is: 'new' };
  /** What was being written when a change began. */
  let setAside = '';
  write(drafts.get(id) ?? '');
  requestAnimationFrame(resize);
  return {
    element,
    sendImages,
    focus: () => input.focus(),
    /** @param {Message} message */
    reply(message) {
      begin({ is: 'reply', message });
    },
    /** @param {Message} message */
    edit(message) {
      begin({ is: 'edit', message });
    },
    stop() {
      const draft = purpose.is === 'edit' ? setAside : input.value;
      if (draft) drafts.set(id, draft);
      else drafts.delete(id);
    },
  };

  // ---- what for ----

  /** @param {Purpose} next */
  function begin(next) {
    if (purpose.is === 'edit') write(setAside);
    purpose = next;
    if (next.is === 'edit') {
      setAside = input.value;
      write(next.message.body);
    }
    drawAbout();
    input.focus();
  }

  function drawAbout() {
    about.hidden = purpose.is === 'new';
    const says = { new: '', reply: 'Reply to', edit: 'Change' }[purpose.is];
    submit.setAttribute('aria-label', purpose.is === 'edit' ? 'Save' : 'Send');
    submit.title = purpose.is === 'edit' ? 'Save' : 'Send';
    fill(submit, icon(purpose.is === 'edit' ? 'check' : 'send'));
    if (purpose.is === 'new') return fill(about);
    const { message } = purpose;
    fill(
      about,
      icon(purpose.is),
      h('span', { class: 'composer-about-text' }, h('strong', {}, purpose.is === 'reply' ? `${says} ${message.name}` : `${says} your message`), ' ', inWords(message)),
      h('button', { class: 'icon-button', type: 'button', 'aria-label': 'Cancel', title: 'Cancel', onclick: () => begin({ is: 'new' }) }, icon('close')),
    );
  }

  /** @param {KeyboardEvent} event */
  function onkeydown(event) {
    if (event.isComposing) return;
    if (event.key === 'Enter' && !event.shiftKey) {
      event.preventDefault();
      element.requestSubmit();
    } else if (event.key === 'Escape' && purpose.is !== 'new') {
      event.preventDefault();
      begin({ is: 'new' });
    } else if (event.key === 'ArrowUp' && input.value === '' && purpose.is === 'new') {
      const own = chat.store.state(id)?.timeline.messages.findLast(({ from, kind, deleted }) => from === chat.store.me.id && kind === 'text' && !deleted);
      if (!own) return;
      event.preventDefault();
      begin({ is: 'edit', message: own });
    }
  }

  // ---- sending ----

  /** @param {Event} event */
  function send(event) {
    event.preventDefault();
    const body = input.value.trim();
    if (!body || bytesLeft(body) < 0) return;
    const done = purpose;
    if (done.is !== 'edit') write('');
    begin({ is: 'new' });
    if (done.is === 'edit') {
      if (body !== done.message.body) chat.attempt(chat.writing.edit(id, done.message, body));
      return;
    }
    chat.writing.send(id, body, done.is === 'reply' ? done.message.id : undefined);
    onSent();
  }

  /** @param {File[]} images */
  function sendImages(images) {
    for (const image of images) chat.writing.sendImage(id, image);
    if (images.length > 0) onSent();
  }

  // ---- the text ----

  /** @param {string} text */
  function write(text) {
    input.value = text;
    resize();
  }

  function oninput() {
    resize();
    if (input.value.trim()) chat.writing.typing(id);
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
