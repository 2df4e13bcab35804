//! From a shard that nobody reads to one whose joins can be answered.
//!
//! The extent of the stream is looked up, and what lies in the window before its end is read without telling
//! anybody. Then the extent is looked up once more: trimming goes on at the very place where reading begins,
//! and only what is still there afterwards was certainly read. The same happens again to a shard whose stream
//! is not the one that was read ([`super::gap`]).

use std::rc::Rc;
use std::time::Duration;

use hubbub_common::clock::now_ms;
use hubbub_common::dedupe::memory_ms;
use hubbub_common::ids::{EntryId, MessageId};
use hubbub_common::redis::Extent;
use hubbub_common::shard::Shard;
use tokio::time::{sleep, timeout};

use super::Tell;
use super::backend::{BusError, Directory, Streams};
use super::engine::{Engine, Reading, State};
use super::task::spawn;

/// How long a shard may take to catch up before it is looked whether there is anything left to read.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How far the start of a shard has come.
#[derive(Debug, Default)]
pub(super) struct Start {
    /// What was trimmed while the shard caught up is known.
    pub(super) settled: bool,
    /// Counts starts, so that an earlier one does not meddle with a later one.
    pub(super) attempt: u64,
    /// Times that the backend did not answer, for joins that wait.
    failures: u64,
}

impl<B: Streams + Directory> Engine<B> {
    /// Waits until a shard is read up to what was its end when the first session asked.
    pub(super) async fn read_shard(self: &Rc<Self>, shard: Shard) -> Result<(), BusError> {
        let mut failures_before = None;
        loop {
            let changed = self.shards_changed.notified();
            {
                let mut state = self.state.borrow_mut();
                let Some(of_shard) = state.shard(shard) else { return Ok(()) };
                if of_shard.is_ready() {
                    return Ok(());
                }
                let failures = of_shard.start.failures;
                if failures > *failures_before.get_or_insert(failures) {
                    return Err(BusError(format!("shard {shard} could not be read")));
                }
                if of_shard.reading == Reading::Off {
                    of_shard.reading = Reading::Starting;
                    // In a task of its own: whoever asked first may give up meanwhile.
                    let engine = Rc::clone(self);
                    spawn(async move {
                        // Whoever waits sees that it failed.
                        let _ = engine.start_reading(shard).await;
                    });
                }
            }
            changed.await;
        }
    }

    /// Begins to read a shard.
    pub(super) async fn start_reading(self: &Rc<Self>, shard: Shard) -> Result<(), BusError> {
        if let Some(of_shard) = self.state.borrow_mut().shard(shard) {
            of_shard.reading = Reading::Starting;
        }
        loop {
            let epoch = self.watch.epoch();
            match self.backend.extent(shard).await {
                Ok(extent) if self.watch.epoch() == epoch || epoch.is_none() => {
                    self.catch_up(&mut self.state.borrow_mut(), shard, &extent, EntryId::MAX);
                    break;
                }
                // Of data that is gone.
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(%shard, %error, "reading could not begin");
                    if let Some(of_shard) = self.state.borrow_mut().shard(shard) {
                        of_shard.reading = Reading::Off;
                        of_shard.start.failures += 1;
                    }
                    self.shards_changed.notify_waiters();
                    return Err(error);
                }
            }
        }
        self.shards_changed.notify_waiters();
        self.backend.interrupt_read().await;
        Ok(())
    }

    /// Begins to read a shard that has this extent. Sessions were told what is up to `told_to`.
    pub(super) fn catch_up(
        self: &Rc<Self>,
        state: &mut State,
        shard: Shard,
        extent: &Extent,
        told_to: EntryId,
    ) {
        let now_ms = now_ms();
        let start = EntryId { ms: now_ms.saturating_sub(self.resume_window_ms), seq: 0 };
        let remembered = EntryId { ms: now_ms.saturating_sub(memory_ms(self.resume_window_ms)), seq: 0 };
        let Some(of_shard) = state.shard(shard) else { return };
        of_shard.read_from = read_from(extent, start, now_ms);
        of_shard.reading = match extent.ends {
            // Also where all of it is older than the window: Redis' clock may be behind, and what comes next within the
            // window of it.
            Some((_, until)) if until > remembered => {
                Reading::CatchingUp { cursor: remembered, until, added: extent.added, told_to }
            }
            Some((_, cursor)) => Reading::Live { cursor, passed: extent.added },
            None => Reading::Live { cursor: extent.last, passed: extent.added },
        };
        of_shard.start.settled = false;
        of_shard.start.attempt += 1;
        let attempt = of_shard.start.attempt;
        spawn(Rc::clone(self).settle_start(shard, start, attempt));
    }

    async fn settle_start(self: Rc<Self>, shard: Shard, start: EntryId, attempt: u64) {
        loop {
            let changed = self.shards_changed.notified();
            let is_live = match self.state.borrow_mut().shard(shard) {
                Some(of_shard) if of_shard.start.attempt == attempt => of_shard.reading.is_live(),
                Some(_) | None => return,
            };
            if !is_live && timeout(LOOK_AGAIN, changed).await.is_ok() {
                continue;
            }
            match self.backend.extent(shard).await {
                Ok(extent) if self.note_trimmed(shard, start, attempt, &extent) => break,
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(%shard, %error, "what was trimmed could not be looked up");
                    if let Some(of_shard) = self.state.borrow_mut().shard(shard) {
                        of_shard.start.failures += 1;
                    }
                    self.shards_changed.notify_waiters();
                    sleep(LOOK_AGAIN).await;
                }
            }
        }
        self.shards_changed.notify_waiters();
    }

    /// Whether that was the last thing to know.
    fn note_trimmed(&self, shard: Shard, start: EntryId, attempt: u64, extent: &Extent) -> bool {
        let mut state = self.state.borrow_mut();
        let Some(of_shard) = state.shard(shard) else { return true };
        if of_shard.start.attempt != attempt {
            return true;
        }
        if let Reading::CatchingUp { cursor, .. } = of_shard.reading {
            if extent.ends.is_some_and(|(_, newest)| newest > cursor) {
                return false;
            }
            // All that was still to be read is trimmed.
            of_shard.reading = Reading::Live { cursor, passed: extent.added };
        }
        of_shard.start.settled = true;
        let trimmed_to = match extent.ends {
            Some((first, _)) if first <= start => MessageId::ZERO,
            Some((first, _)) => MessageId::before(first),
            None => MessageId::through(extent.last),
        };
        if trimmed_to > of_shard.read_from {
            of_shard.read_from = trimmed_to;
            state.window.raise(trimmed_to, |room| self.shards.of(room) == shard);
            // Sessions that were there before, where the stream is another one than they were told of.
            state.tell_interested(shard, || Tell::Gap([(shard, trimmed_to)].into()));
        }
        true
    }
}

/// After which event every one is read, by whoever begins after `start`.
fn read_from(extent: &Extent, start: EntryId, now_ms: u64) -> MessageId {
    match extent.ends {
        Some((first, newest)) if first <= start => MessageId::through(start.min(newest)),
        // What was before it is trimmed, or was lost by a Redis that was restarted empty.
        Some((first, _)) => MessageId::before(first),
        None if extent.last > EntryId::ZERO => MessageId::through(extent.last),
        None => MessageId::floor_of_ms(now_ms),
    }
}

#[cfg(test)]
mod tests {
    use hubbub_common::ids::MESSAGE_EPOCH_MS;

    use super::*;

    #[test]
    fn nothing_is_taken_for_read_that_may_have_been_before_the_stream() {
        let id = |ms| EntryId { ms: MESSAGE_EPOCH_MS + ms, seq: 0 };
        let check = |ends: Option<(u64, u64)>, last: EntryId, expected: MessageId| {
            let ends = ends.map(|(first, newest)| (id(first), id(newest)));
            let extent = Extent { ends, last, added: 9, length: 1 };
            assert_eq!(read_from(&extent, id(100), MESSAGE_EPOCH_MS + 200), expected, "{extent:?}");
        };
        check(Some((50, 150)), id(150), MessageId::through(id(100)));
        check(Some((50, 80)), id(80), MessageId::through(id(80)));
        check(Some((120, 150)), id(150), MessageId::before(id(120)));
        check(None, id(90), MessageId::through(id(90)));
        check(None, EntryId::ZERO, MessageId::floor_of_ms(MESSAGE_EPOCH_MS + 200));
    }
}
