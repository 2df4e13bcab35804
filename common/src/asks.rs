//! What a gateway asks the control plane when Redis does not know, and what it hears.
//!
//! Asks wait in a list from which any instance takes the next; the answer goes to the channel of the run of the
//! gateway that asked. JSON, so that the two may be of different versions.

use serde::{Deserialize, Serialize};

use crate::clock::UnixMs;
use crate::ids::{MessageId, RoomId, UserId};

/// Asks that may wait; older ones are dropped.
pub const ASKS_MAX: usize = 10_000;
/// After so long nobody waits for an answer any more.
pub const ASK_MS_MAX: u64 = 3_000;

/// Who wrote a message that is no longer in its stream?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorAsk {
    /// The asking run's own mark.
    pub ticket: u64,
    /// The asking process, which hears the answer at [`crate::keys::answers`].
    pub run: String,
    /// Where.
    pub room: RoomId,
    /// Which.
    pub msg: MessageId,
    /// When it was asked.
    pub at_ms: UnixMs,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorAnswer {
    /// Of the ask.
    pub ticket: u64,
    /// Who wrote it; nobody where there is no such message, or not any more.
    pub author: Option<UserId>,
}
