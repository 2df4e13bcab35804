/** The forms in small windows. */

import { h } from '../../dom.js';
import { explain } from '../../format.js';
import { showFieldErrors } from '../login.js';

/**
 * A form that shows what the server says about its fields.
 * @param {{ fields: Element[], action: string, actions?: Element[],
 *   save: (values: Record<string, string>, form: HTMLFormElement) => Promise<void>, explains?: (error: any) => string }} options
 */
export function makeForm({ fields, action, actions = [], save, explains = explain }) {
  const message = h('p', { class: 'form-error', role: 'alert' });
  const submit = h('button', { class: 'button primary', type: 'submit' }, action);
  const form = h('form', { class: 'form', onsubmit }, ...fields, message, h('div', { class: 'dialog-actions' }, ...actions, submit));
  return form;

  /** @param {Event} event */
  async function onsubmit(event) {
    event.preventDefault();
    const values = /** @type {Record<string, string>} */ (Object.fromEntries(new FormData(form)));
    submit.disabled = true;
    showFieldErrors(form, {});
    message.textContent = '';
    try {
      await save(values, form);
    } catch (error) {
      const { fields: errors = {} } = /** @type {any} */ (error);
      showFieldErrors(form, errors);
      message.textContent = Object.keys(errors).length > 0 ? '' : explains(error);
    } finally {
      submit.disabled = false;
    }
  }
}
