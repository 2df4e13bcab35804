/** axe, the checker of accessibility, on a page. */

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const GRAVE = new Set(['serious', 'critical']);

/** Nothing serious is found. @param {import('playwright-core').Page} page @param {string} where */
export async function isAccessible(page, where) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate('axe.run(document, { resultTypes: ["violations"] })');
  const found = violations
    .filter((/** @type {any} */ { impact }) => GRAVE.has(impact))
    .map((/** @type {any} */ { id, help, nodes }) => `${id}: ${help}: ${nodes.map((/** @type {any} */ node) => `${node.html} (${node.any[0]?.message ?? ''})`).join('; ')}`);
  assert.deepEqual(found, [], where);
}
