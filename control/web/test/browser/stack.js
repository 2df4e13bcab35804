/** A whole private Hubbub for the tests: two gateways, HAProxy, Postgres, Redis, by the program behind `make run`. */

import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../../..', import.meta.url));
export const TARGET = resolve(ROOT, process.env.CARGO_TARGET_DIR ?? 'target');

export class Stack {
  /** @type {import('node:child_process').ChildProcess} */
  #program;

  /** @param {import('node:child_process').ChildProcess} program @param {string} url @param {string} folder */
  constructor(program, url, folder) {
    this.#program = program;
    this.url = url;
    this.folder = folder;
  }

  static async start() {
    const folder = mkdtempSync(join(tmpdir(), 'hubbub-web-'));
    const env = {
      ...process.env,
      HUBBUB_DEV_PORT: String(await freePort()),
      HUBBUB_DEV_FOLDER: folder,
      HUBBUB_SENDS_PER_SECOND: '0',
    };
    // It dies with this process, however that ends.
    const program = spawn('setpriv', ['--pdeathsig', 'TERM', '--', join(TARGET, 'debug', 'hubbub-dev')], { env, stdio: ['ignore', 'pipe', 'inherit'] });
    /** @type {string[]} */
    const said = [];
    const lines = createInterface({ input: program.stdout });
    const url = await new Promise((ready, failed) => {
      lines.on('line', (line) => {
        if (said.push(line) > 200) said.shift();
        const at = /^hubbub is ready at (\S+)$/.exec(line)?.[1];
        if (at) ready(at);
      });
      program.once('error', failed);
      program.once('exit', (code) => failed(new Error(`hubbub-dev ended with ${code}:\n${said.join('\n')}`)));
    });
    return new Stack(program, url, folder);
  }

  /** Ends a part, with SIGKILL as a crash would; it is started again a second later. @param {string} name @param {NodeJS.Signals} [signal] */
  end(name, signal = 'SIGKILL') {
    const { parts } = this.#record();
    const part = parts.find((/** @type {{ name: string }} */ candidate) => candidate.name === name);
    if (!part?.pid) throw new Error(`no ${name} among ${parts.map((/** @type {any} */ candidate) => candidate.name)}`);
    process.kill(part.pid, signal);
  }

  /** Makes somebody with an account an operator, as whoever runs the machines does. @param {string} username */
  makeOperator(username) {
    const { redis_url, database_url } = this.#record();
    const env = { HUBBUB_REDIS_URL: redis_url, HUBBUB_DATABASE_URL: database_url };
    execFileSync(join(TARGET, 'debug', 'hubbub-control'), ['user', 'make-operator', username], { env, stdio: ['ignore', 'ignore', 'inherit'] });
  }

  #record() {
    return JSON.parse(readFileSync(join(this.folder, 'stack.json'), 'utf8'));
  }

  async stop() {
    const ended = new Promise((done) => this.#program.once('exit', done));
    this.#program.kill('SIGTERM');
    await ended;
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** @returns {Promise<number>} */
function freePort() {
  return new Promise((done, failed) => {
    const server = createServer();
    server.once('error', failed);
    server.listen(0, '127.0.0.1', () => {
      const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
      server.close(() => done(port));
    });
  });
}
