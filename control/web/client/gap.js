/** Reading what a connection missed from history. */

/** @typedef {import('./types.js').Message} Message */

const PAGE = 200;
/** Messages read for one gap; past it the rest is left to whoever listens to `gap`. */
export const GAP_MESSAGES_MAX = 2_000;

/**
 * @param {import('./rest.js').Api | undefined} api
 * @param {string} room
 * @param {string} since
 * @param {{ isWanted: () => boolean, deliver: (message: Message) => void }} to
 * @returns {Promise<{ newest: string, filled: boolean }>} the newest message delivered, and whether that was all
 */
export async function readGap(api, room, since, { isWanted, deliver }) {
  let newest = since;
  if (!api) return { newest, filled: false };
  for (let read = 0; read < GAP_MESSAGES_MAX; ) {
    let page;
    try {
      page = (await api.history(room, { after: newest, limit: PAGE })).items;
    } catch {
      return { newest, filled: false };
    }
    if (!isWanted()) return { newest, filled: false };
    for (const message of page) deliver(message);
    newest = page[page.length - 1]?.id ?? newest;
    read += page.length;
    if (page.length < PAGE) return { newest, filled: true };
  }
  return { newest, filled: false };
}
