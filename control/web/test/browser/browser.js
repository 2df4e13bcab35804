/** The browser of the tests: Chromium from the system's packages. */

import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';

import { chromium } from 'playwright-core';

export function openBrowser() {
  const folders = (process.env.PATH ?? '').split(delimiter);
  const program = folders.flatMap((folder) => [join(folder, 'chromium'), join(folder, 'google-chrome')]).find((path) => existsSync(path));
  if (!program) throw new Error('Chromium is missing: `.ci/setup test` installs it');
  return chromium.launch({ executablePath: program, args: ['--no-sandbox', '--disable-dev-shm-usage', '--force-color-profile=srgb'] });
}
