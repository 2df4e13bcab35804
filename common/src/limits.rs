//! Bounds that the protocol names, and how they relate.

use crate::ids::ENTRY_RECORDS_MAX;

/// Rooms in one `join`, at most.
pub const JOIN_ROOMS_MAX: usize = 256;
/// Rooms that one connection may be joined to.
pub const JOINED_ROOMS_MAX: usize = 1_000;
/// Bytes of a `ref`.
pub const REF_BYTES_MAX: usize = 64;
/// Bytes of a `nonce`.
pub const NONCE_BYTES_MAX: usize = 64;
/// Bytes of an `emoji`.
pub const EMOJI_BYTES_MAX: usize = 32;
/// Bytes of the name shown with a message.
pub const NAME_BYTES_MAX: usize = 128;
/// User ids in one `presence` answer.
pub const PRESENCE_USERS_MAX: usize = 1_000;
/// Members up to which a room gets presence changes pushed.
pub const PRESENCE_PUSH_MEMBERS_MAX: usize = 500;
/// Malformed requests within [`BAD_REQUESTS_WINDOW_MS`] that end a connection with 1008.
pub const BAD_REQUESTS_MAX: usize = 10;
/// See [`BAD_REQUESTS_MAX`].
pub const BAD_REQUESTS_WINDOW_MS: u64 = 10_000;
/// Default of `HUBBUB_FRAME_BYTES_MAX`.
pub const FRAME_BYTES_MAX: u32 = 65_536;
/// Default of `HUBBUB_BODY_BYTES_MAX`.
pub const BODY_BYTES_MAX: u32 = 4_096;
/// Default of `HUBBUB_SENDS_PER_SECOND`; bursts may be twice as large.
pub const SENDS_PER_SECOND: u32 = 20;
/// Default of `HUBBUB_JOINS_PER_SECOND`; as many rooms as a connection may be joined to pass at once.
pub const JOINS_PER_SECOND: u32 = 100;
/// Default of `HUBBUB_RESUME_WINDOW_SECONDS`.
pub const RESUME_WINDOW_SECONDS: u32 = 120;
/// Records packed into one stream entry, at most.
pub const PACK_RECORDS_MAX: usize = 256;

const _: () = assert!(PACK_RECORDS_MAX <= ENTRY_RECORDS_MAX);
const _: () = assert!(BODY_BYTES_MAX < FRAME_BYTES_MAX);
