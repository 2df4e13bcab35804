/** The one error type of the library: what the server refused, or why it could not be asked. */

/**
 * `code` is the server's (`forbidden`, `rate_limited`, …) or one of ours:
 * `network` (no answer came), `disconnected` (the socket went away before the reply), `timeout`, `closed` (the connection
 * was closed on purpose), `uncertain` (sent, never confirmed, and too old to repeat safely), `cancelled`.
 */
export class HubbubError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {{ status?: number, retryAfterMs?: number, fields?: Record<string, string>, cause?: unknown }} [more]
   */
  constructor(code, message, more = {}) {
    super(message, more.cause === undefined ? undefined : { cause: more.cause });
    this.name = 'HubbubError';
    this.code = code;
    /** HTTP status, for REST. */
    this.status = more.status;
    /** When to try again. */
    this.retryAfterMs = more.retryAfterMs;
    /** What is wrong with which field of a form. */
    this.fields = more.fields ?? {};
  }
}

/** Codes after which the same request may be made again. */
const RETRYABLE = new Set(['rate_limited', 'unavailable', 'disconnected', 'timeout', 'network']);

/** @param {unknown} error */
export function isRetryable(error) {
  return error instanceof HubbubError && RETRYABLE.has(error.code);
}
