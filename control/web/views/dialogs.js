/** The small windows of `dialogs/`: each is loaded when it is first opened, and the page is there sooner. */

import { toast } from './toast.js';

const account = () => import('./dialogs/account.js');
const people = () => import('./dialogs/people.js');
const rooms = () => import('./dialogs/rooms.js');
const search = () => import('./dialogs/search.js');

export const openAccount = lazily(account, 'openAccount');
export const openBrowse = lazily(rooms, 'openBrowse');
export const openDirect = lazily(people, 'openDirect');
export const openInvite = lazily(people, 'openInvite');
export const openMember = lazily(people, 'openMember');
export const openMessageSearch = lazily(search, 'openMessageSearch');
export const openNewRoom = lazily(rooms, 'openNewRoom');
export const openRoomSettings = lazily(rooms, 'openRoomSettings');

/**
 * @template {Record<string, (...given: any[]) => void>} M
 * @template {keyof M} K
 * @param {() => Promise<M>} load
 * @param {K} name
 * @returns {(...given: Parameters<M[K]>) => void}
 */
function lazily(load, name) {
  return (...given) => {
    load().then(
      (loaded) => loaded[name]?.(...given),
      () => toast('This could not be loaded. Try again in a moment.'),
    );
  };
}
