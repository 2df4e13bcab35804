/**
 * Which part of a long list is drawn. Pure.
 *
 * The part is named by the id of its last message, because messages are added at both ends: null is the newest, whichever
 * that is. Parts overlap by more than a screen, so that the reader's place is in both.
 */

/** Messages drawn at once. */
export const DRAWN_MAX = 160;
/** By how many the part moves. */
export const STEP = 60;

/** @typedef {import('../client.js').Timeline} Timeline */

/**
 * The indices of what is drawn: from the first up to, not with, the second.
 * @param {Timeline} timeline
 * @param {string | null} last
 * @returns {[number, number]}
 */
export function drawnPart(timeline, last) {
  const at = last === null ? -1 : timeline.indexOf(last);
  const end = at === -1 ? timeline.messages.length : at + 1;
  return [Math.max(0, end - DRAWN_MAX), end];
}

/**
 * The last message of the part before, or the same where there is none.
 * @param {Timeline} timeline
 * @param {string | null} last
 */
export function partBefore(timeline, last) {
  const [first, end] = drawnPart(timeline, last);
  return first === 0 ? last : lastAt(timeline, end - Math.min(STEP, first));
}

/**
 * The last message of the part after.
 * @param {Timeline} timeline
 * @param {string | null} last
 */
export function partAfter(timeline, last) {
  const [, end] = drawnPart(timeline, last);
  return lastAt(timeline, end + STEP);
}

/**
 * The last message of a part that has a message in its middle.
 * @param {Timeline} timeline
 * @param {string} id
 */
export function partAround(timeline, id) {
  return lastAt(timeline, timeline.indexOf(id) + DRAWN_MAX / 2);
}

/** @param {Timeline} timeline @param {number} end */
function lastAt({ messages }, end) {
  return end >= messages.length ? null : (messages[end - 1]?.id ?? null);
}
