/** How the page looks and how much of it there is: accessibility, light and dark, two sizes, a long room, the first load. */

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { isAccessible } from './accessible.js';
import { openBrowser } from './browser.js';
import { DESKTOP, PHONE, Person } from './person.js';
import { Stack } from './stack.js';

const LONG = 10_000;
const FIRST_LOAD_BYTES_MAX = 100 * 1024;

/** @type {Stack} */
let stack;
/** @type {import('playwright-core').Browser} */
let browser;

before(async () => {
  stack = await Stack.start();
  browser = await openBrowser();
});

after(async () => {
  await browser?.close();
  await stack?.stop();
});

/** Calls the client library in a page. @param {Person} person @param {string} room @param {string[]} bodies */
async function sayFast(person, room, bodies) {
  await person.page.evaluate(
    async ({ id, texts }) => {
      const { Api, Connection, SendQueue } = await import(/** @type {string} */ (new URL('client.js', document.querySelector('script')?.src).href));
      const connection = new Connection({ api: new Api(), queue: new SendQueue({ inFlightPerRoomMax: 200 }) });
      connection.connect();
      connection.join(id);
      await Promise.all(texts.map((/** @type {string} */ text) => connection.send(id, text)));
      connection.close();
    },
    { id: room, texts: bodies },
  );
}

/** @param {Person} person */
function roomInView(person) {
  return /rooms\/(\d+)/u.exec(person.page.url())?.[1] ?? '';
}

test('the first load is small, and the second asks for one file', async () => {
  const context = await browser.newContext({ baseURL: stack.url });
  const page = await context.newPage();
  const cdp = await context.newCDPSession(page);
  await cdp.send('Network.enable');
  let bytes = 0;
  /** @type {string[]} */
  let asked = [];
  cdp.on('Network.loadingFinished', ({ encodedDataLength }) => (bytes += encodedDataLength));
  const kept = new Set();
  cdp.on('Network.requestServedFromCache', ({ requestId }) => kept.add(requestId));
  cdp.on('Network.responseReceived', ({ requestId, response }) => {
    if (!kept.has(requestId) && !response.fromDiskCache) asked.push(new URL(response.url).pathname);
  });
  await page.goto('/');
  await page.getByRole('button', { name: 'Sign in' }).waitFor();
  assert.ok(bytes > 10_000 && bytes < FIRST_LOAD_BYTES_MAX, `${bytes} bytes`);
  asked = [];
  await page.reload();
  await page.getByRole('button', { name: 'Sign in' }).waitFor();
  // When the icon is asked for is the browser's own affair.
  assert.deepEqual(asked.filter((path) => !path.endsWith('/favicon.svg')), ['/', '/api/v1/auth/me']);
  await context.close();
});

test('ten thousand messages: a part is drawn, the reader’s place is kept, and a search leads anywhere', async () => {
  const ada = await Person.at(browser, stack.url, 'Rosa Long');
  await ada.signUp();
  await ada.createRoom('annals');
  const room = roomInView(ada);
  await sayFast(ada, room, Array.from({ length: LONG }, (_, at) => (at === 4_200 ? 'the needle in 4200' : `entry ${at}`)));
  await ada.page.reload();
  await ada.sees(`entry ${LONG - 1}`);
  const ids = new Set();
  let drawnMax = 0;
  for (;;) {
    const { drawn, isWhole } = await ada.page.evaluate(() => {
      const scroller = /** @type {HTMLElement} */ (document.querySelector('.scroller'));
      scroller.scrollTop = Math.min(scroller.scrollTop, 400);
      return {
        drawn: [...document.querySelectorAll('.message')].map((message) => message.getAttribute('data-id')),
        isWhole: document.querySelector('.messages-top')?.textContent?.startsWith('This is the beginning'),
      };
    });
    drawn.forEach((id) => ids.add(id));
    drawnMax = Math.max(drawnMax, drawn.length);
    if (isWhole) break;
    await ada.page.evaluate(() => new Promise((done) => requestAnimationFrame(() => done(null))));
  }
  assert.equal(ids.size, LONG, 'each was drawn on the way up');
  assert.ok(drawnMax <= 200, `${drawnMax} at once`);

  // Somebody who reads old messages is not moved by new ones.
  const place = () =>
    ada.page.evaluate(() => {
      const { top } = /** @type {HTMLElement} */ (document.querySelector('.scroller')).getBoundingClientRect();
      const seen = [...document.querySelectorAll('.message')].find((message) => message.getBoundingClientRect().top > top);
      return { id: seen?.getAttribute('data-id'), top: seen?.getBoundingClientRect().top };
    });
  const here = await place();
  await sayFast(ada, room, ['news', 'more news']);
  await ada.page.getByRole('button', { name: 'To the newest message' }).waitFor();
  assert.deepEqual(await place(), here);

  await ada.page.getByRole('button', { name: 'Search messages' }).click();
  await ada.page.getByRole('dialog').getByRole('searchbox').fill('needle');
  await ada.page.getByRole('button', { name: /the needle in 4200/u }).click();
  const found = ada.message('the needle in 4200');
  await found.waitFor();
  await ada.until(() => document.activeElement?.textContent?.includes('needle'));
  await ada.page.getByRole('button', { name: 'To the newest message' }).click();
  await ada.sees('more news');
  await ada.page.context().close();
});

test('light and dark, on a desk and on a phone: nothing that keeps anyone out', async () => {
  const ada = await Person.at(browser, stack.url, 'Ada Lovelace');
  await isAccessible(ada.page, 'sign in');
  await ada.screenshot('sign-in-light');
  await ada.signUp();
  const grace = await Person.at(browser, stack.url, 'Grace Hopper', { viewport: PHONE, colorScheme: 'dark', hasTouch: true });
  await grace.screenshot('sign-in-phone-dark');
  await grace.signUp();
  for (const [name, lines] of Object.entries({ 'design crit': ['Moved to Thursday, 10:00'], releases: ['0.1.0 is out. Thanks, everyone!'] })) {
    await ada.createRoom(name);
    for (const line of lines) await ada.say(line);
  }
  await ada.createRoom('compilers');
  await grace.joinRoom('compilers');
  const conversation = /** @type {[Person, string][]} */ ([
    [ada, 'Morning! Did the nightly build go through?'],
    [grace, 'Green on all three machines since six.'],
    [grace, 'The linker step got 40 % faster, by the way. I put the numbers on https://example.org/builds'],
    [ada, 'That is wonderful. What changed?'],
    [grace, 'We stopped linking the same object twice. A moth, in a manner of speaking.'],
    [ada, 'Ha. I will write it into the release notes.'],
  ]);
  for (const [who, line] of conversation) {
    await who.say(line);
    await ada.sees(line);
  }
  await ada.does('We stopped linking the same object twice. A moth, in a manner of speaking.', 'React');
  await ada.page.getByRole('button', { name: 'React with 😂' }).click();
  await ada.does('Green on all three machines since six.', 'Reply');
  await ada.say('Three? So the small one is back.');
  await grace.sees('Three? So the small one is back.');
  await grace.page.getByRole('textbox', { name: /^Message/u }).pressSequentially('It is');
  await ada.page.getByText('Grace Hopper is typing', { exact: true }).waitFor();
  await isAccessible(ada.page, 'a room');
  await ada.screenshot('room-light');
  await ada.message('Ha. I will write it into the release notes.').locator('.bubble').hover();
  await ada.screenshot('room-actions-light');
  await grace.screenshot('room-phone-dark');
  await isAccessible(grace.page, 'a room on a phone, dark');
  await grace.page.getByRole('button', { name: 'Back to the list' }).click();
  await grace.page.getByRole('link', { name: /compilers/u }).waitFor();
  await grace.screenshot('list-phone-dark');
  await isAccessible(grace.page, 'the list on a phone, dark');
  const overflow = await grace.page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(overflow <= 0, 'nothing stands out of the phone');

  for (const scheme of /** @type {const} */ (['light', 'dark'])) {
    await ada.page.emulateMedia({ colorScheme: scheme });
    if (scheme === 'dark') await isAccessible(ada.page, 'a room, dark');
    await ada.screenshot(`room-${scheme}`);
    for (const [button, name] of /** @type {const} */ ([['Browse public rooms', 'browse'], ['New room', 'new-room'], ['Your account', 'account'], ['Search messages', 'search']])) {
      await ada.page.getByRole('button', { name: button, exact: true }).first().click();
      const dialog = ada.page.getByRole('dialog');
      await dialog.waitFor();
      if (name === 'search') {
        await dialog.getByRole('searchbox').fill('linker');
        await dialog.getByRole('button', { name: /The linker step/u }).waitFor();
      }
      if (name === 'account') await dialog.getByText('This one').waitFor();
      if (name === 'browse') await dialog.getByRole('button', { name: /compilers/u }).waitFor();
      await isAccessible(ada.page, `${name}, ${scheme}`);
      await ada.screenshot(`${name}-${scheme}`);
      await dialog.getByRole('button', { name: 'Close', exact: true }).click();
    }
    await ada.page.getByRole('button', { name: 'Members', exact: true }).click();
    await isAccessible(ada.page, `members, ${scheme}`);
    await ada.screenshot(`members-${scheme}`);
    await ada.page.getByRole('button', { name: 'Close members' }).click();
  }
  await ada.page.setViewportSize(PHONE);
  await ada.page.emulateMedia({ colorScheme: 'light' });
  await ada.screenshot('room-phone-light');
  await ada.page.getByRole('button', { name: 'Your account' }).waitFor({ state: 'hidden' });
  await ada.page.setViewportSize(DESKTOP);
  assert.deepEqual([...ada.complaints, ...grace.complaints], []);
});
