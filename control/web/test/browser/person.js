/** Somebody in front of a browser: what they do, by the labels that they see, and what is on their screen. */

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';

import { TARGET } from './stack.js';

const SCREENSHOTS = join(TARGET, 'screenshots');
export const PASSWORD = 'correct horse battery';
export const DESKTOP = { width: 1280, height: 800 };
export const PHONE = { width: 390, height: 844 };
/** For whatever a machine under load may take; nothing waits longer than it has to. */
export const PATIENCE_MS = 30_000;

mkdirSync(SCREENSHOTS, { recursive: true });

export class Person {
  /** The gateway that the page is connected to. */
  gateway = '';
  /** What the page complained of. @type {string[]} */
  complaints = [];

  /** @param {import('playwright-core').Page} page @param {string} name */
  constructor(page, name) {
    this.page = page;
    this.name = name;
    page.setDefaultTimeout(PATIENCE_MS);
    page.on('websocket', (socket) =>
      socket.on('framereceived', ({ payload }) => {
        const event = JSON.parse(String(payload));
        if (event.op === 'welcome') this.gateway = event.gateway;
      }));
    page.on('pageerror', (error) => this.complaints.push(error.stack ?? error.message));
    page.on('console', (message) => {
      if (message.type() === 'error' && /Content Security Policy|Uncaught/u.test(message.text())) this.complaints.push(message.text());
    });
  }

  /**
   * @param {import('playwright-core').Browser} browser
   * @param {string} url
   * @param {string} name
   * @param {import('playwright-core').BrowserContextOptions} [options]
   */
  static async at(browser, url, name, options = {}) {
    const context = await browser.newContext({ baseURL: url, viewport: DESKTOP, reducedMotion: 'reduce', locale: 'en-GB', ...options });
    const person = new Person(await context.newPage(), name);
    await person.page.goto('/');
    return person;
  }

  get username() {
    return this.name.toLowerCase().replace(/\W/gu, '');
  }

  async signUp() {
    const { page } = this;
    await page.getByRole('button', { name: 'Create an account' }).click();
    await page.getByLabel('Your name').fill(this.name);
    await page.getByLabel('User name').fill(this.username);
    await page.getByLabel('Password').fill(PASSWORD);
    await page.getByRole('button', { name: 'Create account' }).click();
    await this.connected();
  }

  async signIn() {
    const { page } = this;
    await page.getByLabel('User name').fill(this.username);
    await page.getByLabel('Password').fill(PASSWORD);
    await page.getByRole('button', { name: 'Sign in' }).click();
    await this.connected();
  }

  connected() {
    return this.page.locator('.status-line[data-state="connected"]').waitFor({ state: 'attached' });
  }

  /** @param {string} name @param {'Everyone' | 'By invitation'} [who] */
  async createRoom(name, who = 'Everyone') {
    const { page } = this;
    await page.getByRole('button', { name: 'New room' }).first().click();
    const dialog = page.getByRole('dialog', { name: 'New room' });
    await dialog.getByLabel('Name', { exact: true }).fill(name);
    await dialog.getByLabel('What is it about?').fill(`All about ${name}`);
    await dialog.getByText(who, { exact: true }).click();
    await dialog.getByRole('button', { name: 'Create room' }).click();
    await this.isIn(name);
  }

  /** @param {string} name */
  async joinRoom(name) {
    const { page } = this;
    await page.getByRole('button', { name: 'Browse public rooms' }).first().click();
    const dialog = page.getByRole('dialog', { name: 'Public rooms' });
    await dialog.getByLabel('Search rooms').fill(name);
    await dialog.getByRole('button', { name: new RegExp(`${name}.*Join`, 'u') }).click();
    await this.isIn(name);
  }

  /** @param {string} name */
  async openRoom(name) {
    await this.page.getByRole('navigation', { name: 'Rooms' }).getByRole('link', { name }).click();
    await this.isIn(name);
  }

  /** @param {string} name */
  isIn(name) {
    return this.page.getByRole('heading', { level: 1, name }).waitFor();
  }

  /** @param {string} text */
  async say(text) {
    const field = this.page.getByRole('textbox', { name: /^Message/u });
    await field.fill(text);
    await field.press('Enter');
  }

  /** The message with a text, as an element. @param {string} text */
  message(text) {
    return this.page.locator('.message').filter({ has: this.page.locator('.bubble-text', { hasText: exactly(text) }) });
  }

  /** Waits until a message is there and stored. @param {string} text */
  async sees(text) {
    await this.message(text).and(this.page.locator('[data-id]')).waitFor();
  }

  /** A button of a message's bar. @param {string} text @param {string} action */
  async does(text, action) {
    const message = this.message(text);
    await message.locator('.bubble').hover();
    await message.getByRole('button', { name: action, exact: true }).click();
  }

  /** The texts on the screen, in order; those that are not stored yet have a mark. */
  texts() {
    return this.page.locator('.message').evaluateAll((messages) =>
      messages.map((message) => {
        const text = message.querySelector('.bubble-text')?.textContent ?? '(image)';
        return message instanceof HTMLElement && message.dataset.id === undefined ? `${text} (unsent)` : text;
      }));
  }

  /** Waits for a condition on the page. @param {(argument: any) => unknown} condition @param {unknown} [argument] */
  until(condition, argument) {
    return this.page.waitForFunction(condition, argument, { timeout: PATIENCE_MS });
  }

  /** @param {string} name @param {{ fullPage?: boolean }} [options] */
  async screenshot(name, options) {
    await this.page.screenshot({ path: join(SCREENSHOTS, `${name}.png`), ...options });
  }
}

/** @param {string} text */
function exactly(text) {
  return new RegExp(`^${text.replace(/[.*+?^${}()|[\]\\]/gu, '\\$&')}$`, 'u');
}
