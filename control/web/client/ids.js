/** Ids are decimal strings of 63-bit integers: compared and taken apart here, never as numbers. */

const EPOCH_MS = 1_704_067_200_000; // 2024-01-01T00:00Z

/**
 * @param {string} a
 * @param {string} b
 * @returns {number} negative, zero or positive, as for `Array.prototype.sort`
 */
export function compareIds(a, b) {
  if (a.length !== b.length) return a.length - b.length;
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

/**
 * @param {string} a
 * @param {string} b
 */
export function newerId(a, b) {
  return compareIds(a, b) >= 0 ? a : b;
}

/**
 * The time inside a message id: its top bits are milliseconds since 2024.
 * @param {string} id
 */
export function idToTime(id) {
  return Number(BigInt(id) >> 22n) + EPOCH_MS;
}

/**
 * 128 random bits. Not `randomUUID`, which browsers only offer on secure origins, and self-hosted
 * chats are often first seen on plain HTTP.
 */
export function newNonce() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
