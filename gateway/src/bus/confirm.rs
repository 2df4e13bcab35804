//! Acknowledgements that wait for replicas as well (`HUBBUB_ACK=replicated`).
//!
//! An entry then has to come back from the stream, which decides its records' ids, and replicas have to confirm
//! it; either may happen first. Receivers do not wait: they get the records when these come back.

use std::collections::HashMap;
use std::future::Future;
use std::rc::Rc;

use hubbub_common::ids::MessageId;
use hubbub_common::shard::Shard;

use super::backend::{Directory, Streams};
use super::engine::{Engine, ShardState, State};
use super::{Answer, Failure, Waiter};

/// By sequence number of a shard's entries: those whose replication is not settled, or that have not come back.
#[derive(Debug, Default)]
pub(super) struct Confirmations(HashMap<u64, Confirmation>);

#[derive(Debug)]
enum Confirmation {
    /// These are answered once replicas have the entry.
    Awaited(Vec<(Waiter, MessageId)>),
    /// Replicas have it; it has not come back yet.
    Given,
}

impl Confirmations {
    /// The entry goes out.
    pub(super) fn await_for(&mut self, seq: u64) {
        self.0.insert(seq, Confirmation::Awaited(Vec::new()));
    }

    /// A record of the entry has come back; gives back who can be answered now.
    pub(super) fn hold(&mut self, seq: u64, waiter: Waiter, id: MessageId) -> Option<Waiter> {
        match self.0.get_mut(&seq) {
            Some(Confirmation::Awaited(held)) => {
                held.push((waiter, id));
                None
            }
            Some(Confirmation::Given) | None => Some(waiter),
        }
    }

    /// The whole entry has come back.
    pub(super) fn came_back(&mut self, seq: u64) {
        if matches!(self.0.get(&seq), Some(Confirmation::Given)) {
            self.0.remove(&seq);
        }
    }

    /// Nobody waits for the entry any more; gives those who did.
    pub(super) fn give_up(&mut self, seq: u64) -> Vec<(Waiter, MessageId)> {
        match self.0.remove(&seq) {
            Some(Confirmation::Awaited(held)) => held,
            Some(Confirmation::Given) | None => Vec::new(),
        }
    }

    /// Replicas have the entry; gives those who can be answered now.
    fn give(&mut self, seq: u64, has_come_back: bool) -> Vec<(Waiter, MessageId)> {
        let held = self.give_up(seq);
        if !has_come_back {
            self.0.insert(seq, Confirmation::Given);
        }
        held
    }
}

impl State {
    /// The fate of an entry is unknown, and stays so.
    pub(super) fn fail_entry(&mut self, shard: Shard, seq: u64, failure: Failure) {
        let Some(of_shard) = self.shard(shard) else { return };
        let waiters = of_shard.appended.remove(&seq).map(|appended| appended.waiters);
        let held = of_shard.confirmations.give_up(seq);
        self.fail(&waiters.unwrap_or_default(), failure);
        for (waiter, _) in held {
            self.answer(waiter, Answer::Failed(failure));
        }
    }
}

impl<B: Streams + Directory> Engine<B> {
    /// Waits for replicas in a task of its own: the next entry goes out meanwhile.
    pub(super) fn confirm(self: &Rc<Self>, shard: Shard, seq: u64) {
        if !self.backend.awaits_replicas() {
            return;
        }
        let confirmed = self.backend.replicated(shard);
        tokio::task::spawn_local(Rc::clone(self).settle(shard, seq, confirmed));
    }

    async fn settle(self: Rc<Self>, shard: Shard, seq: u64, confirmed: impl Future<Output = bool>) {
        let confirmed = confirmed.await;
        let mut state = self.state.borrow_mut();
        if confirmed {
            let give = |of_shard: &mut ShardState| {
                let has_come_back = !of_shard.appended.contains_key(&seq);
                of_shard.confirmations.give(seq, has_come_back)
            };
            for (waiter, id) in state.shard(shard).map(give).unwrap_or_default() {
                state.answer(waiter, Answer::Stored(id));
            }
        } else {
            // Stored, but perhaps nowhere else: the sender repeats it with the same nonce.
            self.metrics.unconfirmed.increment(1);
            state.fail_entry(shard, seq, Failure::Unknown);
        }
        drop(state);
        self.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiter(ticket: u32) -> Waiter {
        Waiter { core: 0, ticket }
    }

    #[test]
    fn an_answer_waits_for_both_in_either_order() {
        let id = MessageId::ZERO;
        let mut confirmations = Confirmations::default();
        confirmations.await_for(1);
        assert_eq!(confirmations.hold(1, waiter(1), id), None);
        confirmations.came_back(1);
        assert_eq!(confirmations.give(1, true), [(waiter(1), id)]);

        confirmations.await_for(2);
        assert_eq!(confirmations.give(2, false), []);
        assert_eq!(confirmations.hold(2, waiter(2), id), Some(waiter(2)));
        confirmations.came_back(2);

        confirmations.await_for(3);
        confirmations.hold(3, waiter(3), id);
        assert_eq!(confirmations.give_up(3), [(waiter(3), id)]);
        assert!(confirmations.0.is_empty());
        // Where nobody waits for replicas, nothing is held.
        assert_eq!(confirmations.hold(4, waiter(4), id), Some(waiter(4)));
    }
}
