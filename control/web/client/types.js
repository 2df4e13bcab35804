/**
 * The shapes of the protocol, for editors and `tsc --checkJs`. No code.
 *
 * Ids are decimal strings, because they go past what a JSON number holds exactly; times are Unix milliseconds.
 *
 * @typedef {string} Id
 *
 * @typedef {{ id: Id, username: string, display_name: string, created_at?: number, operator?: boolean }} User
 *
 * @typedef {object} Room
 * @property {Id} id
 * @property {string} name
 * @property {string} kind              `public`, `private` or `direct`; a direct room has the other user's name
 * @property {string | null} [topic]
 * @property {string | null} [role]     the caller's role, null when not a member
 * @property {number} [members]
 * @property {Id | null} [last]  the newest event's id
 * @property {number} [unread]
 *
 * @typedef {object} Message
 * @property {Id} room
 * @property {Id} id
 * @property {number} ts
 * @property {Id} from
 * @property {string} name
 * @property {string} kind              `text`, `image` or `system`
 * @property {string} body
 * @property {string | null} [nonce]
 * @property {Id | null} [reply_to]
 * @property {number | null} [edited_at]
 * @property {boolean} [deleted]
 * @property {Record<string, Id[]>} [reactions]
 *
 * @typedef {{ user: User, role: string }} Member
 *
 * @typedef {object} LoginSession
 * @property {string} id
 * @property {number} created_at
 * @property {string | null} [address]
 * @property {string | null} [user_agent]
 * @property {boolean} current    whether it is the one that asks
 *
 * @typedef {{ id: Id, ts: number }} Ack
 *
 * @typedef {object} Welcome
 * @property {string} connection
 * @property {string} gateway
 * @property {{ id: Id, name: string }} user
 * @property {number} heartbeat_ms
 * @property {number} resume_window_ms
 * @property {{ max_body_bytes: number, max_frame_bytes: number, max_rooms: number, sends_per_second: number }} limits
 *
 * @typedef {'connecting' | 'connected' | 'reconnecting' | 'offline' | 'closed'} State
 *
 * @typedef {object} StateChange
 * @property {State} state
 * @property {string} [reason]    why it is not connected: `drain`, `slow`, `unauthorized`, `revoked`, `replaced`, …
 * @property {number} [retryAt]   when the next attempt starts
 *
 * @typedef {object} Gap
 * @property {Id} room
 * @property {Id} since           the last event seen before the gap
 * @property {Id} last            the newest event when the gap was found
 * @property {boolean} filled     whether every message of the gap was delivered from history. Edits, deletions and
 *                                reactions to messages before it may still have been missed: read those again
 *
 * @typedef {object} Events       what `Connection` emits; each is a CustomEvent with this `detail`
 * @property {StateChange} state
 * @property {Welcome} welcome
 * @property {Message} message
 * @property {{ room: Id, id: Id, msg: Id, from: Id, ts: number, body: string }} edited
 * @property {{ room: Id, id: Id, msg: Id, from: Id, ts: number }} deleted
 * @property {{ room: Id, id: Id, msg: Id, from: Id, ts: number, emoji: string, on: boolean }} reacted
 * @property {{ room: Id, from: Id }} typing
 * @property {{ room: Id, from: Id, msg: Id }} read
 * @property {{ room: Id, online?: Id[], count?: number, user?: Id, state?: 'online' | 'offline' }} presence
 * @property {{ room: Id, id?: Id, ts?: number, user: Id, state: string, role?: string }} member  without `id`: one is a
 *                                member of a room now that is not joined here
 * @property {{ room: Id, id?: Id, ts?: number, state: 'updated' | 'deleted' }} room
 * @property {{ room: Id, last: Id, replayed: number | null }} joined
 * @property {{ room: Id, code: string }} refused    a wanted room can't be joined; it is no longer wanted
 * @property {Gap} gap
 * @property {{ code: string, reconnect_after_ms?: number }} bye
 * @property {{ code: string, message: string }} error  an error that answers no request of ours
 */
export {};
