/**
 * What the server tells operators. No code.
 *
 * @typedef {object} Counts   since the start of a run
 * @property {number} published
 * @property {number} delivered
 * @property {number} handshakes
 * @property {number} evicted
 *
 * @typedef {object} Gateway
 * @property {string} server_id
 * @property {string} run
 * @property {string} version
 * @property {string} address
 * @property {number} connections
 * @property {boolean} draining
 * @property {number} uptime     seconds
 * @property {number} seen_at    Unix milliseconds, by its own clock
 * @property {number[]} [cores]  connections of each; older gateways do not tell the last three
 * @property {number} [lag_ms]
 * @property {Counts} [counts]
 *
 * @typedef {object} Control
 * @property {string} server_id
 * @property {string} version
 * @property {string} address
 * @property {number} uptime
 * @property {number} seen_at
 * @property {boolean} leader
 * @property {number} stream_lag
 * @property {string | null} [problem]
 *
 * @typedef {Record<keyof Counts, number | null>} Rates   a second; null where they are not known yet
 */
export {};
