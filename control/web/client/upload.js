/** Putting a file to an address, and telling how far that is. */

import { HubbubError } from './errors.js';

/**
 * @typedef {object} Put
 * @property {string} url
 * @property {Record<string, string>} headers
 * @property {Blob} file
 * @property {typeof globalThis.fetch} fetch
 * @property {(share: number) => void} [onProgress]  with 0 to 1
 * @property {AbortSignal} [signal]
 */

/**
 * Only XMLHttpRequest tells of progress, and only browsers have it.
 * @param {Put} put
 * @returns {Promise<{ ok: boolean, status: number, headers: Headers, text: string }>}
 */
export function putFile(put) {
  return put.onProgress && typeof XMLHttpRequest === 'function' ? putWithProgress(put) : putWithFetch(put);
}

/** @param {Put} put */
async function putWithFetch({ url, headers, file, fetch, signal }) {
  try {
    const response = await fetch(url, { method: 'PUT', headers, body: file, credentials: 'omit', signal });
    return { ok: response.ok, status: response.status, headers: response.headers, text: await response.text() };
  } catch (cause) {
    throw failure(signal, cause);
  }
}

/**
 * @param {Put} put
 * @returns {Promise<{ ok: boolean, status: number, headers: Headers, text: string }>}
 */
function putWithProgress({ url, headers, file, onProgress, signal }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open('PUT', url);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.onprogress = ({ loaded, total }) => total > 0 && onProgress?.(loaded / total);
    request.onload = () => {
      const { status, responseText: text } = request;
      const retryAfter = request.getResponseHeader('retry-after');
      resolve({ ok: status >= 200 && status < 300, status, headers: new Headers(retryAfter ? { 'retry-after': retryAfter } : {}), text });
    };
    request.onerror = request.onabort = () => reject(failure(signal));
    if (signal?.aborted) return reject(failure(signal));
    signal?.addEventListener('abort', () => request.abort(), { once: true });
    request.send(file);
  });
}

/** @param {AbortSignal} [signal] @param {unknown} [cause] */
function failure(signal, cause) {
  return signal?.aborted
    ? new HubbubError('cancelled', 'the upload was taken back', { cause })
    : new HubbubError('network', 'the file could not be sent', { cause });
}
