/** How times, names and texts look. Pure but for the reader's locale. */

const CLOCK = new Intl.DateTimeFormat(undefined, { timeStyle: 'short' });
const WEEKDAY = new Intl.DateTimeFormat(undefined, { weekday: 'long' });
const SHORT_WEEKDAY = new Intl.DateTimeFormat(undefined, { weekday: 'short' });
const DATE = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short' });
const LONG_DATE = new Intl.DateTimeFormat(undefined, { weekday: 'long', day: 'numeric', month: 'long', year: 'numeric' });
const FULL = new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'short' });
const COLOURS = 8;

/** @param {number} ts */
export function clock(ts) {
  return CLOCK.format(ts);
}

/** @param {number} ts */
export function fullTime(ts) {
  return FULL.format(ts);
}

/** Days from `ts` to `now` in the reader's calendar. @param {number} ts @param {number} now */
function daysAgo(ts, now) {
  return Math.round((new Date(now).setHours(0, 0, 0, 0) - new Date(ts).setHours(0, 0, 0, 0)) / 86_400_000);
}

/** The heading over a day's messages. @param {number} ts @param {number} now */
export function dayHeading(ts, now) {
  const days = daysAgo(ts, now);
  if (days === 0) return 'Today';
  if (days === 1) return 'Yesterday';
  return days < 7 && days > 0 ? WEEKDAY.format(ts) : LONG_DATE.format(ts);
}

/** The time in a list. @param {number} ts @param {number} now */
export function shortTime(ts, now) {
  const days = daysAgo(ts, now);
  if (days === 0) return clock(ts);
  return days < 7 && days > 0 ? SHORT_WEEKDAY.format(ts) : DATE.format(ts);
}

/** @param {number} a @param {number} b */
export function isSameDay(a, b) {
  return new Date(a).toDateString() === new Date(b).toDateString();
}

/** @param {{ display_name: string, username: string }} user */
export function nameOf(user) {
  return user.display_name || user.username;
}

/** @param {string} name */
export function initials(name) {
  const words = name.trim().split(/[\s._-]+/u).filter(Boolean);
  const first = Array.from(words[0] ?? '?')[0] ?? '?';
  const second = words.length > 1 ? (Array.from(words[words.length - 1] ?? '')[0] ?? '') : '';
  return (first + second).toUpperCase();
}

/** A class that gives each name a lasting colour. @param {string} name */
export function colourClass(name) {
  let hash = 2_166_136_261; // FNV-1a
  for (const character of name) hash = Math.imul(hash ^ (character.codePointAt(0) ?? 0), 16_777_619) >>> 0;
  return `colour-${(hash >>> 8) % COLOURS}`;
}

/** `Ada`, `Ada and Ben`, `Ada, Ben and 2 others`. @param {string[]} names */
export function listNames(names) {
  if (names.length <= 1) return names[0] ?? '';
  if (names.length === 2) return `${names[0]} and ${names[1]}`;
  if (names.length === 3) return `${names[0]}, ${names[1]} and ${names[2]}`;
  return `${names[0]}, ${names[1]} and ${names.length - 2} others`;
}

/** @param {number} count @param {string} one @param {string} [many] */
export function plural(count, one, many = `${one}s`) {
  return `${count.toLocaleString()} ${count === 1 ? one : many}`;
}

/**
 * A text cut into plain parts and web addresses.
 * @param {string} text
 * @returns {{ text: string, href?: string }[]}
 */
export function splitLinks(text) {
  const parts = [];
  let at = 0;
  for (const match of text.matchAll(/https?:\/\/[^\s<>"']+[^\s<>"'.,;:!?)\]}]/gu)) {
    if (match.index > at) parts.push({ text: text.slice(at, match.index) });
    parts.push({ text: match[0], href: match[0] });
    at = match.index + match[0].length;
  }
  if (at < text.length) parts.push({ text: text.slice(at) });
  return parts;
}

/**
 * The address of the image that a message is, in either form: `image` messages, and texts `[img]<url>`. Uploads of this
 * server, under whatever name it was reached then, and `https` addresses; nothing else is an image.
 * @param {{ kind?: string, body: string, deleted?: boolean }} message
 * @param {string} [origin]  of this page
 * @returns {string | null}
 */
export function imageUrl({ kind, body, deleted }, origin = globalThis.location?.origin) {
  const text = kind === 'image' ? body : /^\[img\](.*)$/su.exec(body)?.[1]?.trim();
  if (deleted || !text || /\s/u.test(text)) return null;
  if (!URL.canParse(text, origin)) return null;
  const url = new URL(text, origin);
  const isOwnPath = /^\/api\/v1\/uploads\/\d+$/u.test(url.pathname);
  if (isOwnPath && (url.origin === origin || url.protocol === 'http:')) return url.pathname;
  return url.protocol === 'https:' && url.origin !== origin ? url.href : null;
}

/** A message in a few words: for lists, quotes and screen readers. @param {{ kind?: string, body: string, deleted?: boolean }} message */
export function inWords(message) {
  if (message.deleted) return 'Message deleted';
  return imageUrl(message) ? 'Image' : message.body;
}

/** What to tell a person. @param {any} error */
export function explain(error) {
  const words = {
    network: 'The server could not be reached.',
    disconnected: 'The connection was lost.',
    rate_limited: 'That was too fast. Try again in a moment.',
    too_large: 'This message is too long.',
    forbidden: 'You are not allowed to do that.',
    not_joined: 'You are not in this room any more.',
    unavailable: 'The server is busy with itself. Try again in a moment.',
    uncertain: 'Sent, but never confirmed.',
  };
  const code = /** @type {keyof typeof words} */ (error?.code);
  return words[code] ?? sentence(error?.message || 'something went wrong');
}

/** Words of the server as a sentence. @param {string} words */
export function sentence(words) {
  const text = words.charAt(0).toUpperCase() + words.slice(1);
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
