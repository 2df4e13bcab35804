//! From a core's record to an entry in the stream.
//!
//! Promise: a waiter hears `Stored` only for what stands in the stream, and `Unavailable` only for what does
//! not. Where the connection broke before the reply, the same entry is appended again; readers drop the
//! second of two. Only if the backend stays away, or the entry out of reach, does the waiter hear `Unknown`.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use hubbub_common::entry::encode;
use hubbub_common::ids::UserId;
use hubbub_common::shard::Shard;

use super::backend::{AppendError, BusError, Directory, Streams};
use super::engine::{Appended, Engine, ShardState};
use super::packer::{Full, Pack};
use super::send_rates::SendRates;
use super::task::spawn;
use super::{Answer, Failure, Waiter};

/// How long an entry of unknown outcome is appended again and again.
const UNKNOWN_MAX: Duration = Duration::from_secs(5);
/// Pause between two tries.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

impl<B: Streams + Directory> Engine<B> {
    pub(super) fn publish(
        self: &Rc<Self>,
        shard: Shard,
        record: Vec<u8>,
        nonce: Option<(UserId, Box<str>)>,
        sender: Option<UserId>,
        waiter: Option<Waiter>,
    ) {
        let mut borrowed = self.state.borrow_mut();
        let state = &mut *borrowed;
        let Some(of_shard) = state.shards.get_mut(shard.index()) else { return };
        let first = nonce.and_then(|(user, nonce)| of_shard.dedupe.find(user, &nonce));
        if let Some(first) = first {
            waiter.inspect(|waiter| state.answer(*waiter, Answer::Stored(first)));
            return;
        }
        if let Err(failure) = self.take_in(shard, of_shard, &mut state.send_rates, record, sender, waiter) {
            waiter.inspect(|waiter| state.answer(*waiter, Answer::Failed(failure)));
            return;
        }
        drop(borrowed);
        self.append_next(shard);
    }

    /// Puts a record where the next entry of its shard is made from.
    fn take_in(
        &self,
        shard: Shard,
        of_shard: &mut ShardState,
        send_rates: &mut SendRates,
        record: Vec<u8>,
        sender: Option<UserId>,
        waiter: Option<Waiter>,
    ) -> Result<(), Failure> {
        if !self.is_up() {
            return Err(Failure::Unavailable);
        }
        if let Some(user) = sender.filter(|_| !send_rates.is_off()) {
            let taken = send_rates.take(user, self.clock.elapsed_ms());
            taken.map_err(|retry_after_ms| Failure::RateLimited { retry_after_ms })?;
        }
        if of_shard.packer.is_empty() {
            of_shard.gathering = self.trace.begin(shard);
        }
        of_shard.packer.push(record, waiter).map_err(|Full| Failure::Unavailable)
    }

    /// Appends the next entry of a shard, unless one is in flight.
    fn append_next(self: &Rc<Self>, shard: Shard) {
        let mut state = self.state.borrow_mut();
        let Some(of_shard) = state.shard(shard) else { return };
        let Some(pack) = of_shard.packer.next_pack() else { return };
        let mut span = of_shard.gathering.take();
        if !of_shard.packer.is_empty() {
            of_shard.gathering = self.trace.begin(shard);
        }
        let appending = span.as_mut().and_then(|span| self.trace.append(span, &pack));
        let appended = Appended { at_ms: self.clock.elapsed_ms(), waiters: pack.waiters.clone(), span };
        of_shard.appended.insert(pack.seq, appended);
        let engine = Rc::clone(self);
        spawn(async move {
            engine.append(shard, &pack).await;
            drop(appending);
            if let Some(of_shard) = engine.state.borrow_mut().shard(shard) {
                of_shard.packer.landed();
            }
            engine.append_next(shard);
            engine.flush();
        });
    }

    async fn append(self: &Rc<Self>, shard: Shard, pack: &Pack) {
        let entry = Bytes::from(encode(self.origin, pack.seq, &pack.records));
        let began = self.clock.elapsed();
        let mut failure = Failure::Unavailable;
        loop {
            match self.backend.append(shard, entry.clone()).await {
                Ok(_) => {
                    self.metrics.appends_stored.increment(1);
                    self.metrics.appended_records.increment(pack.records.len() as u64);
                    self.metrics.append_seconds.record(self.clock.elapsed().saturating_sub(began));
                    return;
                }
                Err(AppendError::Refused(error)) => {
                    self.metrics.appends_refused.increment(1);
                    self.append_failed(shard, &BusError(error));
                }
                Err(AppendError::Unknown(error)) => {
                    self.metrics.appends_unknown.increment(1);
                    self.append_failed(shard, &BusError(error));
                    failure = Failure::Unknown;
                }
            }
            // A refusal settles the fate of an entry only if no earlier try may have stored it.
            let settled = failure == Failure::Unavailable;
            if settled || self.clock.elapsed().saturating_sub(began) > UNKNOWN_MAX {
                break;
            }
            if self.has_come_back(shard, pack.seq) {
                return;
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        self.state.borrow_mut().fail_entry(shard, pack.seq, failure);
    }

    /// Sends are refused until the backend answers again; where each shard may have a server of its own, only those
    /// of this shard, one by one.
    fn append_failed(&self, shard: Shard, error: &BusError) {
        if self.backend.shards_fail_apart() {
            tracing::debug!(%shard, %error, "an append failed");
        } else {
            self.set_up(Err(error));
        }
    }

    /// Whether the reader has met the entry in the stream.
    fn has_come_back(&self, shard: Shard, seq: u64) -> bool {
        let mut state = self.state.borrow_mut();
        state.shard(shard).is_none_or(|of_shard| !of_shard.appended.contains_key(&seq))
    }
}
