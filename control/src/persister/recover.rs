//! A stream that lacks what was persisted from it: a primary of Redis died, and its successor never had its last
//! entries, or has others in their place.
//!
//! Ids that come after those of what was lost prove nothing then, so the shard is read again from the start of
//! the window. What Postgres has of that time says which messages are there already, and which nonces: the
//! first are passed over, and a repeat of something lost is a repeat. Everything else in a window can be applied
//! twice without a difference.

use std::collections::{HashMap, HashSet};

use hubbub_common::dedupe::Dedupe;
use hubbub_common::ids::{EntryId, MessageId, RoomId, UserId};
use hubbub_common::shard::{Shard, Shards};
use tokio_postgres::Client;

use super::Stopped;
use crate::store::sql::Sql as _;

/// The messages of a shard that are persisted already.
#[derive(Debug, Default)]
pub(super) struct Persisted {
    ids: HashSet<MessageId>,
    /// Nothing after it can be among them.
    until: EntryId,
}

/// Those of every shard that is read again.
#[derive(Debug, Default)]
pub(super) struct Recovery(HashMap<Shard, Persisted>);

impl Recovery {
    /// Looks up what is persisted of the lost shards, each with the offset that its stream no longer reaches;
    /// `dedupes` learn the nonces.
    pub(super) async fn look_up(
        client: &Client,
        shards: Shards,
        lost: &HashMap<Shard, EntryId>,
        window_ms: u64,
        dedupes: &mut [Dedupe],
    ) -> Result<Self, Stopped> {
        let mut recovery = Self::default();
        let Some(oldest_ms) = lost.values().map(|offset| offset.ms.saturating_sub(window_ms)).min() else {
            return Ok(recovery);
        };
        for (shard, offset) in lost {
            tracing::warn!(%shard, %offset, "Redis lost entries that are persisted: the shard is read again");
            let persisted = Persisted { ids: HashSet::new(), until: *offset };
            recovery.0.insert(*shard, persisted);
            if let Some(dedupe) = dedupes.get_mut(shard.index()) {
                *dedupe = Dedupe::new(window_ms);
            }
        }
        let since = MessageId::floor_of_ms(oldest_ms).as_i64();
        let recent = "SELECT m.room, m.id, m.author, m.nonce
                      FROM room_counters c JOIN messages m ON m.room = c.room AND m.id >= $1
                      WHERE c.last_id >= $1 ORDER BY m.id";
        for row in client.rows(recent, &[&since]).await? {
            let (room, id, author): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
            let nonce: Option<&str> = row.get(3);
            let (Some(room), Some(id)) = (RoomId::from_i64(room), MessageId::from_i64(id)) else { continue };
            let shard = shards.of(room);
            let Some(persisted) = recovery.0.get_mut(&shard) else { continue };
            persisted.ids.insert(id);
            if let (Some(nonce), Some(author)) = (nonce, UserId::from_i64(author))
                && let Some(dedupe) = dedupes.get_mut(shard.index())
            {
                dedupe.check(author, nonce, id);
            }
        }
        Ok(recovery)
    }

    /// Whether this message is persisted, as far as that has to be asked.
    pub(super) fn has(&self, shard: Shard, id: MessageId) -> bool {
        self.0.get(&shard).is_some_and(|persisted| persisted.ids.contains(&id))
    }

    /// A shard is read up to here.
    pub(super) fn reached(&mut self, shard: Shard, offset: EntryId) {
        if self.0.get(&shard).is_some_and(|persisted| offset >= persisted.until) {
            self.0.remove(&shard);
        }
    }
}
