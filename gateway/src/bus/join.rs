//! Joining rooms: rights, then a shard that is read, then the cut between replay and live.
//!
//! What needs the backend happens first. The answer itself, with every room's `last` and replay, is made in
//! one step without an await and queued behind all events up to `last` and before all later ones: the inbox
//! is the cut, and nothing is missed or doubled at it.

use std::collections::HashSet;
use std::rc::Rc;

use hubbub_common::clock::now_ms;
use hubbub_common::ids::{EntryId, MessageId, RoomId, UserId};
use hubbub_common::protocol::{ErrorCode, Role};
use hubbub_common::shard::Shard;

use super::backend::{BusError, Directory, Streams};
use super::engine::{ANSWER_MAX, Engine, Reading};
use super::{Answer, JoinAnswer, JoinAsk, Subscribed, Waiter};

impl<B: Streams + Directory> Engine<B> {
    pub(super) fn join(self: &Rc<Self>, rooms: Vec<JoinAsk>, member: Option<UserId>, waiter: Waiter) {
        let engine = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let began = engine.clock.elapsed();
            let prepared = tokio::time::timeout(ANSWER_MAX, engine.prepare(&rooms, member)).await;
            let answers = match prepared {
                Ok(Ok(mut roles)) => {
                    if let Some(user) = member {
                        let recent = &engine.state.borrow().roles;
                        for (ask, role) in rooms.iter().zip(&mut roles) {
                            *role = recent.settle(user, ask.room, *role, began);
                        }
                    }
                    engine.subscribe(&rooms, &roles, waiter.core)
                }
                Ok(Err(error)) => {
                    tracing::debug!(%error, "a join failed");
                    refuse(&rooms)
                }
                Err(_) => refuse(&rooms),
            };
            engine.state.borrow_mut().answer(waiter, Answer::Joined(answers));
            engine.flush();
        });
    }

    /// Roles (all `Member` where a token vouches), shards that are read, and each room's last event.
    async fn prepare(
        self: &Rc<Self>,
        rooms: &[JoinAsk],
        member: Option<UserId>,
    ) -> Result<Vec<Option<Role>>, BusError> {
        let ids: Vec<RoomId> = rooms.iter().map(|ask| ask.room).collect();
        let roles = match member {
            Some(user) => self.backend.roles(user, &ids).await?,
            None => vec![Some(Role::Member); ids.len()],
        };
        let shards: HashSet<Shard> = ids.iter().map(|room| self.shards.of(*room)).collect();
        for shard in shards {
            self.read_shard(shard).await?;
        }
        let unknown: Vec<RoomId> = {
            let state = self.state.borrow();
            ids.into_iter().filter(|room| !state.window.knows(*room)).collect()
        };
        if !unknown.is_empty() {
            let last = self.backend.rooms_last(&unknown).await?;
            let mut state = self.state.borrow_mut();
            for (room, last) in unknown.into_iter().zip(last) {
                state.window.learn_last(room, last);
            }
        }
        Ok(roles)
    }

    /// Waits until a shard is read up to what was its end when the first session asked.
    async fn read_shard(self: &Rc<Self>, shard: Shard) -> Result<(), BusError> {
        loop {
            let changed = self.shards_changed.notified();
            let reading = self.state.borrow().reading(shard);
            match reading {
                Some(Reading::Live { .. }) | None => return Ok(()),
                Some(Reading::Off) => self.start_reading(shard).await?,
                Some(Reading::Starting | Reading::CatchingUp { .. }) => changed.await,
            }
        }
    }

    pub(super) async fn start_reading(&self, shard: Shard) -> Result<(), BusError> {
        self.set_reading(shard, Reading::Starting);
        let until = match self.backend.tail(shard).await {
            Ok(until) => until,
            Err(error) => {
                self.set_reading(shard, Reading::Off);
                self.shards_changed.notify_waiters();
                return Err(error);
            }
        };
        let start_ms = now_ms().saturating_sub(self.resume_window_ms);
        let start = EntryId { ms: start_ms, seq: 0 };
        if let Some(of_shard) = self.state.borrow_mut().shard(shard) {
            (of_shard.read_from, of_shard.reading) = if until <= start {
                let newest = MessageId::pack(until, u8::MAX).unwrap_or(MessageId::ZERO);
                (newest, Reading::Live { cursor: until })
            } else {
                (MessageId::floor_of_ms(start_ms), Reading::CatchingUp { cursor: start, until })
            };
        }
        self.shards_changed.notify_waiters();
        self.shards_changed.notify_one();
        self.backend.interrupt_read().await;
        Ok(())
    }

    fn set_reading(&self, shard: Shard, reading: Reading) {
        if let Some(of_shard) = self.state.borrow_mut().shard(shard) {
            of_shard.reading = reading;
        }
    }

    fn subscribe(&self, rooms: &[JoinAsk], roles: &[Option<Role>], core: u16) -> Vec<JoinAnswer> {
        let mut state = self.state.borrow_mut();
        let mut subscribe = |ask: &JoinAsk, role: Option<Role>| {
            let role = role.filter(|role| role.may_join()).ok_or(ErrorCode::Forbidden)?;
            let of_shard = state.shard(self.shards.of(ask.room)).ok_or(ErrorCode::Internal)?;
            if let Some(interested) = of_shard.interested.get_mut(usize::from(core)) {
                *interested = true;
            }
            let (last, replay) = match ask.since {
                Some(since) => state.window.replay(ask.room, since),
                None => (state.window.replay(ask.room, MessageId::ZERO).0, Some(Vec::new())),
            };
            Ok(Subscribed { last, replay, muted: !role.may_send() })
        };
        rooms
            .iter()
            .zip(roles)
            .map(|(ask, role)| JoinAnswer { room: ask.room, outcome: subscribe(ask, *role) })
            .collect()
    }
}

fn refuse(rooms: &[JoinAsk]) -> Vec<JoinAnswer> {
    rooms.iter().map(|ask| JoinAnswer { room: ask.room, outcome: Err(ErrorCode::Unavailable) }).collect()
}
