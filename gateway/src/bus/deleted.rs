//! Messages that were deleted lately.
//!
//! Who may change a message goes by who wrote it, and that its stream tells of a deleted one too, as long as it holds
//! it. Behind that the control plane is asked, which knows.

use std::collections::{HashSet, VecDeque};

use hubbub_common::ids::{MessageId, RoomId};

/// Remembered at once; the oldest goes first.
const DELETED_MAX: usize = 1 << 16;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Deleted {
    messages: HashSet<(RoomId, MessageId)>,
    /// Each with the event that told of it.
    oldest_first: VecDeque<(MessageId, (RoomId, MessageId))>,
}

impl Deleted {
    /// An event tells that a message is no more.
    pub(super) fn note(&mut self, room: RoomId, msg: MessageId, told_by: MessageId) {
        if self.messages.insert((room, msg)) {
            self.oldest_first.push_back((told_by, (room, msg)));
        }
        if self.oldest_first.len() > DELETED_MAX {
            self.forget_oldest();
        }
    }

    pub(super) fn contains(&self, room: RoomId, msg: MessageId) -> bool {
        self.messages.contains(&(room, msg))
    }

    /// The streams hold nothing any more that is older than this.
    pub(super) fn forget_before(&mut self, horizon: MessageId) {
        while self.oldest_first.front().is_some_and(|(told_by, _)| *told_by < horizon) {
            self.forget_oldest();
        }
    }

    /// What was told of these rooms is not what their stream holds.
    pub(super) fn forget(&mut self, is_meant: impl Fn(RoomId) -> bool) {
        self.messages.retain(|(room, _)| !is_meant(*room));
        self.oldest_first.retain(|(_, (room, _))| !is_meant(*room));
    }

    fn forget_oldest(&mut self) {
        if let Some((_, message)) = self.oldest_first.pop_front() {
            self.messages.remove(&message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u64) -> MessageId {
        MessageId::new(n).unwrap()
    }
    fn room(n: u64) -> RoomId {
        RoomId::new(n).unwrap()
    }

    #[test]
    fn what_is_old_or_another_stream_s_is_forgotten() {
        let mut deleted = Deleted::default();
        deleted.note(room(1), id(1), id(10));
        deleted.note(room(2), id(2), id(20));
        deleted.note(room(2), id(2), id(30));
        deleted.forget_before(id(20));
        assert!(!deleted.contains(room(1), id(1)) && deleted.contains(room(2), id(2)));
        deleted.forget(|of| of == room(2));
        assert!(!deleted.contains(room(2), id(2)) && deleted.oldest_first.is_empty());
        for n in 0..=DELETED_MAX as u64 {
            deleted.note(room(1), id(n), id(n));
        }
        assert!(!deleted.contains(room(1), id(0)) && deleted.contains(room(1), id(1)));
        assert_eq!(deleted.messages.len(), DELETED_MAX);
    }
}
