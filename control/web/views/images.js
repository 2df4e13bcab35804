/** Ways to bring an image: a button that opens a file picker, pasting, and dropping. */

import { h } from '../dom.js';
import { icon } from '../icons.js';

/** @typedef {(images: File[]) => void} OnImages */

/** @param {OnImages} onImages */
export function imageButton(onImages) {
  const picker = h('input', { type: 'file', accept: 'image/*', multiple: true, hidden: true, onchange });
  const button = h('button', { class: 'attach', type: 'button', 'aria-label': 'Send an image', title: 'Send an image', onclick: () => picker.click() }, icon('image'));
  return [picker, button];

  function onchange() {
    onImages(imagesIn(picker.files));
    picker.value = ''; // so that the same one can be chosen again
  }
}

/**
 * Takes images that are pasted or dropped onto an element.
 * @param {HTMLElement} element
 * @param {OnImages} onImages
 */
export function takeImages(element, onImages) {
  const isOver = (/** @type {boolean} */ over) => element.classList.toggle('dropping', over);
  element.addEventListener('paste', (event) => take(event, event.clipboardData));
  element.addEventListener('dragover', (event) => {
    if (!event.dataTransfer?.types.includes('Files')) return;
    event.preventDefault();
    isOver(true);
  });
  element.addEventListener('dragleave', (event) => {
    if (!element.contains(/** @type {Node | null} */ (event.relatedTarget))) isOver(false);
  });
  element.addEventListener('drop', (event) => {
    isOver(false);
    take(event, event.dataTransfer);
    // What is no image must not open in place of the page.
    if (event.dataTransfer?.types.includes('Files')) event.preventDefault();
  });

  /** @param {Event} event @param {DataTransfer | null} data */
  function take(event, data) {
    const images = imagesIn(data?.files);
    if (images.length === 0) return;
    event.preventDefault();
    onImages(images);
  }
}

/** @param {FileList | null | undefined} files */
function imagesIn(files) {
  return [...(files ?? [])].filter((file) => file.type.startsWith('image/'));
}
