import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Api } from '../client.js';

/** An Api whose server answers from a list, and the requests that it got. */
function make(...answers) {
  const asked = [];
  const fetch = async (url, init) => {
    asked.push([init.method, url, init.body ? JSON.parse(init.body) : undefined]);
    const answer = answers.shift();
    if (answer instanceof Error) throw answer;
    const { status = 200, body, headers = {} } = answer;
    return new Response(body === undefined ? null : JSON.stringify(body), { status, headers });
  };
  return { api: new Api({ baseUrl: 'http://chat.test/api/v1/', fetch }), asked };
}

test('a file is announced, and sent as it is to where the answer says', async () => {
  const asked = [];
  const fetch = async (url, init) => {
    asked.push([init.method, url, init.headers, init.body]);
    if (init.method === 'PUT') return new Response(null, { status: asked.length === 2 ? 200 : 413 });
    return Response.json({ id: '7', put_url: 'https://store.test/x', headers: { 'content-type': 'image/png' }, url: 'http://chat.test/api/v1/uploads/7' });
  };
  const api = new Api({ baseUrl: 'http://chat.test/api/v1', token: 'secret', fetch });
  const file = new File(['abc'], 'cat.png', { type: 'image/png' });
  assert.deepEqual(await api.upload(file), { id: '7', url: 'http://chat.test/api/v1/uploads/7' });
  assert.deepEqual(JSON.parse(asked[0][3]), { file_name: 'cat.png', content_type: 'image/png', size: 3 });
  // The store gets no token.
  assert.deepEqual(asked[1], ['PUT', 'https://store.test/x', { 'content-type': 'image/png' }, file]);
  await assert.rejects(api.upload(file), { code: 'http_413', status: 413 });
});

test('calls name their method, path, query and body', async () => {
  const page = { body: { items: [], next: null } };
  const calls = [
    [(api) => api.login({ username: 'a', password: 'b' }), 'POST', '/auth/login', { username: 'a', password: 'b' }],
    [(api) => api.register({ username: 'a', password: 'b' }), 'POST', '/auth/register', { username: 'a', password: 'b' }],
    [(api) => api.logout(), 'POST', '/auth/logout'],
    [(api) => api.me(), 'GET', '/auth/me'],
    [(api) => api.rooms(), 'GET', '/rooms?limit=100'],
    [(api) => api.publicRooms('a b'), 'GET', '/rooms/public?query=a+b'],
    [(api) => api.createRoom({ name: 'r', kind: 'public' }), 'POST', '/rooms', { name: 'r', kind: 'public' }],
    [(api) => api.joinRoom('1'), 'POST', '/rooms/1/join'],
    [(api) => api.leaveRoom('1'), 'POST', '/rooms/1/leave'],
    [(api) => api.directRoom('2'), 'POST', '/dms', { user: '2' }],
    [(api) => api.members('1'), 'GET', '/rooms/1/members?limit=100'],
    [(api) => api.history('1', { before: '9', limit: 50 }), 'GET', '/rooms/1/messages?before=9&limit=50'],
    [(api) => api.sendMessage('1', { body: 'x' }), 'POST', '/rooms/1/messages', { body: 'x' }],
  ];
  for (const [call, method, path, body] of calls) {
    const { api, asked } = make(page);
    await call(api);
    assert.deepEqual(asked, [[method, `http://chat.test/api/v1${path}`, body]]);
  }
});

test('lists are read to their end', async () => {
  const { api, asked } = make({ body: { items: [{ id: '1' }], next: 'c' } }, { body: { items: [{ id: '2' }], next: null } });
  assert.deepEqual((await api.rooms()).map(({ id }) => id), ['1', '2']);
  assert.match(asked[1][1], /cursor=c/);
});

test('a problem becomes an error with everything it says', async () => {
  const body = { code: 'bad_request', title: 'Unprocessable Content', detail: 'a field breaks a rule', errors: { name: 'too long' } };
  const { api } = make({ status: 422, body, headers: { 'retry-after': '3' } });
  await assert.rejects(api.createRoom({ name: 'x', kind: 'public' }), {
    code: 'bad_request',
    status: 422,
    message: 'a field breaks a rule',
    fields: { name: 'too long' },
    retryAfterMs: 3000,
  });
});

test('what is no problem document, and no answer at all, still has a code', async () => {
  await assert.rejects(make({ status: 502 }).api.me(), { code: 'unavailable', status: 502 });
  await assert.rejects(make(new TypeError('fetch failed')).api.me(), { code: 'network' });
});
