/** Small charts, drawn as SVG without a library. What they show stands in their label too, for those who do not see them. */

import { ceiling, extent, paths } from './scale.js';

/** @typedef {import('./history.js').Series} Series */

const SVG = 'http://www.w3.org/2000/svg';
/** Units of the drawing; it is stretched to its place. */
const WIDTH = 300;
const HEIGHT = 60;
/** Room for a minute at least: the first samples are no wall. */
const SLOTS_MIN = 30;

/**
 * The last minutes of one number.
 * @param {{ name: string, format: (value: number) => string, mostAtLeast?: number }} options
 */
export function lineChart({ name, format, mostAtLeast = 1 }) {
  const line = svg('path', { class: 'chart-line' });
  const area = svg('path', { class: 'chart-area' });
  const element = svg('svg', { class: 'chart', viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img' }, area, line);
  return {
    element,
    /** @param {Series} series */
    draw(series) {
      const seen = extent(series);
      const most = ceiling(Math.max(seen?.most ?? 0, mostAtLeast));
      const drawn = paths(series, { width: WIDTH, height: HEIGHT, slots: Math.max(series.length, SLOTS_MIN), most });
      line.setAttribute('d', drawn.line);
      area.setAttribute('d', drawn.area);
      const said = seen === null ? 'nothing known yet' : `between ${format(seen.least)} and ${format(seen.most)} in the last minutes`;
      element.setAttribute('aria-label', `${name}: ${said}`);
    },
  };
}

/** One bar each. @param {{ name: string, each: string }} options  `each`: what a bar is called */
export function barChart({ name, each }) {
  const element = svg('svg', { class: 'chart bars', viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img' });
  /** @type {SVGElement[]} */
  let bars = [];
  return {
    element,
    /** @param {number[]} values */
    draw(values) {
      if (bars.length !== values.length) {
        bars = values.map(() => svg('rect', {}));
        element.replaceChildren(...bars);
      }
      const most = ceiling(Math.max(...values, 1));
      const step = WIDTH / values.length;
      for (const [place, value] of values.entries()) {
        // Also nothing is seen: as a line at the bottom.
        const height = Math.max((value / most) * HEIGHT, 1);
        set(bars[place], { x: place * step, y: HEIGHT - height, width: step * 0.86, height });
      }
      const said = values.map((value, place) => `${each} ${place}: ${value.toLocaleString()}`).join(', ');
      element.setAttribute('aria-label', `${name}: ${said || 'not told'}`);
    },
  };
}

/** @param {string} tag @param {Record<string, string | number>} attributes @param {...Node} children */
function svg(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  set(element, attributes);
  element.append(...children);
  return element;
}

/** @param {Element | undefined} element @param {Record<string, string | number>} attributes */
function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) element?.setAttribute(name, String(value));
}
