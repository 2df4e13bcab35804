/**
 * The last minutes of a cluster: what gateways count becomes rates, and samples become series. Pure.
 *
 * Gateways say when they counted, so a rate does not depend on when somebody asked. One that was started anew has another
 * `run`, and counts from zero: nothing is compared over that.
 */

/** @typedef {import('./types.js').Counts} Counts */
/** @typedef {import('./types.js').Gateway} Gateway */
/** @typedef {import('./types.js').Control} Control */
/** @typedef {import('./types.js').Rates} Rates */
/** @typedef {(number | null)[]} Series */

/** Samples that are kept: five minutes of them. */
export const SAMPLES_MAX = 150;

const COUNTS = /** @type {(keyof Counts)[]} */ (['published', 'delivered', 'handshakes', 'evicted']);
/** @type {Rates} */
const UNKNOWN = { published: null, delivered: null, handshakes: null, evicted: null };

export class History {
  /** Of the whole cluster. @type {Record<keyof Counts | 'connections' | 'lag', Series>} */
  cluster = { connections: [], lag: [], published: [], delivered: [], handshakes: [], evicted: [] };
  /** By run. @type {Map<string, { last: Gateway, rates: Rates, connections: Series, delivered: Series }>} */
  #gateways = new Map();

  /** @param {Gateway[]} gateways @param {Control[]} controls */
  add(gateways, controls) {
    const runs = new Set(gateways.map(({ run }) => run));
    for (const run of this.#gateways.keys()) if (!runs.has(run)) this.#gateways.delete(run);
    for (const gateway of gateways) this.#addGateway(gateway);
    const { cluster } = this;
    push(cluster.connections, sum(gateways.map(({ connections }) => connections)));
    push(cluster.lag, controls.length === 0 ? null : lagOf(controls));
    for (const count of COUNTS) {
      const known = [...this.#gateways.values()].map(({ rates }) => rates[count]).filter((rate) => rate !== null);
      push(cluster[count], known.length === 0 ? null : sum(known));
    }
  }

  /** Nothing is known of a while: a gap in every series. */
  skip() {
    for (const series of Object.values(this.cluster)) push(series, null);
    for (const { connections, delivered } of this.#gateways.values()) {
      push(connections, null);
      push(delivered, null);
    }
  }

  /** @param {string} run */
  of(run) {
    const known = this.#gateways.get(run);
    return { rates: known?.rates ?? UNKNOWN, connections: known?.connections ?? [], delivered: known?.delivered ?? [] };
  }

  /** @param {Gateway} gateway */
  #addGateway(gateway) {
    const known = this.#gateways.get(gateway.run) ?? { last: gateway, rates: UNKNOWN, connections: [], delivered: [] };
    // Asked twice between two reports: nothing new is known.
    if (gateway.seen_at > known.last.seen_at) {
      known.rates = ratesBetween(known.last, gateway);
      known.last = gateway;
    }
    push(known.connections, gateway.connections);
    push(known.delivered, known.rates.delivered);
    this.#gateways.set(gateway.run, known);
  }
}

/** The leader's word counts; while nobody leads, whoever sees most waiting. @param {Control[]} controls */
export function lagOf(controls) {
  const leader = controls.find((control) => control.leader);
  return leader ? leader.stream_lag : Math.max(...controls.map((control) => control.stream_lag));
}

/** @param {Gateway} before @param {Gateway} after @returns {Rates} */
function ratesBetween(before, after) {
  if (!before.counts || !after.counts) return UNKNOWN;
  const seconds = (after.seen_at - before.seen_at) / 1_000;
  const rates = { ...UNKNOWN };
  for (const count of COUNTS) rates[count] = Math.max(0, after.counts[count] - before.counts[count]) / seconds;
  return rates;
}

/** @param {Series} series @param {number | null} value */
function push(series, value) {
  if (series.push(value) > SAMPLES_MAX) series.shift();
}

/** @param {number[]} values */
function sum(values) {
  return values.reduce((total, value) => total + value, 0);
}
