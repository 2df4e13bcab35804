/** How the connection is: a quiet line under one's name, and a band over the room while it is away. */

import { h } from '../dom.js';

/** @param {import('../chat.js').Chat} chat */
export function showStatus(chat) {
  const dot = h('span', { class: 'status-dot', 'aria-hidden': 'true' });
  const text = h('span', {});
  const line = h('span', { class: 'status-line', role: 'status' }, dot, text);
  const bannerText = h('span', {});
  const again = h('button', { class: 'link', onclick: () => chat.connection.connect() }, 'Try now');
  const banner = h('div', { class: 'banner', hidden: true }, bannerText, again);
  /** @type {any} */
  let timer = null;
  /** Short interruptions are nobody's business. */
  let shownSince = Infinity;
  const stop = chat.store.on('status', update);
  update();
  return {
    line,
    banner,
    stop() {
      clearInterval(timer);
      stop();
    },
  };

  function update() {
    const { state, reason } = chat.store.status;
    clearInterval(timer);
    line.dataset.state = state === 'reconnecting' && reason === 'drain' ? 'draining' : state;
    if (state === 'connected') {
      shownSince = Infinity;
    } else {
      shownSince = Math.min(shownSince, Date.now() + 1_500);
      timer = setInterval(draw, 500);
    }
    draw();
  }

  function draw() {
    const said = words(chat.store.status, Date.now());
    if (text.textContent !== said.short) text.textContent = said.short;
    bannerText.textContent = said.long;
    again.hidden = !said.canRetry;
    banner.hidden = chat.store.status.state === 'connected' || Date.now() < shownSince;
  }
}

/**
 * @param {import('../client/types.js').StateChange} status
 * @param {number} now
 */
function words({ state, reason, retryAt }, now) {
  const seconds = retryAt === undefined ? 0 : Math.ceil((retryAt - now) / 1_000);
  const when = seconds > 1 ? ` Next try in ${seconds} s.` : '';
  const canRetry = seconds > 2;
  if (state === 'connected') return { short: 'Connected', long: '', canRetry: false };
  if (state === 'connecting') return { short: 'Connecting…', long: 'Connecting…', canRetry };
  if (state === 'offline') {
    return { short: 'Offline', long: 'You are offline. Messages you write are sent when you are back.', canRetry };
  }
  if (state === 'closed') return { short: 'Signed out', long: 'Signed out.', canRetry: false };
  if (reason === 'drain') return { short: 'Moving…', long: `The server is moving this connection.${when}`, canRetry };
  return { short: 'Reconnecting…', long: `Connection lost. Reconnecting…${when}`, canRetry };
}
