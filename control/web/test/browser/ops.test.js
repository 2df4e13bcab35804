/** The operators' page, and what people in a room notice of what operators do: as good as nothing. */

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { isAccessible } from './accessible.js';
import { openBrowser } from './browser.js';
import { DESKTOP, PATIENCE_MS, PHONE, Person } from './person.js';
import { Stack } from './stack.js';

const OPS_LOAD_BYTES_MAX = 48 * 1024;

/** @type {Stack} */
let stack;
/** @type {import('playwright-core').Browser} */
let browser;
/** @type {Person} */
let root;
/** @type {Person[]} */
const people = [];

before(async () => {
  stack = await Stack.start();
  browser = await openBrowser();
  root = await newPerson('Otto Root');
  stack.makeOperator(root.username);
});

after(async () => {
  await browser?.close();
  await stack?.stop();
});

/** @param {string} name */
async function newPerson(name) {
  const person = await Person.at(browser, stack.url, name);
  people.push(person);
  await person.signUp();
  return person;
}

/** Asks again and again, until the answer fits. @template T @param {() => T | Promise<T>} ask @param {(answer: T) => boolean} fits */
async function once(ask, fits) {
  const ends = Date.now() + PATIENCE_MS;
  for (;;) {
    const answer = await ask();
    if (fits(answer)) return answer;
    assert.ok(Date.now() < ends, `still ${JSON.stringify(answer)}`);
    await new Promise((done) => setTimeout(done, 100));
  }
}

/** What gateways tell operators. @returns {Promise<any[]>} */
async function gateways() {
  const answer = await root.page.request.get('/api/v1/admin/gateways');
  return (await answer.json()).items;
}

/** @param {string} gateway */
async function drain(gateway) {
  const headers = { origin: new URL(stack.url).origin };
  const answer = await root.page.request.post(`/api/v1/admin/gateways/${gateway}/drain`, { headers });
  assert.equal(answer.status(), 204);
}

/** Ends a gateway in good order, and waits until its next run serves. @param {string} gateway */
async function startAnew(gateway) {
  const before = (await gateways()).find(({ server_id }) => server_id === gateway);
  stack.end(gateway, 'SIGTERM');
  await once(gateways, (all) => all.some(({ server_id, run }) => server_id === gateway && run !== before.run));
}

/** The card of a gateway or control plane. @param {Person} person @param {string} name */
function card(person, name) {
  return person.page.getByRole('listitem', { name, exact: true });
}

test('strangers and people without the right are told so, and see no way there', async () => {
  const nobody = await Person.at(browser, stack.url, 'Nobody');
  await nobody.page.goto('/ops');
  await nobody.page.getByRole('heading', { name: 'Sign in first' }).waitFor();
  await isAccessible(nobody.page, 'refused');
  const ada = await newPerson('Ada Plain');
  await ada.page.getByRole('button', { name: 'Your account' }).click();
  await ada.page.getByRole('dialog').getByText('This one').waitFor();
  assert.equal(await ada.page.getByRole('link', { name: 'How the system is' }).count(), 0);
  await ada.page.goto('/ops');
  await ada.page.getByRole('heading', { name: 'For operators only' }).waitFor();
  await ada.page.getByRole('link', { name: 'To the chat' }).click();
  await ada.connected();
});

test('an operator sees what goes on, and sends a gateway’s clients away', async () => {
  const ada = await newPerson('Ada Watched');
  await ada.createRoom('watched');
  await root.page.getByRole('button', { name: 'Your account' }).click();
  await root.page.getByRole('link', { name: 'How the system is' }).click();
  const { page } = root;
  await page.getByRole('heading', { name: 'Hubbub operations' }).waitFor();
  await page.getByText('Live', { exact: true }).waitFor();
  await card(root, 'gateway-1').getByText('Serving', { exact: true }).waitFor();
  await card(root, 'gateway-2').getByText('Serving', { exact: true }).waitFor();
  await card(root, 'control-1').getByText('Leader', { exact: true }).waitFor();
  for (const text of ['one', 'two', 'three']) await ada.say(text);
  await ada.sees('three');
  await ada.page.reload();
  await ada.connected();
  for (const name of ['Messages sent a second', 'Deliveries a second', 'Handshakes a second']) {
    const moved = new RegExp(`^${name}: between \\S+ and (?!0 )\\S+ in the last minutes$`, 'u');
    await page.getByRole('img', { name: moved }).waitFor();
  }
  await page.getByRole('img', { name: /^Connections of gateway-1 by core: core 0: \d/u }).waitFor();

  // By keyboard: thought better of, then done.
  const leaving = ada.gateway;
  const button = page.getByRole('button', { name: `Drain ${leaving}` });
  await button.press('Enter');
  const dialog = page.getByRole('dialog', { name: `Drain ${leaving}?` });
  await dialog.getByText(/The other gateways take them/u).waitFor();
  await isAccessible(page, 'the question');
  await root.screenshot('ops-drain-light');
  await page.keyboard.press('Escape');
  await dialog.waitFor({ state: 'detached' });
  await button.press('Enter');
  await dialog.getByRole('button', { name: 'Drain', exact: true }).press('Enter');
  await card(root, leaving).getByText('Drained', { exact: true }).waitFor();
  await button.waitFor({ state: 'hidden' });
  // The focus stays near.
  await root.until((name) => document.activeElement?.textContent === name, leaving);
  await isAccessible(page, 'a drained gateway');
  await root.screenshot('ops-drained-light');

  // Nobody is left to take clients.
  const [staying] = ['gateway-1', 'gateway-2'].filter((name) => name !== leaving);
  await page.getByRole('button', { name: `Drain ${staying}` }).click();
  await page.getByText(/No other gateway takes clients/u).waitFor();
  await page.getByRole('dialog').getByRole('button', { name: 'Cancel' }).click();

  await startAnew(leaving);
  await card(root, leaving).getByText('Serving', { exact: true }).waitFor();
  await page.getByRole('link', { name: 'To the chat' }).click();
  await root.connected();
});

test('light and dark, on a desk and on a phone, in every state: nothing that keeps anyone out', async () => {
  const context = await browser.newContext({ baseURL: stack.url, viewport: DESKTOP, reducedMotion: 'reduce', locale: 'en-GB' });
  const person = new Person(await context.newPage(), 'Made Up');
  people.push(person);
  const { page } = person;
  let asked = 0;
  await page.clock.install();
  await page.route('**/api/v1/admin/*', (route) => {
    const isGateways = route.request().url().endsWith('/gateways');
    if (isGateways) asked += 1;
    return route.fulfill({ json: { items: isGateways ? madeGateways(asked) : madeControls(asked), next: null } });
  });
  await page.goto('/ops');
  while (asked < 120) await page.clock.runFor(2_000);
  for (const [name, state] of Object.entries({ 'eu-1': 'Serving', 'eu-2': 'Draining, 1,204 left', 'eu-3': 'Drained', 'eu-4': 'Silent', 'control-a': 'Leader', 'control-b': 'Standby' })) {
    await card(person, name).getByText(state, { exact: true }).waitFor();
  }
  await card(person, 'control-b').getByText('Postgres has no room left').waitFor();
  assert.equal(await page.getByRole('button', { name: /^Drain/u }).count(), 1);
  await page.getByRole('img', { name: 'Connections of eu-2 by core: core 0: 602, core 1: 602' }).waitFor();
  for (const scheme of /** @type {const} */ (['light', 'dark'])) {
    await page.emulateMedia({ colorScheme: scheme });
    for (const [size, viewport] of /** @type {const} */ ([['', DESKTOP], ['-phone', PHONE]])) {
      await page.setViewportSize(viewport);
      await isAccessible(page, `operations${size}, ${scheme}`);
      await person.screenshot(`ops${size}-${scheme}`, { fullPage: true });
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(overflow <= 0, `nothing stands out${size}`);
    }
  }
  await context.close();
});

test('the page is small, and brings nothing of the chat', async () => {
  const context = await browser.newContext({ baseURL: stack.url });
  const page = await context.newPage();
  const cdp = await context.newCDPSession(page);
  await cdp.send('Network.enable');
  let bytes = 0;
  /** @type {string[]} */
  const asked = [];
  cdp.on('Network.loadingFinished', ({ encodedDataLength }) => (bytes += encodedDataLength));
  cdp.on('Network.responseReceived', ({ response }) => asked.push(new URL(response.url).pathname));
  await page.goto('/ops');
  await page.getByRole('heading', { name: 'Sign in first' }).waitFor();
  assert.ok(bytes > 5_000 && bytes < OPS_LOAD_BYTES_MAX, `${bytes} bytes`);
  const files = asked.map((path) => path.split('/').slice(3).join('/'));
  assert.ok(files.includes('ops/cluster.js'), files.join(' '));
  for (const file of ['app.js', 'chat.js', 'client/connection.js', 'views/login.js']) assert.ok(!files.includes(file), file);
  await context.close();
});

test('every gateway is drained and started anew in the middle of a conversation: nothing is lost, nothing is doubled', async () => {
  const ada = await newPerson('Ada Rolling');
  await ada.createRoom('rolling');
  const ben = await newPerson('Ben Rolling');
  await ben.joinRoom('rolling');
  const both = [ada, ben];
  await Promise.all(both.map(noteStates));
  /** @type {string[]} */
  const said = [];
  const talk = () =>
    Promise.all(both.map(async (person) => {
      for (let line = 0; line < 3; line += 1) {
        const text = `${person.name} ${said.length}`;
        said.push(text);
        await person.say(text);
      }
    }));
  await talk();
  for (const gateway of ['gateway-1', 'gateway-2']) {
    await Promise.all([drain(gateway), talk()]);
    await talk();
    await once(gateways, (all) => all.some(({ server_id, draining, connections }) => server_id === gateway && draining && connections === 0));
    for (const person of both) await once(() => person.gateway, (name) => name !== gateway);
    await Promise.all(both.map((person) => person.connected()));
    await Promise.all([startAnew(gateway), talk()]);
    await talk();
  }
  for (const person of both) {
    await person.until((count) => {
      const messages = [...document.querySelectorAll('.message')];
      return messages.length >= count && messages.every((message) => message.hasAttribute('data-id'));
    }, said.length);
  }
  const seen = await ada.texts();
  assert.deepEqual([...seen].sort(), [...said].sort(), 'each once');
  assert.deepEqual(await ben.texts(), seen, 'both see the same order');
  for (const person of both) {
    const own = (/** @type {string} */ text) => text.startsWith(person.name);
    assert.deepEqual(seen.filter(own), said.filter(own), 'in the order in which it was written');
    // Wherever they were at first, each was moved once or twice.
    assert.ok((await states(person)).includes('draining: Moving…'), `${person.name}: ${await states(person)}`);
    for (const state of await states(person)) assert.match(state, /^(connected|draining|reconnecting):/u);
  }
});

test('the pages complained of nothing', () => {
  for (const { name, complaints } of people) assert.deepEqual(complaints, [], name);
});

/** What gateways in every state would tell, after so many rounds. @param {number} round */
function madeGateways(round) {
  const wave = Math.sin(round / 9) + Math.sin(round / 4) / 3;
  const made = (/** @type {string} */ server_id, /** @type {number[]} */ cores, more = {}) => ({
    server_id,
    run: `${server_id}#1`,
    version: '0.1.0',
    address: '10.0.0.7:7000',
    connections: cores.reduce((sum, core) => sum + core, 0),
    draining: false,
    uptime: 300_000 + 2 * round,
    seen_at: 1_800_000_000_000 + 2_000 * round,
    cores,
    lag_ms: 3,
    counts: { published: Math.round(800 * (round - 4 * wave)), delivered: Math.round(120_000 * (round - 4 * wave)), handshakes: 30 * round, evicted: Math.floor(round / 40) },
    ...more,
  });
  const busy = Array.from({ length: 16 }, (_, core) => Math.round(61_000 + 900 * Math.sin(core * 5) + 40 * round));
  const { counts, cores, lag_ms, ...older } = made('eu-4', [], { connections: 40_312, seen_at: 1_800_000_000_000, version: '0.0.9' });
  return [made('eu-1', busy), made('eu-2', [602, 602], { draining: true }), made('eu-3', [0, 0], { draining: true }), older];
}

/** The same of control planes. @param {number} round */
function madeControls(round) {
  const made = (/** @type {string} */ server_id, more = {}) => ({ server_id, version: '0.1.0', address: '10.0.0.9:7100', uptime: 90_000, seen_at: round, leader: false, stream_lag: 31, problem: null, ...more });
  return [made('control-a', { leader: true, stream_lag: 12 + (round % 7) }), made('control-b', { problem: 'database-full' })];
}

/** Notes every state that the quiet line shows from now on. @param {Person} person */
function noteStates(person) {
  return person.page.evaluate(() => {
    const line = /** @type {HTMLElement} */ (document.querySelector('.status-line'));
    const noted = /** @type {string[]} */ ([]);
    Object.assign(window, { noted });
    new MutationObserver(() => noted.push(`${line.dataset.state}: ${line.textContent}`)).observe(line, { attributes: true });
  });
}

/** @param {Person} person @returns {Promise<string[]>} */
function states(person) {
  return person.page.evaluate(() => /** @type {any} */ (window).noted);
}
