/** Small helpers over the DOM. Text always goes in as text nodes, so nothing a user wrote can become markup. */

/** @typedef {Node | string | null | undefined | false} Child */

/**
 * An element: `h('button', { class: 'primary', onclick: save, 'aria-label': 'Save' }, 'Save')`.
 * Functions become listeners, booleans become present or absent attributes, the rest become attributes.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, any>} [props]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (typeof value === 'function') element.addEventListener(name.slice(2), value);
    else if (typeof value === 'boolean') element.toggleAttribute(name, value);
    else if (value !== null && value !== undefined) element.setAttribute(name, String(value));
  }
  element.append(...present(children));
  return element;
}

/** @param {Child[]} children */
function present(children) {
  return /** @type {(Node | string)[]} */ (children.filter((child) => child !== null && child !== undefined && child !== false));
}

/**
 * Replaces what is inside.
 * @param {Element} element
 * @param {...Child} children
 */
export function fill(element, ...children) {
  element.replaceChildren(...present(children));
}

/**
 * Makes the children of `parent` those of `rows`, in order, touching only what changed. A row is drawn again when its
 * `value` is another than last time.
 * @template V
 * @param {Element} parent
 * @param {Map<string, { value: V, element: Element }>} drawn  kept by the caller from call to call
 * @param {{ key: string, value: V, isSame?: (before: V) => boolean, draw: () => Element }[]} rows
 */
export function reconcile(parent, drawn, rows) {
  const keys = new Set(rows.map((row) => row.key));
  for (const [key, { element }] of drawn) {
    if (keys.has(key)) continue;
    element.remove();
    drawn.delete(key);
  }
  let place = parent.firstElementChild;
  for (const { key, value, isSame, draw } of rows) {
    let entry = drawn.get(key);
    if (!entry || !(isSame ? isSame(entry.value) : entry.value === value)) {
      const element = draw();
      if (entry) {
        if (place === entry.element) place = element;
        entry.element.replaceWith(element);
      }
      entry = { value, element };
      drawn.set(key, entry);
    }
    if (place === entry.element) place = place.nextElementSibling;
    else parent.insertBefore(entry.element, place);
  }
}

/** Tells screen readers. @param {string} text */
export function announce(text) {
  const announcer = document.getElementById('announcer');
  if (announcer) announcer.textContent = text;
}
