/** Line icons, drawn as SVG elements on a 24-unit grid; they take the colour of the text around them. */

const SVG = 'http://www.w3.org/2000/svg';

const PATHS = {
  alert: 'M12 8v5M12 16.500v.01M10.300 4.300 2.800 17.500A2 2 0 0 0 4.500 20.500h15a2 2 0 0 0 1.700-3L13.700 4.300a2 2 0 0 0-3.400 0z',
  back: 'M15 5l-7 7 7 7',
  check: 'M5 12.500l4.500 4.500L19 7.500',
  clock: 'M12 7v5l3 2M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18z',
  close: 'M6 6l12 12M18 6 6 18',
  compass: 'M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM15.500 8.500l-2 5-5 2 2-5z',
  down: 'M12 5v14M6 13l6 6 6-6',
  edit: 'M5 19l.8-4L15.500 5.300a1.900 1.900 0 0 1 2.700 0l.5.5a1.900 1.900 0 0 1 0 2.700L9 18.200zM13.500 7.500l3 3',
  hash: 'M5 9h14M5 15h14M10 4 8 20M16 4l-2 16',
  image: 'M5.500 4.500h13a1.500 1.500 0 0 1 1.500 1.500v12a1.500 1.500 0 0 1-1.500 1.500h-13A1.500 1.500 0 0 1 4 18V6a1.500 1.500 0 0 1 1.500-1.500zM4.500 17l5-5.500 4 4.500 2.500-2.500 3.500 3.500M15.500 9.500v.01',
  leave: 'M14 4h4a2 2 0 0 1 2 2v12a2 2 0 0 1-2 2h-4M4 12h11M11 8l4 4-4 4',
  lock: 'M7 11V8a5 5 0 0 1 10 0v3M6 11h12a1 1 0 0 1 1 1v7a1 1 0 0 1-1 1H6a1 1 0 0 1-1-1v-7a1 1 0 0 1 1-1z',
  message: 'M4 7a2.500 2.500 0 0 1 2.500-2.500h11A2.500 2.500 0 0 1 20 7v7a2.500 2.500 0 0 1-2.500 2.500H11L6.500 20v-3.500A2.500 2.500 0 0 1 4 14z',
  people: 'M9 11.500a3.500 3.500 0 1 0 0-7 3.500 3.500 0 0 0 0 7zM2.500 19.500c.6-3.200 3.200-5 6.500-5s5.900 1.800 6.500 5M16 5a3.500 3.500 0 0 1 0 6.500M18 15c2 .7 3.200 2.300 3.500 4.500',
  plus: 'M12 5v14M5 12h14',
  reply: 'M9.500 6 4 11.500 9.500 17M4.500 11.500H14a6 6 0 0 1 6 6v1',
  search: 'M11 18a7 7 0 1 0 0-14 7 7 0 0 0 0 14zM20 20l-4-4',
  send: 'M5 12h13M12 5.500 18.500 12 12 18.500',
  sliders: 'M4 8h8.500M17.500 8H20M4 16h2.500M11.500 16H20M15 10.500a2.500 2.500 0 1 0 0-5 2.500 2.500 0 0 0 0 5zM9 18.500a2.500 2.500 0 1 0 0-5 2.500 2.500 0 0 0 0 5z',
  smile: 'M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM8.500 14c.8 1.400 2 2.100 3.500 2.100s2.700-.7 3.500-2.100M9 9.500v.5M15 9.500v.5',
  trash: 'M5 7h14M10 7V4.500h4V7M7 7l.8 12h8.400L17 7M10.300 10.500v5.500M13.700 10.500v5.500',
};

/** @typedef {keyof typeof PATHS} IconName */

/** @param {IconName} name */
export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('class', 'icon');
  svg.setAttribute('aria-hidden', 'true');
  const path = document.createElementNS(SVG, 'path');
  path.setAttribute('d', PATHS[name]);
  svg.append(path);
  return svg;
}
