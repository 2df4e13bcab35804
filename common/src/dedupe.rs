//! Which entries and messages of a shard are repeats.
//!
//! Every reader of a stream (each gateway, the persister) feeds every entry in order to its own [`Dedupe`]
//! and so comes to the same answers, without asking anybody:
//!
//! - an entry that its origin appended twice, because the reply to the first append was lost;
//! - a message whose user and nonce stood in the stream before, within the window.
//!
//! A reader that starts in the middle first feeds the window before its start. Memory is bounded by the
//! window: one record of about 50 bytes for each message with a nonce in it.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};

use crate::entry::{Entry, Origin};
use crate::ids::{EntryId, MessageId, UserId};

/// Within so long an entry is appended again whose first append had no answer: the time for tries, and that for
/// connecting and answering on either side of it. Entries are remembered for so long also where nonces are not.
pub const REPEAT_MS: u64 = 15_000;

/// How long before it begins to tell a reader has to begin to read, milliseconds: what it tells first may repeat
/// something that is a window or [`REPEAT_MS`] older. Streams are trimmed behind two windows, which is no less unless
/// the window is tiny.
pub fn memory_ms(window_ms: u64) -> u64 {
    window_ms + window_ms.max(REPEAT_MS)
}

/// The memory of one shard's reader.
#[derive(Debug)]
pub struct Dedupe {
    window_ms: u64,
    origins: HashMap<Origin, Seen>,
    nonces: HashMap<u128, MessageId>,
    oldest_first: VecDeque<(u128, MessageId)>,
    hashers: [RandomState; 2],
    origins_swept_ms: u64,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    seq: u64,
    at_ms: u64,
}

/// What to do with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Deliver and persist it.
    New,
    /// Drop it: it repeats the one with this id.
    RepeatOf(MessageId),
}

impl Dedupe {
    /// Remembers for `window_ms`, in the time of the stream's own ids.
    pub fn new(window_ms: u64) -> Self {
        Self {
            window_ms,
            origins: HashMap::new(),
            nonces: HashMap::new(),
            oldest_first: VecDeque::new(),
            hashers: [RandomState::new(), RandomState::new()],
            origins_swept_ms: 0,
        }
    }

    /// Whether the entry is the first with this origin and sequence number. Call once for each entry, in
    /// stream order, before its messages.
    pub fn first_time(&mut self, origin: Origin, seq: u64, entry_ms: u64) -> bool {
        self.forget_before(entry_ms);
        match self.origins.get_mut(&origin) {
            Some(seen) if seq <= seen.seq => false,
            Some(seen) => {
                *seen = Seen { seq, at_ms: entry_ms };
                true
            }
            None => {
                self.origins.insert(origin, Seen { seq, at_ms: entry_ms });
                true
            }
        }
    }

    /// Remembers an entry without asking what is new in it. In stream order, as ever.
    pub fn feed(&mut self, entry: &Entry<'_>, at: EntryId) {
        if !self.first_time(entry.origin, entry.seq, at.ms) {
            return;
        }
        for (index, record) in entry.records() {
            if let (Some(record), Some(id)) = (record, MessageId::pack(at, index))
                && let Some((user, nonce)) = record.nonce()
            {
                self.check(user, nonce, id);
            }
        }
    }

    /// Whether a message with this nonce is new. Remembers it if so.
    pub fn check(&mut self, user: UserId, nonce: &str, id: MessageId) -> Verdict {
        let key = self.key(user, nonce);
        if let Some(first) = self.nonces.get(&key) {
            return Verdict::RepeatOf(*first);
        }
        self.nonces.insert(key, id);
        self.oldest_first.push_back((key, id));
        Verdict::New
    }

    /// The id of the message with this nonce, while it is remembered.
    pub fn find(&self, user: UserId, nonce: &str) -> Option<MessageId> {
        self.nonces.get(&self.key(user, nonce)).copied()
    }

    /// Two keyed 64-bit hashes stand for the pair: exact strings would cost several times the memory, and
    /// with keys that nobody knows a collision can be neither met nor made.
    fn key(&self, user: UserId, nonce: &str) -> u128 {
        let [high, low] = &self.hashers;
        let pair = (user, nonce);
        u128::from(high.hash_one(pair)) << 64 | u128::from(low.hash_one(pair))
    }

    fn forget_before(&mut self, entry_ms: u64) {
        let horizon_ms = entry_ms.saturating_sub(self.window_ms);
        while let Some((key, id)) = self.oldest_first.front() {
            if id.ts() >= horizon_ms {
                break;
            }
            self.nonces.remove(key);
            self.oldest_first.pop_front();
        }
        // Origins are few: one sweep a window is enough.
        let origins_kept_ms = self.window_ms.max(REPEAT_MS);
        if entry_ms > self.origins_swept_ms + origins_kept_ms {
            self.origins.retain(|_, seen| seen.at_ms + origins_kept_ms >= entry_ms);
            self.origins_swept_ms = entry_ms;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{EntryId, MESSAGE_EPOCH_MS};

    const START_MS: u64 = MESSAGE_EPOCH_MS + 1_000_000;

    fn id(ms: u64) -> MessageId {
        MessageId::pack(EntryId { ms: START_MS + ms, seq: 0 }, 0).unwrap()
    }

    #[test]
    fn an_entry_counts_once() {
        let mut dedupe = Dedupe::new(1_000);
        assert!(dedupe.first_time(1, 1, START_MS));
        assert!(!dedupe.first_time(1, 1, START_MS));
        assert!(dedupe.first_time(2, 1, START_MS));
        assert!(dedupe.first_time(1, 5, START_MS));
        assert!(!dedupe.first_time(1, 4, START_MS));
    }

    #[test]
    fn an_entry_counts_once_also_where_it_is_repeated_later_than_the_window() {
        let mut dedupe = Dedupe::new(1_000);
        assert!(dedupe.first_time(1, 1, START_MS));
        assert!(dedupe.first_time(2, 1, START_MS + 5_000));
        assert!(!dedupe.first_time(1, 1, START_MS + REPEAT_MS - 1));
        // Origins that end are forgotten all the same.
        assert!(dedupe.first_time(2, 2, START_MS + 3 * REPEAT_MS));
        assert_eq!(dedupe.origins.len(), 1);
    }

    /// A gateway that starts feeds what it does not tell.
    #[test]
    fn what_was_only_fed_is_known_as_well() {
        let record = crate::entry::Record::Message {
            room: crate::ids::RoomId::new(1).unwrap(),
            from: UserId::new(1).unwrap(),
            name: "ada".into(),
            kind: crate::protocol::MessageKind::Text,
            body: "hi".into(),
            nonce: Some("n".into()),
            reply_to: None,
        };
        let bytes = crate::entry::encode(7, 1, &[record.encode()]);
        let mut dedupe = Dedupe::new(1_000);
        dedupe.feed(&Entry::decode(&bytes).unwrap(), EntryId { ms: START_MS, seq: 0 });
        assert!(!dedupe.first_time(7, 1, START_MS + 1));
        assert_eq!(dedupe.check(UserId::new(1).unwrap(), "n", id(900)), Verdict::RepeatOf(id(0)));
    }

    #[test]
    fn a_nonce_counts_once_for_each_user_within_the_window() {
        let mut dedupe = Dedupe::new(1_000);
        let (ada, bob) = (UserId::new(1).unwrap(), UserId::new(2).unwrap());
        assert_eq!(dedupe.check(ada, "n", id(0)), Verdict::New);
        assert_eq!(dedupe.check(bob, "n", id(1)), Verdict::New);
        assert_eq!(dedupe.check(ada, "n", id(900)), Verdict::RepeatOf(id(0)));
        assert_eq!(dedupe.find(bob, "n"), Some(id(1)));
        assert!(dedupe.first_time(9, 1, START_MS + 1_001));
        assert_eq!(dedupe.find(ada, "n"), None);
        assert_eq!(dedupe.check(ada, "n", id(1_001)), Verdict::New);
        assert_eq!(dedupe.find(bob, "n"), Some(id(1)));
    }
}
