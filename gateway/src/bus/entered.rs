//! Telling users of rooms that they have become members of: an invitation, a direct room that somebody opened.
//!
//! Their connections are not joined to such a room, so nothing in its stream reaches them. A core finds them by looking at
//! every connection that it has; so what comes within a moment is told together.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hubbub_common::ids::{RoomId, UserId};
use hubbub_common::protocol::{Event, MemberState, Role};
use tokio::sync::Notify;

use super::Tell;
use super::backend::{Directory, Streams};
use super::engine::Engine;
use crate::ws::encode::text_frame;

/// What comes within this is told together.
const GATHER: Duration = Duration::from_millis(100);
/// That wait to be told; what is more is found by whoever lists their rooms.
const WAITING_MAX: usize = 65_536;

/// A user has become a member of a room.
#[derive(Debug, Clone)]
pub struct Entered {
    /// Who.
    pub user: UserId,
    /// Of which room.
    pub room: RoomId,
    /// What they are told: the whole WebSocket frame.
    pub frame: Bytes,
}

/// Those who have yet to be told.
#[derive(Debug, Default)]
pub(super) struct Entrances {
    waiting: RefCell<Vec<Entered>>,
    rung: Notify,
}

impl Entrances {
    pub(super) fn note(&self, user: UserId, room: RoomId, role: Role) {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() < WAITING_MAX {
            let event = Event::Membership { room, user, state: MemberState::Joined, role };
            waiting.push(Entered { user, room, frame: text_frame(|out| event.write_json(out)) });
            self.rung.notify_one();
        }
    }
}

impl<B: Streams + Directory> Engine<B> {
    /// Tells the cores who has become a member of what, for ever.
    pub(super) async fn tell_entrances(self: Rc<Self>) {
        loop {
            self.entrances.rung.notified().await;
            tokio::time::sleep(GATHER).await;
            let mut entered = self.entrances.waiting.take();
            // What came while it gathered has rung once more, and is told already.
            if entered.is_empty() {
                continue;
            }
            entered.sort_by_key(|entered| entered.user);
            let entered: Arc<[Entered]> = entered.into();
            self.state.borrow_mut().tell_all(|| Tell::Entered(Arc::clone(&entered)));
            self.flush();
        }
    }
}
