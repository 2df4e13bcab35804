/** Where the points of a chart are, and how numbers read. Pure but for the reader's locale. */

/** @typedef {import('./history.js').Series} Series */

const SHORT = new Intl.NumberFormat(undefined, { notation: 'compact', maximumFractionDigits: 1 });
const WHOLE = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const FINE = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });

/** A round number that is at least this: 1, 2 or 5 times a power of ten. @param {number} value */
export function ceiling(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  const factor = [1, 2, 5].find((step) => step * power >= value) ?? 10;
  return factor * power;
}

/**
 * A line and the area under it, as paths in a box. The newest value stands at the right edge; where a value is not known,
 * the line has a gap.
 * @param {Series} series
 * @param {{ width: number, height: number, slots: number, most: number }} box  `slots`: values that fit
 */
export function paths(series, { width, height, slots, most }) {
  const step = width / (slots - 1);
  const x = (/** @type {number} */ place) => width - (series.length - 1 - place) * step;
  // The line is as wide as a unit or two: half of it at either end would be cut off.
  const y = (/** @type {number} */ value) => height - 1 - (value / most) * (height - 2);
  let line = '';
  let area = '';
  for (const [from, to] of stretches(series)) {
    // A single value would be no line: it lasts for half a step.
    const points = from === to ? [[x(from) - step / 2, y(series[from] ?? 0)]] : [];
    for (let place = from; place <= to; place += 1) points.push([x(place), y(series[place] ?? 0)]);
    const top = points.map((point) => point.map(round).join(' ')).join('L');
    line += `M${top}`;
    area += `M${top}V${height}H${round(points[0]?.[0] ?? 0)}Z`;
  }
  return { line, area };
}

/** First and last place of each stretch of known values. @param {Series} series @returns {[number, number][]} */
function stretches(series) {
  /** @type {[number, number][]} */
  const found = [];
  let from = -1;
  for (let place = 0; place <= series.length; place += 1) {
    const isKnown = place < series.length && series[place] !== null;
    if (isKnown && from < 0) from = place;
    if (!isKnown && from >= 0) {
      found.push([from, place - 1]);
      from = -1;
    }
  }
  return found;
}

/** @param {Series} series */
export function extent(series) {
  const known = /** @type {number[]} */ (series.filter((value) => value !== null));
  return known.length === 0 ? null : { least: Math.min(...known), most: Math.max(...known) };
}

/** A count in few characters. @param {number} value */
export function count(value) {
  return value < 10_000 ? WHOLE.format(value) : SHORT.format(value);
}

/** Something a second, in few characters; a dash where it is not known. @param {number | null} value */
export function rate(value) {
  if (value === null) return '–';
  return value < 100 ? FINE.format(value) : count(value);
}

/** How long something lasts, in its largest unit. @param {number} seconds */
export function duration(seconds) {
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.floor(seconds / 3_600)} h` : `${Math.floor(seconds / 86_400)} days`;
}

/** @param {number} value */
function round(value) {
  return Math.round(value * 10) / 10;
}
