//! Which gateways live, and what becomes of the presence of those that do not.
//!
//! Every gateway says a few times within `HUBBUB_GATEWAY_TIMEOUT_SECONDS` that it lives, and looks at the others. One
//! that has not said so for that long is struck off, and its users go offline: whichever gateway claims that task
//! first does it, in small steps, and whichever notices that it was left half done goes on. One that was struck off
//! and lives all the same, because it only stood still, finds that out the next time that it says so: it begins a new
//! run, and has its cores tell whom they have. The same way leads out of a store that has lost its data.

use std::rc::Rc;

use tokio::time::{MissedTickBehavior, interval};

use crate::bus::Tell;
use crate::bus::backend::{BusError, Directory, Streams};
use crate::bus::engine::Engine;
use crate::bus::task::spawn;

/// How often within the time-out a gateway says that it lives: the look that finds it dead is the third without a word
/// after the one that saw the last.
const LOOKS: u32 = 4;

impl<B: Streams + Directory> Engine<B> {
    /// Stays on the roll for ever, and does what looking at it shows to be necessary.
    pub(in crate::bus) async fn stay_on_roll(self: Rc<Self>) {
        let mut every = interval(self.presence_tasks.gateway_timeout / LOOKS);
        // Looks that were late must not follow each other: nobody could have said anything between them.
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.presence_tasks.has_left.get() {
            every.tick().await;
            let outcome = match self.backend.call_roll().await {
                Ok(roll) => {
                    self.reap_each(roll.orphans);
                    if roll.forgotten || self.presence_tasks.is_unsure.get() {
                        self.begin_presence_anew(roll.forgotten).await
                    } else {
                        Ok(())
                    }
                }
                Err(error) => Err(error),
            };
            if let Err(error) = outcome {
                tracing::debug!(%error, "the roll of gateways is out of reach");
            }
        }
    }

    /// Begins a new run, and has the cores tell whom they have. What the old one noted goes when that falls silent, or,
    /// where it was struck off already and went on noting, by being reaped once more.
    async fn begin_presence_anew(&self, was_struck_off: bool) -> Result<(), BusError> {
        let _alone = self.presence_tasks.alone.lock().await;
        if was_struck_off {
            tracing::warn!(
                "this gateway was taken for dead, or Redis lost its data: its users are noted anew"
            );
            let rooms = self.state.borrow().presence.noted_rooms();
            self.backend.end_run(&rooms).await?;
        }
        self.backend.begin_run().await?;
        self.presence_tasks.is_unsure.set(false);
        let cores = self.core_count();
        let mut state = self.state.borrow_mut();
        let generation = state.presence.begin_anew(cores);
        state.tell_all(|| Tell::TellPresence(generation));
        drop(state);
        self.flush();
        Ok(())
    }

    fn reap_each(self: &Rc<Self>, orphans: Vec<String>) {
        if orphans.is_empty() || self.presence_tasks.is_reaping.replace(true) {
            return;
        }
        let engine = Rc::clone(self);
        spawn(async move {
            for orphan in &orphans {
                if let Err(error) = engine.reap(orphan).await {
                    tracing::debug!(%error, orphan, "presence of a dead gateway stays for the next look");
                }
            }
            engine.presence_tasks.is_reaping.set(false);
        });
    }

    /// Removes what a run left behind. Cut short anywhere, it can be done again.
    async fn reap(self: &Rc<Self>, orphan: &str) -> Result<(), BusError> {
        let mut users = 0;
        while self.backend.claim(orphan, self.presence_tasks.gateway_timeout).await? {
            let rooms = self.backend.rooms_of(orphan).await?;
            if rooms.is_empty() {
                tracing::info!(orphan, users, "a gateway has gone, and its users with it");
                return self.backend.removed(orphan).await;
            }
            for room in rooms {
                let outcome = self.backend.remove(orphan, room).await?;
                users += outcome.changes.len();
                self.say_presence(room, &outcome);
            }
        }
        Ok(())
    }

    /// Tells the backend who has gone, and leaves the rest to the other gateways.
    pub(in crate::bus) async fn leave(self: Rc<Self>) {
        self.presence_tasks.has_left.set(true);
        self.spread_all().await;
        let rooms = self.state.borrow().presence.noted_rooms();
        if let Err(error) = self.backend.end_run(&rooms).await {
            tracing::debug!(%error, "the other gateways find out by themselves that this one has left");
        }
    }
}
