//! Telling sessions that they missed something.

use hubbub_common::ids::MessageId;
use hubbub_common::limits::JOIN_ROOMS_MAX;
use hubbub_common::protocol::{Event, Joined, JoinedRoom};
use hubbub_common::shard::Shard;

use super::Core;

impl Core {
    /// Tells every session in rooms of these shards to read history: a `joined` that nobody asked for. The
    /// shards come in order of their numbers.
    pub(super) fn tell_gaps(&self, gaps: &[(Shard, MessageId)]) {
        let registry = self.registry.borrow();
        for (_, connection) in &*self.connections.borrow() {
            let missed = registry.rooms_of(connection.slot).filter_map(|room| {
                let shard = self.config.shared.shards.of(room);
                let place = gaps.binary_search_by_key(&shard, |(shard, _)| *shard).ok()?;
                let (_, last) = *gaps.get(place)?;
                Some(JoinedRoom { room, outcome: Joined::Ok { last, replayed: None } })
            });
            let missed: Vec<JoinedRoom> = missed.collect();
            for rooms in missed.chunks(JOIN_ROOMS_MAX) {
                self.push_event(connection, &Event::Joined { reference: None, rooms });
            }
        }
    }
}
