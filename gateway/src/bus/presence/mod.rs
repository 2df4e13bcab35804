//! Who is online: told to the backend in batches, and to every gateway where it concerns few enough.
//!
//! Changes gather for a moment, so that a page that reloads is no change and a storm is one batch. All of them pass
//! one lock, so the backend hears the changes of a user in their order. What a dead gateway leaves behind is the
//! business of [`roll`].

mod queue;
mod roll;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use hubbub_common::entry::Record;
use hubbub_common::ids::{ENTRY_RECORDS_MAX, RoomId};
use hubbub_common::limits::PRESENCE_PUSH_MEMBERS_MAX;
use hubbub_common::protocol::PresenceState;
use tokio::sync::Mutex;
use tokio::time::error::Elapsed;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::backend::{BusError, Directory, PresenceChange, PresenceOutcome, Streams};
use super::engine::{ANSWER_MAX, Engine};
use super::task::spawn;
use super::{Answer, Failure, Waiter};
pub(super) use queue::PresenceQueue;

/// How long changes gather.
const GATHER: Duration = Duration::from_millis(200);
/// Rooms whose changes are on their way to the backend at once.
const ROOMS_AT_ONCE: usize = 64;

/// What the tasks of presence know of each other.
pub(super) struct PresenceTasks {
    /// Held by the one that tells the backend of changes.
    alone: Mutex<()>,
    gateway_timeout: Duration,
    has_left: Cell<bool>,
    is_reaping: Cell<bool>,
    /// Whether a change was lost on its way from a core.
    is_unsure: Cell<bool>,
}

impl PresenceTasks {
    pub(super) fn new(gateway_timeout: Duration) -> Self {
        Self {
            alone: Mutex::default(),
            gateway_timeout,
            has_left: Cell::default(),
            is_reaping: Cell::default(),
            is_unsure: Cell::default(),
        }
    }

    /// The cores have to tell everything again, at the next opportunity.
    pub(super) fn is_unsure(&self) {
        self.is_unsure.set(true);
    }
}

impl<B: Streams + Directory> Engine<B> {
    /// Tells the backend of changes for ever, and every gateway of those that everybody should see.
    pub(super) async fn spread_presence(self: Rc<Self>) {
        let mut every = interval(GATHER);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            if self.is_up() {
                self.spread_all().await;
            }
        }
    }

    /// Tells the backend all changes that have gathered.
    pub(in crate::bus) async fn spread_all(self: &Rc<Self>) {
        let _alone = self.presence_tasks.alone.lock().await;
        let changes = self.state.borrow_mut().presence.take();
        for some in changes.chunks(ROOMS_AT_ONCE) {
            self.spread(some).await;
        }
    }

    /// Answers who is online. Many who ask at once, as after a storm of joins, are answered together.
    pub(super) fn present(self: &Rc<Self>, room: RoomId, waiter: Waiter) {
        let mut state = self.state.borrow_mut();
        let waiting = state.asked_present.entry(room).or_default();
        waiting.push(waiter);
        if waiting.len() > 1 {
            return;
        }
        let engine = Rc::clone(self);
        spawn(async move {
            let spread = engine.spread_of(room).await;
            // Who asks from here on may have joined after the look that follows.
            let waiting = engine.state.borrow_mut().asked_present.remove(&room).unwrap_or_default();
            let answer = match spread {
                Ok(()) => timeout(ANSWER_MAX, engine.backend.present(room)).await,
                Err(elapsed) => Err(elapsed),
            };
            let answer = answer.unwrap_or_else(|_| Err(BusError("no answer in time".to_owned())));
            if let Err(error) = &answer {
                tracing::debug!(%error, %room, "nobody can say who is online");
            }
            let mut state = engine.state.borrow_mut();
            for waiter in waiting {
                state.answer(
                    waiter,
                    match &answer {
                        Ok((users, count)) => Answer::Present(users.clone(), *count),
                        Err(_) => Answer::Failed(Failure::Unavailable),
                    },
                );
            }
            drop(state);
            engine.flush();
        });
    }

    /// Tells the backend at once what has gathered for a room, so that who asks next sees it. Only the wait for others
    /// is cut short: what is taken is told to the end, or would be forgotten.
    async fn spread_of(self: &Rc<Self>, room: RoomId) -> Result<(), Elapsed> {
        let _alone = timeout(ANSWER_MAX, self.presence_tasks.alone.lock()).await?;
        let changes = self.state.borrow_mut().presence.take_of(room);
        if !changes.is_empty() {
            self.spread(&[(room, changes)]).await;
        }
        Ok(())
    }

    /// Call while holding `alone`.
    async fn spread(self: &Rc<Self>, rooms: &[(RoomId, Vec<PresenceChange>)]) {
        let to_note = self.state.borrow().presence.to_note(rooms.iter().map(|(room, _)| *room));
        if !to_note.is_empty() {
            if let Err(error) = self.backend.note_rooms(&to_note).await {
                tracing::debug!(%error, "presence waits for the backend");
                let mut state = self.state.borrow_mut();
                for (room, changes) in rooms {
                    state.presence.put_back(*room, changes);
                }
                return;
            }
            self.state.borrow_mut().presence.noted(&to_note);
        }
        let set = rooms.iter().map(|(room, changes)| self.backend.set_presence(*room, changes));
        let mut done = Vec::with_capacity(rooms.len());
        for ((room, changes), outcome) in rooms.iter().zip(join_all(set).await) {
            match outcome {
                Ok(outcome) => {
                    self.say_presence(*room, &outcome);
                    done.push(*room);
                }
                Err(error) => {
                    tracing::debug!(%error, %room, "presence waits for the backend");
                    self.state.borrow_mut().presence.put_back(*room, changes);
                }
            }
        }
        let emptied = self.state.borrow_mut().presence.emptied(done.into_iter());
        if !emptied.is_empty()
            && let Err(error) = self.backend.forget_rooms(&emptied).await
        {
            // Whoever looks there for users of this run finds none.
            tracing::debug!(%error, "rooms without users stay noted");
        }
    }

    /// Tells everybody who came and went, unless the room is too large for that.
    fn say_presence(self: &Rc<Self>, room: RoomId, outcome: &PresenceOutcome) {
        if outcome.count > PRESENCE_PUSH_MEMBERS_MAX as u64 {
            return;
        }
        let record = |(user, online): &(_, bool)| {
            let state = if *online { PresenceState::Online } else { PresenceState::Offline };
            Record::Presence { room, user: *user, state }.encode()
        };
        let records: Vec<_> = outcome.changes.iter().map(record).collect();
        for entry in records.chunks(ENTRY_RECORDS_MAX) {
            self.say(self.shards.of(room), entry);
        }
    }
}
