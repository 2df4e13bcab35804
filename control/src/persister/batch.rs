//! What one transaction writes: gathered from entries, repeats dropped, later states put over earlier ones.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use hubbub_common::dedupe::{Dedupe, Verdict};
use hubbub_common::entry::{Entry, EntryError, Record};
use hubbub_common::ids::{EntryId, MessageId, RoomId, UploadId, UserId};
use hubbub_common::metrics::PERSISTED;
use hubbub_common::redis::ReadEntry;
use hubbub_common::shard::Shard;

use super::Stopped;
use crate::uploads::mentions::mentions;

/// A new message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NewMessage {
    pub(super) room: RoomId,
    pub(super) id: MessageId,
    pub(super) author: UserId,
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) body: String,
    pub(super) nonce: Option<String>,
    pub(super) reply_to: Option<MessageId>,
}

/// See the module's text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) messages: Vec<NewMessage>,
    /// By room and message: author, body, and when.
    pub(super) edits: BTreeMap<(RoomId, MessageId), (UserId, String, u64)>,
    /// Uploads that new messages name.
    pub(super) uses: Vec<(UploadId, RoomId, MessageId)>,
    pub(super) deletions: BTreeSet<(RoomId, MessageId)>,
    /// By room, message, user and emoji: whether it stands.
    pub(super) reactions: BTreeMap<(RoomId, MessageId, UserId, String), bool>,
    /// By room and user: the newest event read.
    pub(super) reads: BTreeMap<(RoomId, UserId), MessageId>,
    /// The newest event of each room.
    pub(super) last: BTreeMap<RoomId, MessageId>,
    /// How far each shard is handled.
    pub(super) offsets: HashMap<Shard, EntryId>,
    /// Entries handled of each shard.
    pub(super) entries: HashMap<Shard, u64>,
    /// Entries that can't be read at all, and records of unknown kinds.
    unreadable: u64,
}

/// The memory of repeats of each shard.
pub(super) trait Dedupes {
    fn of(&mut self, shard: Shard) -> Option<&mut Dedupe>;

    /// Whether this message is persisted already, where a shard has to be read again.
    fn has(&self, _: Shard, _: MessageId) -> bool {
        false
    }
}

impl Batch {
    /// Gathers entries, oldest first within a shard.
    pub(super) fn gather(entries: &[ReadEntry], dedupes: &mut impl Dedupes) -> Result<Self, Stopped> {
        let mut batch = Self::default();
        for read in entries {
            let (shard, id) = (read.shard, read.id);
            batch.offsets.insert(shard, id);
            *batch.entries.entry(shard).or_insert(0) += 1;
            let entry = match Entry::decode(&read.bytes) {
                Ok(entry) => entry,
                Err(error @ EntryError::Version(_)) => {
                    return Err(Stopped::Entry { shard, entry: id, error });
                }
                Err(error) => {
                    tracing::error!(%shard, entry = %id, %error, "an entry can't be read and is passed over");
                    batch.unreadable += 1;
                    continue;
                }
            };
            let Some(dedupe) = dedupes.of(shard) else { continue };
            if !dedupe.first_time(entry.origin, entry.seq, id.ms) {
                continue;
            }
            for (index, record) in entry.records() {
                let Some(id) = MessageId::pack(id, index) else { continue };
                let Some(record) = record else {
                    batch.unreadable += 1;
                    continue;
                };
                if !dedupes.has(shard, id)
                    && let Some(dedupe) = dedupes.of(shard)
                {
                    batch.add(dedupe, id, record);
                }
            }
        }
        Ok(batch)
    }

    fn add(&mut self, dedupe: &mut Dedupe, id: MessageId, record: Record<'_>) {
        if let Some((user, nonce)) = record.nonce()
            && dedupe.check(user, nonce, id) != Verdict::New
        {
            return;
        }
        if record.is_stored_event() {
            self.last.insert(record.room(), id);
        }
        match record {
            Record::Message { room, from, name, kind, body, nonce, reply_to } => {
                // Who writes has read.
                self.reads.insert((room, from), id);
                self.uses.extend(mentions(&body).map(|upload| (upload, room, id)));
                self.messages.push(NewMessage {
                    room,
                    id,
                    author: from,
                    name: storable(&name),
                    kind: kind.as_str(),
                    body: storable(&body),
                    nonce: nonce.as_deref().map(storable),
                    reply_to,
                });
            }
            // What is deleted stays as it is, also where both come in one batch.
            Record::Edited { room, msg, .. } if self.deletions.contains(&(room, msg)) => {}
            Record::Edited { room, from, msg, body } => {
                self.edits.insert((room, msg), (from, storable(&body), id.ts()));
            }
            Record::Deleted { room, msg, .. } => {
                self.deletions.insert((room, msg));
            }
            Record::Reacted { room, from, msg, emoji, on } => {
                self.reactions.insert((room, msg, from, storable(&emoji)), on);
            }
            Record::Read { room, from, msg, .. } => {
                let read = self.reads.entry((room, from)).or_insert(msg);
                *read = msg.max(*read);
            }
            Record::Member { .. } | Record::Room { .. } | Record::Typing { .. } | Record::Presence { .. } => {
            }
        }
    }

    /// Counts what was persisted.
    pub(super) fn count(&self) {
        let count = |kind: &'static str, n: usize| {
            metrics::counter!(PERSISTED.name, "kind" => kind).increment(n as u64);
        };
        count("message", self.messages.len());
        count("edit", self.edits.len());
        count("deletion", self.deletions.len());
        count("reaction", self.reactions.len());
        count("read", self.reads.len());
        metrics::counter!(PERSISTED.name, "kind" => "unreadable").increment(self.unreadable);
    }
}

/// Postgres can't store U+0000. Gateway and REST refuse it; one from elsewhere must not stop the writer.
fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use bytes::Bytes;
    use hubbub_common::entry::encode;
    use hubbub_common::ids::MESSAGE_EPOCH_MS;
    use hubbub_common::protocol::MessageKind;

    use super::*;

    struct One(Dedupe);
    impl Dedupes for One {
        fn of(&mut self, _: Shard) -> Option<&mut Dedupe> {
            Some(&mut self.0)
        }
    }

    fn room() -> RoomId {
        RoomId::new(1).unwrap()
    }
    fn user() -> UserId {
        UserId::new(7).unwrap()
    }
    fn message(body: &str, nonce: Option<&str>) -> Vec<u8> {
        let nonce = nonce.map(|nonce| Cow::Owned(nonce.to_owned()));
        let (name, body, kind) = ("ada".into(), body.into(), MessageKind::Text);
        Record::Message { room: room(), from: user(), name, kind, body, nonce, reply_to: None }.encode()
    }
    fn entry(ms: u64, bytes: Vec<u8>) -> ReadEntry {
        let id = EntryId { ms: MESSAGE_EPOCH_MS + ms, seq: 0 };
        ReadEntry { shard: Shard::new(3), id, bytes: Bytes::from(bytes) }
    }
    fn gather(entries: &[ReadEntry]) -> Result<Batch, Stopped> {
        Batch::gather(entries, &mut One(Dedupe::new(1_000)))
    }

    #[test]
    fn repeats_are_dropped_and_the_offset_moves_on() {
        let batch = gather(&[
            entry(1, encode(9, 1, &[message("a", Some("n")), message("b\0", None)])),
            entry(2, encode(9, 1, &[message("a", Some("n")), message("b", None)])),
            entry(3, encode(8, 1, &[message("a", Some("n")), message("c", None)])),
        ])
        .unwrap();
        let bodies: Vec<_> = batch.messages.iter().map(|message| message.body.as_str()).collect();
        assert_eq!(bodies, ["a", "b\u{fffd}", "c"]);
        assert_eq!(batch.offsets[&Shard::new(3)].ms, MESSAGE_EPOCH_MS + 3);
        assert_eq!(batch.last[&room()], batch.messages[2].id);
        assert_eq!(batch.entries[&Shard::new(3)], 3);
    }

    #[test]
    fn uploads_that_messages_name_are_noted() {
        let texts = ["hello", "[img]https://chat/api/v1/uploads/7", "/api/v1/uploads/8 /api/v1/uploads/7"];
        let records: Vec<_> = texts.iter().map(|text| message(text, None)).collect();
        let batch = gather(&[entry(1, encode(9, 1, &records))]).unwrap();
        let uses: Vec<_> = batch.uses.iter().map(|(upload, _, msg)| (upload.get(), msg.index())).collect();
        assert_eq!(uses, [(7, 1), (8, 2), (7, 2)]);
    }

    #[test]
    fn later_states_win() {
        let (a, b) = (MessageId::new(1 << 30).unwrap(), MessageId::new(1 << 31).unwrap());
        let read = |msg| Record::Read { room: room(), from: user(), msg, connection: 0 }.encode();
        let react =
            |on| Record::Reacted { room: room(), from: user(), msg: a, emoji: "x".into(), on }.encode();
        let edit =
            |body: &str| Record::Edited { room: room(), from: user(), msg: a, body: body.into() }.encode();
        let records = [read(b), read(a), react(true), react(false), edit("1"), edit("2")];
        let batch = gather(&[entry(1, encode(9, 1, &records))]).unwrap();
        assert_eq!(batch.reads[&(room(), user())], b);
        assert!(!batch.reactions[&(room(), a, user(), "x".to_owned())]);
        assert_eq!(batch.edits[&(room(), a)].1, "2");
    }

    #[test]
    fn a_broken_entry_is_passed_over_but_a_newer_version_stops() {
        let batch = gather(&[entry(1, vec![1, 2]), entry(2, encode(9, 1, &[message("a", None)]))]).unwrap();
        assert_eq!((batch.messages.len(), batch.unreadable), (1, 1));
        assert!(matches!(gather(&[entry(1, vec![2])]), Err(Stopped::Entry { .. })));
    }
}
