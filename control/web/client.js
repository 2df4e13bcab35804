/**
 * The Hubbub client library: everything that a program outside this page needs, under one name.
 *
 * No dependencies and no build step; browsers and Node 20 or newer. See README.md for an example.
 */

export { Api } from './client/rest.js';
export { Backoff } from './client/backoff.js';
export { Connection, SUBPROTOCOL } from './client/connection.js';
export { HubbubError } from './client/errors.js';
export { compareIds, idToTime, newNonce } from './client/ids.js';
export { SendQueue } from './client/sends.js';
export { Timeline } from './client/timeline.js';
