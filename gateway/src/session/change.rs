//! Edits, deletions and reactions. Whose message it is nobody here knows: that is checked on the way to the stream.

use std::borrow::Cow;

use hubbub_common::entry::Record;
use hubbub_common::ids::{MessageId, RoomId};
use hubbub_common::protocol::{Ref, Refusal};

use super::{Session, SessionLimits, Step, check_body};
use crate::bus::{Change, Right};

impl Session {
    pub(super) fn edit(
        &mut self,
        reference: Option<Ref>,
        room: RoomId,
        msg: MessageId,
        body: &str,
        uptime_ms: u64,
        limits: &SessionLimits,
    ) -> Result<Step, Refusal> {
        check_body(reference.as_ref(), body, limits)?;
        self.check_may_send(reference.as_ref(), room)?;
        self.take_send(reference.as_ref(), uptime_ms, limits)?;
        let record = Record::Edited { room, from: self.user, msg, body: Cow::Borrowed(body) };
        Ok(self.change(reference, msg, Right::Author, &record))
    }

    /// Also a muted user may take back what they wrote.
    pub(super) fn delete(
        &mut self,
        reference: Option<Ref>,
        room: RoomId,
        msg: MessageId,
        uptime_ms: u64,
        limits: &SessionLimits,
    ) -> Result<Step, Refusal> {
        self.take_send(reference.as_ref(), uptime_ms, limits)?;
        // A token makes nobody an admin.
        let right = if self.membership_decides { Right::AuthorOrAdmin } else { Right::Author };
        let record = Record::Deleted { room, from: self.user, msg };
        Ok(self.change(reference, msg, right, &record))
    }

    pub(super) fn react(
        &mut self,
        reference: Option<Ref>,
        (room, msg): (RoomId, MessageId),
        emoji: &str,
        on: bool,
        uptime_ms: u64,
        limits: &SessionLimits,
    ) -> Result<Step, Refusal> {
        self.check_may_send(reference.as_ref(), room)?;
        self.take_send(reference.as_ref(), uptime_ms, limits)?;
        let record = Record::Reacted { room, from: self.user, msg, emoji: Cow::Borrowed(emoji), on };
        Ok(self.change(reference, msg, Right::Anybody, &record))
    }

    fn change(&self, reference: Option<Ref>, msg: MessageId, right: Right, record: &Record<'_>) -> Step {
        let change = Change { room: record.room(), msg, user: self.user, right, record: record.encode() };
        Step::Change { reference, change }
    }
}
