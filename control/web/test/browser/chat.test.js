/**
 * The page in real browsers, on a whole private system. Each test has people and a room of its own.
 */

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { openBrowser } from './browser.js';
import { PATIENCE_MS, Person } from './person.js';
import { Stack } from './stack.js';

/** A picture of 4 by 3 pixels. */
const PICTURE = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAAAQAAAADCAIAAAA7ljmRAAAAGElEQVR4nGOQmxQFQY8nWAERA4QPRIfu6gIAv8wPFfCGN2cAAAAASUVORK5CYII=',
  'base64',
);

/** @type {Stack} */
let stack;
/** @type {import('playwright-core').Browser} */
let browser;
/** @type {Person[]} */
const people = [];

before(async () => {
  stack = await Stack.start();
  browser = await openBrowser();
});

after(async () => {
  await browser?.close();
  await stack?.stop();
});

/** @param {string} name @param {import('playwright-core').BrowserContextOptions} [options] */
async function newPerson(name, options) {
  const person = await Person.at(browser, stack.url, name, options);
  people.push(person);
  await person.signUp();
  return person;
}

/** Two people in one room, each on a gateway of their own. @param {string} one @param {string} other @param {string} room */
async function pair(one, other, room) {
  const first = await newPerson(one);
  await first.createRoom(room);
  const second = await newPerson(other);
  await second.joinRoom(room);
  const value = first.gateway === 'gateway-1' ? 'gateway-2' : 'gateway-1';
  for (const end = Date.now() + PATIENCE_MS; second.gateway !== value; ) {
    assert.ok(Date.now() < end, `nobody comes to ${value}`);
    // The proxy sends a client to the gateway that its cookie names, unless it is away for a moment.
    await second.page.context().addCookies([{ name: 'SERVERID', value, url: stack.url }]);
    await second.page.reload();
    await second.connected();
  }
  await second.isIn(room);
  return [first, second];
}

test('two people on two gateways see the same, as it happens', async () => {
  const [ada, ben] = await pair('Ada Byron', 'Ben Ames', 'engines');
  assert.deepEqual(new Set([ada.gateway, ben.gateway]).size, 2);
  await ada.page.getByText('2 members, 2 online').waitFor();

  await ada.say('Does it weave?');
  await ben.sees('Does it weave?');
  await ben.page.getByRole('textbox', { name: /^Message/u }).pressSequentially('It');
  await ada.page.getByText('Ben Ames is typing', { exact: true }).waitFor();
  await ben.say('It weaves algebraical patterns');
  await ada.sees('It weaves algebraical patterns');
  await ben.sees('It weaves algebraical patterns');
  assert.deepEqual(await ada.texts(), ['Does it weave?', 'It weaves algebraical patterns']);
  assert.deepEqual(await ben.texts(), await ada.texts());

  await ada.does('It weaves algebraical patterns', 'React');
  await ada.page.getByRole('button', { name: 'React with 🎉' }).click();
  await ben.page.getByRole('button', { name: '🎉 1 by Ada Byron' }).click();
  await ada.page.getByRole('button', { name: '🎉 2 by You and Ben Ames' }).waitFor();
  await ben.page.getByRole('button', { name: /^🎉 2 by/u }).click();
  await ada.page.getByRole('button', { name: '🎉 1 by You', exact: true }).waitFor();

  await ben.does('Does it weave?', 'Reply');
  await ben.say('Just as the loom does');
  await ada.message('Just as the loom does').getByText('Does it weave?').waitFor();

  await ada.does('Does it weave?', 'Edit');
  await ada.say('Does the engine weave?');
  await ben.sees('Does the engine weave?');
  await ben.message('Does the engine weave?').getByText('edited').waitFor();
  await ada.does('Does the engine weave?', 'Delete');
  await ada.page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
  await ben.sees('Message deleted');
  await ben.message('It weaves algebraical patterns').hover();
  assert.equal(await ben.page.getByRole('button', { name: 'Edit', exact: true }).count(), 1, 'of their own');
});

test('after a reload the same room and the same conversation are there', async () => {
  const ada = await newPerson('Carla Reload');
  await ada.createRoom('reloads');
  for (const text of ['one', 'two', 'three']) {
    await ada.say(text);
    await ada.sees(text);
  }
  await ada.page.reload();
  await ada.isIn('reloads');
  await ada.sees('three');
  assert.deepEqual(await ada.texts(), ['one', 'two', 'three']);
  await ada.page.goBack();
  assert.match(ada.page.url(), /#\/?$|\/$/u);
});

test('a gateway killed in the middle of a conversation: nothing is lost, nothing is doubled', async () => {
  const [ada, ben] = await pair('Dora Storm', 'Emil Storm', 'storms');
  const lines = (/** @type {string} */ who) => Array.from({ length: 40 }, (_, at) => `${who} ${at}`);
  const writing = [ada, ben].map(async (person) => {
    for (const [at, text] of lines(person.name).entries()) {
      if (person === ada && at === 15) stack.end(ada.gateway);
      await person.say(text);
    }
  });
  await Promise.all(writing);
  for (const person of [ada, ben]) {
    await person.until(() => {
      const messages = [...document.querySelectorAll('.message')];
      return messages.length >= 80 && messages.every((message) => message.hasAttribute('data-id'));
    });
  }
  const seen = await ada.texts();
  assert.equal(seen.length, 80);
  assert.deepEqual(await ben.texts(), seen, 'both see the same order');
  for (const person of [ada, ben]) assert.deepEqual(seen.filter((text) => text.startsWith(person.name)), lines(person.name));
});

test('what is written without a network is sent when it is back', async () => {
  const ada = await newPerson('Fay Offline');
  await ada.createRoom('tunnels');
  await ada.page.context().setOffline(true);
  await ada.page.locator('.status-line[data-state="offline"]').waitFor();
  await ada.say('from the tunnel');
  await ada.message('from the tunnel').getByText('Sending').waitFor({ state: 'attached' });
  await ada.page.getByText('You are offline.').waitFor();
  await ada.page.context().setOffline(false);
  await ada.sees('from the tunnel');
  assert.deepEqual(await ada.texts(), ['from the tunnel']);
});

test('a picture is shown while it is sent, and then to everyone', async () => {
  const [ada, ben] = await pair('Gina Lens', 'Hugo Lens', 'pictures');
  // The upload stands still, so that there is time to look.
  /** @type {() => void} */
  let goOn = () => {};
  const held = new Promise((done) => (goOn = () => done(null)));
  await ada.page.route('**/content?*', async (route) => {
    await held;
    await route.continue();
  });
  const [chooser] = await Promise.all([ada.page.waitForEvent('filechooser'), ada.page.getByRole('button', { name: 'Send an image' }).click()]);
  await chooser.setFiles({ name: 'patch.png', mimeType: 'image/png', buffer: PICTURE });
  await ada.page.getByRole('progressbar', { name: 'Uploading the image' }).waitFor();
  await ada.page.getByRole('img', { name: 'Your image' }).waitFor();
  goOn();
  for (const person of [ada, ben]) {
    await person.page.getByRole('img', { name: 'Image from Gina Lens' }).waitFor();
    await person.until(() => /** @type {HTMLImageElement | null} */ (document.querySelector('.picture img'))?.naturalWidth === 4);
  }
  assert.equal(await ada.page.getByRole('progressbar').count(), 0);
});

test('rooms count what is unread, and forget it once read, in every window', async () => {
  const [ada, ben] = await pair('Ines Post', 'Jan Post', 'letters');
  await ben.createRoom('elsewhere');
  await ada.say('first');
  await ada.say('second');
  const link = ben.page.getByRole('link', { name: /letters.*2 unread/su });
  await link.waitFor();
  await link.getByText('Ines Post: second').waitFor();
  await ben.until(() => document.title.startsWith('(2) '));
  await link.click();
  await ben.sees('second');
  await ben.until(() => !document.title.startsWith('('));
});

test('a private room: inviting, giving a role, removing', async () => {
  const ada = await newPerson('Kim Owner');
  const ben = await newPerson('Leo Guest');
  await ada.createRoom('backstage', 'By invitation');
  await ada.page.getByRole('button', { name: 'Members' }).click();
  await ada.page.getByRole('button', { name: 'Invite people' }).click();
  const dialog = ada.page.getByRole('dialog', { name: 'Invite people' });
  await dialog.getByLabel('Search people').fill('leoguest');
  await dialog.getByRole('button', { name: /Leo Guest/u }).click();
  await ada.page.getByRole('complementary', { name: 'Members' }).getByText('Leo Guest').waitFor();
  // He has heard of it, without a reload.
  await ben.openRoom('backstage');
  await ben.say('thanks');
  await ada.sees('thanks');
  await ada.page.getByRole('button', { name: 'What Leo Guest may do' }).click();
  await ada.page.getByText('Muted', { exact: true }).click();
  await ada.page.getByRole('dialog').getByRole('button', { name: 'Save' }).click();
  await ada.page.getByRole('complementary', { name: 'Members' }).getByText('muted').waitFor();
  await ben.say('may I still speak?');
  await ben.page.getByText('You are not allowed to do that.').waitFor();
  await ada.page.getByRole('button', { name: 'What Leo Guest may do' }).click();
  await ada.page.getByRole('button', { name: 'Remove from the room' }).click();
  await ada.page.getByRole('dialog').getByRole('button', { name: 'Remove', exact: true }).click();
  await ben.page.getByRole('heading', { name: 'Pick a conversation' }).waitFor();
});

test('direct messages', async () => {
  const ada = await newPerson('Mia Direct');
  const ben = await newPerson('Ned Direct');
  await ada.page.getByRole('button', { name: 'New direct message' }).click();
  await ada.page.getByLabel('Search people').fill('neddirect');
  await ada.page.getByRole('dialog').getByRole('button', { name: /Ned Direct/u }).click();
  await ada.isIn('Ned Direct');
  await ada.say('just between us');
  await ben.openRoom('Mia Direct');
  await ben.sees('just between us');
});

test('a session that is signed out elsewhere is over at once', async () => {
  const ada = await newPerson('Olga Twice');
  const elsewhere = await Person.at(browser, stack.url, 'Olga Twice');
  people.push(elsewhere);
  await elsewhere.signIn();
  await ada.page.getByRole('button', { name: 'Your account' }).click();
  const dialog = ada.page.getByRole('dialog', { name: 'Your account' });
  await dialog.getByText('This one').waitFor();
  await dialog.getByRole('button', { name: /^Sign out Chrome/u }).click();
  await elsewhere.page.getByText('You have been signed out.').waitFor();
  await ada.page.keyboard.press('Escape');
  await ada.connected();
});

test('the page works by keyboard alone', async () => {
  const ada = await newPerson('Pia Keys');
  await ada.createRoom('keys');
  await ada.say('frist');
  await ada.sees('frist');
  const { keyboard } = ada.page;
  await keyboard.press('ArrowUp');
  await ada.page.getByText('Change your message').waitFor();
  await keyboard.press('Control+A');
  await keyboard.type('first');
  await keyboard.press('Enter');
  await ada.sees('first');
  await ada.page.getByRole('log', { name: 'Messages' }).focus();
  await keyboard.press('ArrowUp');
  await keyboard.press('r');
  await keyboard.type('an answer');
  await keyboard.press('Enter');
  await ada.message('an answer').getByText('In reply to').waitFor({ state: 'attached' });
  await ada.sees('an answer');
  await ada.page.getByRole('log', { name: 'Messages' }).focus();
  await keyboard.press('ArrowUp');
  await keyboard.press('ArrowUp');
  await keyboard.press('Enter');
  await keyboard.press('Enter');
  await keyboard.press('ArrowRight');
  await keyboard.press('Enter');
  await ada.message('first').getByRole('button', { name: '❤️ 1 by You' }).waitFor();
});

test('the page complained of nothing', () => {
  for (const { name, complaints } of people) assert.deepEqual(complaints, [], name);
});
