//! Edits, deletions and reactions: who wrote the message decides, then they go the way of every record.
//!
//! Most messages that are changed are recent, so the window knows them; older ones stand in their stream, and
//! those behind that are known to the control plane. One that was deleted can't be changed.

use std::rc::Rc;

use hubbub_common::ids::{MessageId, RoomId, UserId};
use hubbub_common::protocol::Role;
use serde::Deserialize;

use super::backend::{BusError, Directory, Streams};
use super::engine::{ANSWER_MAX, Engine};
use super::task::spawn;
use super::{Answer, Change, Failure, Right, Waiter};
use crate::ws::encode::payload;

impl<B: Streams + Directory> Engine<B> {
    pub(super) fn change(self: &Rc<Self>, change: Change, waiter: Waiter) {
        let engine = Rc::clone(self);
        spawn(async move {
            let outcome = match tokio::time::timeout(ANSWER_MAX, engine.check(&change)).await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(error)) => {
                    tracing::debug!(%error, "nobody can say who wrote a message");
                    Err(Failure::Unavailable)
                }
                Err(_) => Err(Failure::Unavailable),
            };
            match outcome {
                Ok(()) => {
                    let (shard, sender) = (engine.shards.of(change.room), Some(change.user));
                    engine.publish(shard, change.record, None, sender, Some(waiter));
                }
                Err(failure) => engine.state.borrow_mut().answer(waiter, Answer::Failed(failure)),
            }
            engine.flush();
        });
    }

    async fn check(&self, change: &Change) -> Result<Result<(), Failure>, BusError> {
        let Some(author) = self.author(change.room, change.msg).await? else {
            return Ok(Err(Failure::NotFound));
        };
        let may = match change.right {
            Right::Anybody => true,
            Right::Author => author == change.user,
            Right::AuthorOrAdmin => author == change.user || self.is_admin(change.user, change.room).await?,
        };
        Ok(if may { Ok(()) } else { Err(Failure::Forbidden) })
    }

    async fn author(&self, room: RoomId, msg: MessageId) -> Result<Option<UserId>, BusError> {
        let recent = {
            let state = self.state.borrow();
            if state.deleted.contains(room, msg) {
                return Ok(None);
            }
            state.window.find(room, msg).map(|frame| author_of(payload(frame)))
        };
        match recent {
            Some(author) => Ok(author),
            None => self.backend.author(room, msg).await,
        }
    }

    async fn is_admin(&self, user: UserId, room: RoomId) -> Result<bool, BusError> {
        let roles = self.backend.roles(user, &[room]).await?;
        Ok(roles.first().copied().flatten().is_some_and(Role::is_admin))
    }
}

/// Who wrote a message, if the event is one.
fn author_of(event: &[u8]) -> Option<UserId> {
    #[derive(Deserialize)]
    struct Message<'a> {
        op: &'a str,
        from: Option<UserId>,
    }
    let event: Message<'_> = serde_json::from_slice(event).ok()?;
    event.from.filter(|_| event.op == "message")
}
