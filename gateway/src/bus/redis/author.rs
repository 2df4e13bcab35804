//! Who wrote a message: its stream knows while it is not trimmed, then the control plane does ([`hubbub_common::asks`]).

use std::collections::HashMap;
use std::time::Duration;

use hubbub_common::asks::{ASK_MS_MAX, ASKS_MAX, AuthorAnswer, AuthorAsk};
use hubbub_common::clock::now_ms;
use hubbub_common::entry::Entry;
use hubbub_common::ids::{MessageId, RoomId, UserId};
use hubbub_common::keys;
use hubbub_common::redis::range;
use redis::{Value, cmd, pipe};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::{RedisBackend, bus_error};
use crate::bus::backend::BusError;

/// Asks without an answer yet.
#[derive(Debug, Default)]
pub(super) struct Asked {
    next: u64,
    waiting: HashMap<u64, oneshot::Sender<Option<UserId>>>,
}

impl RedisBackend {
    pub(super) async fn author_in_stream(
        &self,
        room: RoomId,
        msg: MessageId,
    ) -> Result<Option<UserId>, BusError> {
        let shard = self.shards.of(room);
        let entry = msg.entry().to_string();
        let mut command = cmd("XRANGE");
        command.arg(keys::bus(shard)).arg(&entry).arg(&entry);
        let reply = command.query_async::<Value>(&mut self.commands()).await.map_err(bus_error)?;
        let entries = range(reply, shard)
            .ok_or_else(|| BusError("XRANGE answered something else than entries".to_owned()))?;
        let entry = entries.first().and_then(|read| Entry::decode(&read.bytes).ok());
        Ok(entry.and_then(|entry| entry.author_in(room, msg.index())))
    }

    /// Where no control plane keeps history there is no older message.
    pub(super) async fn ask_author(&self, room: RoomId, msg: MessageId) -> Result<Option<UserId>, BusError> {
        if !self.has_history {
            return Ok(None);
        }
        let (answer, answered) = oneshot::channel();
        let ticket = {
            let mut asked = self.asked.borrow_mut();
            asked.waiting.retain(|_, waiting| !waiting.is_closed());
            asked.next += 1;
            let ticket = asked.next;
            asked.waiting.insert(ticket, answer);
            ticket
        };
        let ask = AuthorAsk { ticket, run: self.run_id.clone(), room, msg, at_ms: now_ms() };
        let ask = serde_json::to_string(&ask).map_err(|error| BusError(error.to_string()))?;
        let oldest_kept = -isize::try_from(ASKS_MAX).unwrap_or(isize::MAX);
        let mut push = pipe();
        push.cmd("RPUSH").arg(keys::ASKS).arg(&ask).ignore();
        push.cmd("LTRIM").arg(keys::ASKS).arg(oldest_kept).arg(-1).ignore();
        push.query_async::<()>(&mut self.commands()).await.map_err(bus_error)?;
        match timeout(Duration::from_millis(ASK_MS_MAX), answered).await {
            Ok(Ok(author)) => Ok(author),
            Ok(Err(_)) | Err(_) => {
                Err(BusError("the control plane does not say who wrote a message".to_owned()))
            }
        }
    }

    /// Hands an answer of the control plane to whoever waits for it.
    pub(super) fn take_answer(&self, payload: &[u8]) {
        let Ok(answer) = serde_json::from_slice::<AuthorAnswer>(payload) else { return };
        if let Some(waiting) = self.asked.borrow_mut().waiting.remove(&answer.ticket) {
            // Nobody waits any more where it took too long.
            let _ = waiting.send(answer.author);
        }
    }
}
