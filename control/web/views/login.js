/** Sign in, or create an account. */

import { fill, h } from '../dom.js';
import { explain, sentence } from '../format.js';

/**
 * @param {Element} root
 * @param {{ api: import('../client.js').Api, notice?: string, onUser: (user: any) => void }} options
 */
export function showLogin(root, { api, notice, onUser }) {
  let isNew = false;
  draw();

  function draw() {
    const form = isNew ? signUpForm() : signInForm();
    const other = h('button', { class: 'link', type: 'button', onclick: () => switchTo(!isNew) }, isNew ? 'Sign in' : 'Create an account');
    fill(
      root,
      h(
        'main',
        { class: 'login' },
        h(
          'div',
          { class: 'login-card' },
          h('div', { class: 'brand large' }, h('img', { src: '/favicon.svg', alt: '', width: 40, height: 40 }), 'Hubbub'),
          h('h1', {}, isNew ? 'Create your account' : 'Welcome back'),
          notice ? h('p', { class: 'notice', role: 'status' }, notice) : null,
          form,
          h('p', { class: 'login-other' }, isNew ? 'Already have an account? ' : 'New here? ', other),
        ),
      ),
    );
    form.querySelector('input')?.focus();
  }

  /** @param {boolean} toNew */
  function switchTo(toNew) {
    isNew = toNew;
    notice = undefined;
    draw();
  }

  function signInForm() {
    return makeForm({
      fields: [usernameField(), passwordField('current-password')],
      action: 'Sign in',
      submit: (values) => api.login({ username: values.username ?? '', password: values.password ?? '' }),
      onUser,
      says: (error) => (error.status === 401 ? 'This name and password do not match.' : explain(error)),
    });
  }

  function signUpForm() {
    return makeForm({
      fields: [
        field({ name: 'display_name', label: 'Your name', autocomplete: 'name', maxlength: 64, hint: 'What others see next to your messages.' }),
        usernameField('3 to 32 of a–z, 0–9, dot, dash and underscore.'),
        passwordField('new-password', 'At least 8 characters.'),
      ],
      action: 'Create account',
      submit: ({ display_name, username = '', password = '' }) =>
        api.register({ username, password, display_name: display_name?.trim() || undefined }),
      onUser,
      says: (error) => (error.status === 409 ? 'This user name is taken.' : explain(error)),
    });
  }
}

/** @param {string} [hint] */
function usernameField(hint) {
  return field({ name: 'username', label: 'User name', autocomplete: 'username', autocapitalize: 'none', spellcheck: 'false', required: true, hint });
}

/** @param {string} autocomplete @param {string} [hint] */
function passwordField(autocomplete, hint) {
  return field({ name: 'password', label: 'Password', type: 'password', autocomplete, required: true, hint });
}

/** A labelled input with room for a hint and an error. @param {Record<string, any>} options */
export function field({ name, label, hint, tag = 'input', ...attributes }) {
  const noteId = `note-${name}`;
  const input = h(tag, { id: `field-${name}`, name, 'aria-describedby': noteId, ...attributes });
  return h(
    'div',
    { class: 'field' },
    h('label', { for: `field-${name}` }, label),
    input,
    h('p', { class: 'field-note', id: noteId, 'data-hint': hint ?? '' }, hint),
  );
}

/** @param {Element} form @param {Record<string, string>} errors */
export function showFieldErrors(form, errors) {
  for (const note of form.querySelectorAll('.field-note')) {
    const name = note.id.replace('note-', '');
    const error = errors[name];
    note.textContent = error === undefined ? note.getAttribute('data-hint') : sentence(error);
    note.classList.toggle('error', error !== undefined);
    note.parentElement?.querySelector('input, textarea')?.setAttribute('aria-invalid', String(error !== undefined));
  }
}

/**
 * @param {{ fields: Element[], action: string, submit: (values: Record<string, string>) => Promise<{ user: any }>,
 *   onUser: (user: any) => void, says: (error: any) => string }} options
 */
function makeForm({ fields, action, submit, onUser, says }) {
  const button = h('button', { class: 'button primary wide', type: 'submit' }, action);
  const message = h('p', { class: 'form-error', role: 'alert' });
  const form = h('form', { onsubmit: send }, ...fields, message, button);
  return form;

  /** @param {Event} event */
  async function send(event) {
    event.preventDefault();
    const values = /** @type {Record<string, string>} */ (Object.fromEntries(new FormData(form)));
    button.disabled = true;
    message.textContent = '';
    showFieldErrors(form, {});
    try {
      onUser((await submit({ ...values, username: (values.username ?? '').trim() })).user);
    } catch (error) {
      const { fields: errors } = /** @type {any} */ (error);
      showFieldErrors(form, errors ?? {});
      message.textContent = Object.keys(errors ?? {}).length > 0 ? '' : says(error);
    } finally {
      button.disabled = false;
    }
  }
}
