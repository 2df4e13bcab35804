/** One message. What happens on a click is up to `actions.js`, by the `data-` attributes. */

import { h } from '../dom.js';
import { clock, explain, fullTime, imageUrl, inWords, listNames, splitLinks } from '../format.js';
import { icon } from '../icons.js';
import { personAvatar } from './avatar.js';

/** @typedef {import('../client/types.js').Message} Message */

/**
 * @typedef {object} Look
 * @property {Message} message
 * @property {boolean} isMine
 * @property {boolean} isFirst   of a group by the same person
 * @property {boolean} isLast
 * @property {Message | undefined} answered
 */

/** @typedef {{ me: { id: string }, nameOf: (user: string) => string }} People */

/** @param {Look} look @param {People} people */
export function drawMessage({ message, isMine, isFirst, isLast, answered }, people) {
  const { name, ts } = message;
  return h(
    'li',
    { class: `message${isMine ? ' mine' : ''}${isFirst ? ' first' : ''}${isLast ? ' last' : ''}`, 'data-id': message.id, tabindex: -1 },
    isMine ? null : h('span', { class: 'message-side' }, isLast ? personAvatar(name, 'small') : null),
    h(
      'div',
      { class: 'message-main' },
      isFirst
        ? h('span', { class: `message-name${isMine ? ' visually-hidden' : ''}` }, isMine ? 'You' : name)
        : h('span', { class: 'visually-hidden' }, isMine ? 'You' : name),
      h('div', { class: `bubble${message.deleted ? ' deleted' : ''}` },
        message.reply_to && !message.deleted ? quote(message.reply_to, answered) : null,
        ...content(message),
        h('span', { class: 'bubble-meta' },
          message.edited_at && !message.deleted ? h('span', { title: fullTime(message.edited_at) }, 'edited') : null,
          h('time', { datetime: new Date(ts).toISOString(), title: fullTime(ts) }, clock(ts)),
          isMine ? h('span', { class: 'tick', title: 'Sent' }, icon('check'), h('span', { class: 'visually-hidden' }, 'Sent')) : null,
        ),
      ),
      reactions(message, people),
    ),
  );
}

/**
 * @param {import('../client/timeline.js').Pending} item
 * @param {{ isFirst: boolean, isSlow: boolean, answered: Message | undefined, onRetry: () => void, onDiscard: () => void }} options
 */
export function drawPending({ nonce, kind, body, file, reply_to, ts, state, error, reason }, { isFirst, isSlow, answered, onRetry, onDiscard }) {
  const hasFailed = state === 'failed';
  const isUploading = file && !body && !hasFailed;
  return h(
    'li',
    { class: `message mine last ${state}${isFirst ? ' first' : ''}` },
    h(
      'div',
      { class: 'message-main' },
      h('div', { class: 'bubble' },
        reply_to ? quote(reply_to, answered) : null,
        ...(file ? [picture(URL.createObjectURL(file), 'Your image')] : content({ kind, body, name: 'you' })),
        isUploading ? h('progress', { class: 'upload', max: 1, value: 0, 'data-nonce': nonce, 'aria-label': 'Uploading the image' }) : null,
        h('span', { class: 'bubble-meta' },
          h('time', { title: fullTime(ts) }, clock(ts)),
          h('span', { class: 'tick', title: hasFailed ? 'Not sent' : 'Sending' }, icon(hasFailed ? 'alert' : 'clock'),
            h('span', { class: 'visually-hidden' }, hasFailed ? 'Not sent' : 'Sending')),
        ),
      ),
      hasFailed
        ? h('p', { class: 'failed-note', role: 'alert' }, explain({ code: error, message: reason ?? 'Not sent.' }), ' ',
            h('button', { class: 'link', onclick: onRetry }, 'Try again'), ' ',
            h('button', { class: 'link', onclick: onDiscard }, 'Discard'))
        : isUploading ? h('p', { class: 'slow-note' }, h('button', { class: 'link', onclick: onDiscard }, 'Cancel'))
        : isSlow ? h('p', { class: 'slow-note' }, 'Waiting for the connection') : null,
    ),
  );
}

/** @param {{ kind?: string, body: string, name: string, deleted?: boolean }} message */
function content(message) {
  const src = imageUrl(message);
  if (src) return [picture(src, `Image from ${message.name}`)];
  return [h('p', { class: 'bubble-text' }, ...(message.deleted ? [inWords(message)] : text(message.body)))];
}

/**
 * Its frame has the same size before and after the image has come, so that nothing moves.
 * @param {string} src @param {string} alt
 */
function picture(src, alt) {
  const isLocal = src.startsWith('blob:');
  const onload = () => isLocal && URL.revokeObjectURL(src);
  const onerror = () => frame.replaceChildren(h('span', { class: 'picture-note' }, `${alt}: it can't be shown.`));
  const image = h('img', { src, alt, loading: 'lazy', decoding: 'async', onload, onerror });
  const frame = isLocal
    ? h('span', { class: 'picture' }, image)
    : h('a', { class: 'picture', href: src, target: '_blank', rel: 'noopener noreferrer' }, image);
  return frame;
}

/** @param {string} body */
function text(body) {
  return splitLinks(body).map(({ text: words, href }) =>
    href ? h('a', { href, target: '_blank', rel: 'noopener noreferrer' }, words) : words,
  );
}

/** @param {string} id @param {Message} [message]  where it is loaded */
function quote(id, message) {
  return h('button', { class: 'quote', type: 'button', 'data-jump': id, title: 'Go to the message' },
    h('span', { class: 'visually-hidden' }, 'In reply to '),
    h('span', { class: 'quote-name' }, message?.name ?? 'Earlier'), ' ',
    h('span', { class: 'quote-text' }, message ? inWords(message) : 'A message further up'));
}

/** @param {Message} message @param {People} people */
function reactions({ reactions: given }, { me, nameOf }) {
  const entries = Object.entries(given ?? {}).filter(([, users]) => users.length > 0);
  if (entries.length === 0) return null;
  return h('ul', { class: 'reactions', role: 'list', 'aria-label': 'Reactions' },
    ...entries.map(([emoji, users]) => {
      const names = listNames(users.map((user) => (user === me.id ? 'You' : nameOf(user))));
      return h('li', {},
        h('button', { class: 'reaction', type: 'button', 'data-emoji': emoji, 'aria-pressed': String(users.includes(me.id)), title: names },
          emoji, ' ', h('span', { class: 'reaction-count' }, String(users.length)), h('span', { class: 'visually-hidden' }, ` by ${names}`)));
    }));
}
