//! Looking up the newest events of rooms that this gateway has read nothing of.
//!
//! While a look-up of a shard is under way, rooms gather for the next: a storm of joins costs the backend a
//! few commands for each shard.

use std::collections::BTreeSet;
use std::mem;
use std::rc::Rc;

use hubbub_common::ids::{MessageId, RoomId};
use hubbub_common::shard::Shard;
use tokio::sync::oneshot;

use super::backend::{BusError, Directory, Streams};
use super::engine::Engine;
use super::task::spawn;

/// Rooms in one command.
const ROOMS_MAX: usize = 1_024;

/// The look-ups of a shard.
#[derive(Debug, Default)]
pub(super) struct LookUps {
    rooms: BTreeSet<RoomId>,
    waiting: Vec<oneshot::Sender<Result<(), BusError>>>,
    under_way: bool,
}

impl<B: Streams + Directory> Engine<B> {
    /// Has the window know the newest event of rooms of one shard.
    pub(super) async fn learn_last(
        self: &Rc<Self>,
        shard: Shard,
        rooms: Vec<RoomId>,
    ) -> Result<(), BusError> {
        let (learnt, wait) = oneshot::channel();
        {
            let mut state = self.state.borrow_mut();
            let Some(of_shard) = state.shard(shard) else { return Ok(()) };
            of_shard.look_ups.rooms.extend(rooms);
            of_shard.look_ups.waiting.push(learnt);
            if !mem::replace(&mut of_shard.look_ups.under_way, true) {
                spawn(Rc::clone(self).look_rooms_up(shard));
            }
        }
        wait.await.unwrap_or_else(|_| Err(BusError("a look-up was given up".to_owned())))
    }

    async fn look_rooms_up(self: Rc<Self>, shard: Shard) {
        loop {
            let (rooms, waiting) = {
                let mut state = self.state.borrow_mut();
                let Some(of_shard) = state.shard(shard) else { return };
                let look_ups = &mut of_shard.look_ups;
                if look_ups.waiting.is_empty() {
                    look_ups.under_way = false;
                    return;
                }
                (mem::take(&mut look_ups.rooms), mem::take(&mut look_ups.waiting))
            };
            let rooms: Vec<RoomId> = rooms.into_iter().collect();
            let outcome = self.look_up_last(shard, &rooms).await;
            for waiting in waiting {
                // Whoever gave up does not want to know.
                let _ = waiting.send(outcome.clone());
            }
        }
    }

    async fn look_up_last(&self, shard: Shard, rooms: &[RoomId]) -> Result<(), BusError> {
        for rooms in rooms.chunks(ROOMS_MAX) {
            let told = self.backend.rooms_last(shard, rooms).await?;
            let mut state = self.state.borrow_mut();
            let Some(of_shard) = state.shard(shard) else { return Ok(()) };
            let read_from = of_shard.read_from;
            let told_to = MessageId::through(told.told_to);
            for (room, last) in rooms.iter().zip(told.last) {
                state.window.learn_last(*room, last, told_to, read_from);
            }
        }
        Ok(())
    }
}
