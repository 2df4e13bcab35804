/** A clock that moves by hand, a WebSocket whose other end is the test, and a random source that is not. */

export class FakeClock {
  time = 1_000_000;
  /** @type {{ at: number, fn: () => void }[]} */
  timers = [];

  now = () => this.time;

  setTimeout = (fn, ms) => {
    const timer = { at: this.time + ms, fn };
    this.timers.push(timer);
    return timer;
  };

  clearTimeout = (timer) => {
    this.timers = this.timers.filter((other) => other !== timer);
  };

  /** Moves on, running what falls due on the way, in order. */
  async pass(ms) {
    const end = this.time + ms;
    for (;;) {
      const next = this.timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
      if (!next) break;
      this.clearTimeout(next);
      this.time = next.at;
      next.fn();
      await settle();
    }
    this.time = end;
    await settle();
  }
}

/** Lets promises run. */
export function settle() {
  return new Promise((resolve) => setImmediate(resolve));
}

export class FakeSocket {
  /** @type {FakeSocket[]} */
  static all = [];

  static get last() {
    return FakeSocket.all[FakeSocket.all.length - 1];
  }

  sent = [];
  isClosed = false;

  constructor(url, protocols) {
    this.url = url;
    this.protocols = protocols;
    FakeSocket.all.push(this);
  }

  send(text) {
    if (this.isClosed) throw new Error('sent on a closed socket');
    this.sent.push(JSON.parse(text));
  }

  close() {
    this.isClosed = true;
  }

  // ---- the server's side ----

  async says(event) {
    this.onmessage?.({ data: JSON.stringify(event) });
    await settle();
  }

  async welcomes(more = {}) {
    await this.says({
      op: 'welcome',
      connection: 'c',
      gateway: 'g',
      user: { id: '7', name: 'Ada' },
      heartbeat_ms: 30_000,
      resume_window_ms: 120_000,
      limits: { max_body_bytes: 4096, max_frame_bytes: 65536, max_rooms: 1000, sends_per_second: 20 },
      ...more,
    });
  }

  async dies(code = 1006) {
    this.isClosed = true;
    this.onclose?.({ code });
    await settle();
  }

  /** Commands of one kind, oldest first. */
  ops(op) {
    return this.sent.filter((command) => command.op === op);
  }

  lastOp(op) {
    const ops = this.ops(op);
    return ops[ops.length - 1];
  }

  /** Grants the newest join. */
  async grantsJoin(outcomes = {}) {
    const join = this.lastOp('join');
    const rooms = join.rooms.map(({ room, since }) => ({ room, last: since ?? '0', replayed: since ? 0 : null, ...outcomes[room] }));
    await this.says({ op: 'joined', ref: join.ref, rooms });
  }
}

export function message(room, id, more = {}) {
  return { op: 'message', room, id, ts: Number(id), from: '9', name: 'Ben', kind: 'text', body: `body ${id}`, ...more };
}
