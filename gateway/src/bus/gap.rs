//! Noticing that the streams are not what was read so far, and telling the sessions.
//!
//! Two things can happen while a reader is away. Entries behind its cursor may be trimmed before it read them:
//! then sessions missed something, and hear so before the first event that follows. Or the data may be other
//! data: a Redis that was restarted empty, or from an older snapshot, or a replica that had not got everything.
//! Then everything known of the stream is forgotten and read anew, and sessions hear the same.
//!
//! A survey tells. It is made on each new connection before anything is read from it, when a heartbeat met another
//! epoch, and after a read that came so late that trimming may have been faster. Where it can't tell of some shards,
//! because their servers are away, the others are read meanwhile, and it is made again when something comes of these, or
//! after a while.
//! Entries are counted: a stream says how many were ever appended and how many it holds, so what it lost at its
//! beginning is known exactly, and compared with how many the cursor has passed.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use hubbub_common::clock::now_ms;
use hubbub_common::dedupe::Dedupe;
use hubbub_common::ids::{EntryId, MessageId};
use hubbub_common::redis::{Epoch, Extent};
use hubbub_common::shard::Shard;

use super::backend::{BusError, Directory, Footing, ReadEntry, Streams, Survey};
use super::engine::{Engine, Reading, State};
use super::{Failure, Tell};

/// How soon a survey that could not tell of all shards is made again.
const SURVEY_AGAIN_MS: u64 = 10_000;

/// What makes the reader look twice.
#[derive(Debug)]
pub(super) struct Watch {
    /// Which data is read.
    epoch: Cell<Option<Epoch>>,
    /// Which data the last heartbeat met.
    heard: Cell<Option<Epoch>>,
    /// When the last successful read was asked for: Unix milliseconds, and milliseconds of uptime.
    asked_ms: Cell<(u64, u64)>,
    /// Gaps so far.
    gaps: Cell<u64>,
    /// Shards that the last survey could not tell of, and whether their data is other data than before.
    unsurveyed: RefCell<HashMap<Shard, bool>>,
    /// When that was, milliseconds of uptime.
    surveyed_ms: Cell<u64>,
}

impl Watch {
    pub(super) fn new() -> Self {
        Self {
            epoch: Cell::new(None),
            heard: Cell::new(None),
            asked_ms: Cell::new((0, 0)),
            gaps: Cell::new(0),
            unsurveyed: RefCell::default(),
            surveyed_ms: Cell::new(0),
        }
    }

    pub(super) fn epoch(&self) -> Option<Epoch> {
        self.epoch.get()
    }

    /// Rises with each gap: what was looked up before it may have been changed within it.
    pub(super) fn gaps(&self) -> u64 {
        self.gaps.get()
    }
}

/// What a survey says about a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// All that was read is there, and what follows is whole.
    Whole,
    /// Entries after the cursor were trimmed.
    Trimmed,
    /// It is not the stream that was read.
    Rewritten,
}

/// Judges by what was just read after the cursor, too: trimming may have gone on since. `counts_prove` that nothing was
/// missed where the server is the one that was read from: on another one, entries may have taken the places of as many
/// that were lost, and where the cursor's entry is trimmed nothing tells.
fn judge(cursor: EntryId, passed: u64, footing: &Footing, read: &[EntryId], counts_prove: bool) -> Verdict {
    let extent = &footing.extent;
    let is_cursor_trimmed = match extent.ends {
        Some((first, _)) => cursor < first,
        None => cursor <= extent.last,
    };
    let has_vanished = cursor > EntryId::ZERO && !footing.has_cursor && !is_cursor_trimmed;
    // With the cursor's entry, all that were passed would have been trimmed.
    let begins_too_late = is_cursor_trimmed && extent.trimmed() < passed;
    let is_unproven = is_cursor_trimmed && cursor > EntryId::ZERO && cursor != extent.last && !counts_prove;
    if has_vanished || begins_too_late || extent.added < passed {
        Verdict::Rewritten
    } else if trimmed_unread(extent, read) > passed || is_unproven {
        Verdict::Trimmed
    } else {
        Verdict::Whole
    }
}

/// Entries removed from the stream's beginning, but for those just read.
fn trimmed_unread(extent: &Extent, read: &[EntryId]) -> u64 {
    let trimmed_since = read.iter().filter(|id| is_trimmed(extent, **id)).count();
    extent.trimmed().saturating_sub(trimmed_since as u64)
}

fn is_trimmed(extent: &Extent, id: EntryId) -> bool {
    extent.ends.is_none_or(|(first, _)| id < first)
}

/// Where reading goes on behind a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Onward {
    /// Events up to this one were perhaps missed.
    lost_to: MessageId,
    /// Entries appended before the one that comes next.
    passed: u64,
    /// Whether what was just read comes next. Where trimming has passed all of it, the gap may be behind it.
    takes_read: bool,
}

fn onward(extent: &Extent, read: &[EntryId]) -> Onward {
    match (read.first(), read.last(), extent.ends) {
        (Some(next), Some(last), _) if !is_trimmed(extent, *last) => Onward {
            lost_to: MessageId::before(*next),
            passed: trimmed_unread(extent, read),
            takes_read: true,
        },
        (_, _, Some((first, _))) => {
            Onward { lost_to: MessageId::before(first), passed: extent.trimmed(), takes_read: false }
        }
        (_, _, None) => {
            Onward { lost_to: MessageId::through(extent.last), passed: extent.trimmed(), takes_read: false }
        }
    }
}

impl<B: Streams + Directory> Engine<B> {
    /// The heartbeat met this data.
    pub(super) async fn heard_epoch(&self, epoch: Epoch) {
        self.watch.heard.set(Some(epoch));
        if self.watch.epoch.get().is_some_and(|known| known != epoch) {
            self.backend.interrupt_read().await;
        }
    }

    /// Entries after the cursors. What is wrong with the streams is put right before they are given.
    pub(super) async fn read_surveyed(
        self: &Rc<Self>,
        cursors: &[(Shard, EntryId)],
    ) -> Result<Vec<ReadEntry>, BusError> {
        if self.is_in_doubt() || self.is_survey_due() {
            let survey = self.backend.survey(cursors).await?;
            if self.put_right(cursors, &survey, &mut Vec::new(), false) {
                return Ok(Vec::new());
            }
        }
        let asked_ms = (now_ms(), self.clock.elapsed_ms());
        let mut entries = self.backend.read(cursors).await?;
        if !self.backend.is_surveyed() {
            // They come from who knows where, and are read again.
            return Ok(Vec::new());
        }
        let is_same_server = !self.is_in_doubt() && !self.has_unsurveyed(&entries);
        if !is_same_server || self.comes_late(&entries) || self.has_skipped(&entries) {
            let survey = self.backend.survey(cursors).await?;
            self.put_right(cursors, &survey, &mut entries, is_same_server);
        }
        self.watch.asked_ms.set(asked_ms);
        Ok(entries)
    }

    fn is_in_doubt(&self) -> bool {
        let (known, heard) = (self.watch.epoch.get(), self.watch.heard.get());
        !self.backend.is_surveyed() || known.is_none() || heard.is_some_and(|heard| known != Some(heard))
    }

    /// Whether shards that the last survey could not tell of have waited for long: nothing may ever come of them.
    fn is_survey_due(&self) -> bool {
        !self.watch.unsurveyed.borrow().is_empty()
            && self.clock.elapsed_ms().saturating_sub(self.watch.surveyed_ms.get()) > SURVEY_AGAIN_MS
    }

    /// Whether something is of a shard that the last survey could not tell of.
    fn has_unsurveyed(&self, entries: &[ReadEntry]) -> bool {
        let unsurveyed = self.watch.unsurveyed.borrow();
        !unsurveyed.is_empty() && entries.iter().any(|entry| unsurveyed.contains_key(&entry.shard))
    }

    /// Whether the end that a shard was to catch up with was trimmed before it was read.
    fn has_skipped(&self, entries: &[ReadEntry]) -> bool {
        let state = self.state.borrow();
        let is_behind = |entry: &ReadEntry| match state.reading(entry.shard) {
            Some(Reading::CatchingUp { until, .. }) => entry.id > until,
            Some(Reading::Off | Reading::Starting | Reading::Live { .. }) | None => false,
        };
        // Those of a shard come together and in order; behind the end itself nothing is skipped.
        entries.chunk_by(|one, next| one.shard == next.shard).filter_map(<[_]>::first).any(is_behind)
    }

    /// Whether trimming may have been faster than the reader. Both clocks count: one stands still while the
    /// machine sleeps, the other one can be set back.
    fn comes_late(&self, entries: &[ReadEntry]) -> bool {
        let late_ms = self.resume_window_ms / 2;
        let (now_ms, uptime_ms) = (now_ms(), self.clock.elapsed_ms());
        let (asked_ms, asked_uptime_ms) = self.watch.asked_ms.get();
        if now_ms.saturating_sub(asked_ms).max(uptime_ms.saturating_sub(asked_uptime_ms)) > late_ms {
            return true;
        }
        let state = self.state.borrow();
        let is_live = |shard: Shard| state.reading(shard).is_some_and(Reading::is_live);
        entries.iter().any(|entry| entry.id.ms.saturating_add(late_ms) < now_ms && is_live(entry.shard))
    }

    /// Acts on a survey; whether cursors changed. Entries that must not be taken are removed.
    fn put_right(
        self: &Rc<Self>,
        cursors: &[(Shard, EntryId)],
        survey: &Survey,
        entries: &mut Vec<ReadEntry>,
        is_same_server: bool,
    ) -> bool {
        self.watch.surveyed_ms.set(self.clock.elapsed_ms());
        let known = self.watch.epoch.replace(Some(survey.epoch));
        let other_data = known.is_some_and(|known| known != survey.epoch);
        let (mut gaps, mut restarted, mut went_live) = (Vec::new(), false, false);
        let mut state = self.state.borrow_mut();
        if known.is_none() {
            // Clients may have come before; the data that they came by may have been other data.
            state.tell_all(|| Tell::CheckLogins);
        }
        let mut unsurveyed = self.watch.unsurveyed.borrow_mut();
        for ((shard, cursor), footing) in cursors.iter().zip(&survey.footings) {
            let was_other_data = unsurveyed.remove(shard).unwrap_or(false);
            let Some(footing) = footing else {
                // What was read of it has to wait for the next survey.
                unsurveyed.insert(*shard, other_data || was_other_data);
                entries.retain(|entry| entry.shard != *shard);
                continue;
            };
            let of_shard = |entry: &&ReadEntry| entry.shard == *shard;
            let read: Vec<EntryId> = entries.iter().filter(of_shard).map(|entry| entry.id).collect();
            let Some(of_shard) = state.shard(*shard) else { continue };
            // Or where sessions were told that all before the stream's beginning may be missing.
            let counts_prove = is_same_server
                || footing
                    .extent
                    .ends
                    .is_some_and(|(first, _)| of_shard.read_from >= MessageId::before(first));
            let verdict = match of_shard.reading {
                _ if other_data || was_other_data => Verdict::Rewritten,
                Reading::Live { passed, .. } => judge(*cursor, passed, footing, &read, counts_prove),
                // All that it was to catch up with, and perhaps more, is gone.
                Reading::CatchingUp { until, .. } if read.first().is_some_and(|next| *next > until) => {
                    Verdict::Trimmed
                }
                Reading::Off | Reading::Starting | Reading::CatchingUp { .. } => Verdict::Whole,
            };
            match verdict {
                Verdict::Whole => {}
                Verdict::Trimmed => {
                    let Onward { lost_to, passed, takes_read } = onward(&footing.extent, &read);
                    let is_missed = match of_shard.reading {
                        // Rooms are joined behind it; sessions are there before the notices are read.
                        Reading::CatchingUp { told_to, .. } => {
                            *shard == Shard::CONTROL || MessageId::through(told_to) < lost_to
                        }
                        Reading::Off | Reading::Starting | Reading::Live { .. } => true,
                    };
                    of_shard.reading = Reading::Live { cursor: *cursor, passed };
                    of_shard.read_from = of_shard.read_from.max(lost_to);
                    state.window.raise(lost_to, |room| self.shards.of(room) == *shard);
                    if !takes_read {
                        entries.retain(|entry| entry.shard != *shard);
                    }
                    if is_missed {
                        self.metrics.gaps_trimmed.increment(1);
                        gaps.push((*shard, lost_to));
                    }
                    went_live = true;
                }
                Verdict::Rewritten => {
                    entries.retain(|entry| entry.shard != *shard);
                    self.read_anew(&mut state, *shard, *cursor, &footing.extent);
                    self.metrics.gaps_rewritten.increment(1);
                    let untold_to = state.shard(*shard).map_or(MessageId::ZERO, |of_shard| {
                        // What is older than the window is not told, also where it is newer than the cursor. Of an
                        // empty stream everything is.
                        of_shard.read_from.min(MessageId::through(footing.extent.last))
                    });
                    gaps.push((*shard, untold_to.max(MessageId::through(*cursor))));
                    restarted = true;
                }
            }
        }
        if !gaps.is_empty() {
            tracing::warn!(
                shards = gaps.len(),
                other_data,
                "events were missed: clients are told to read history"
            );
            self.watch.gaps.set(self.watch.gaps.get() + 1);
            let gaps: Rc<[_]> = gaps.into();
            state.tell_all(|| Tell::Gap(gaps.iter().copied().collect()));
        }
        drop((state, unsurveyed));
        if went_live {
            self.shards_changed.notify_waiters();
        }
        self.flush();
        restarted
    }

    /// Forgets a stream that is not there any more, and begins with the one in its place. Sessions go on with
    /// what is later than all they were told, as ids are times.
    fn read_anew(self: &Rc<Self>, state: &mut State, shard: Shard, told_to: EntryId, extent: &Extent) {
        state.window.forget(|room| self.shards.of(room) == shard);
        state.deleted.forget(|room| self.shards.of(room) == shard);
        let Some(of_shard) = state.shard(shard) else { return };
        of_shard.dedupe = Dedupe::new(self.resume_window_ms);
        of_shard.scans.forget();
        // What was appended and has not come back may be gone. The entry in flight is appended until it is there.
        let in_flight = of_shard.packer.in_flight();
        let lost: Vec<u64> =
            of_shard.appended.keys().copied().filter(|seq| Some(*seq) != in_flight).collect();
        for seq in lost {
            state.fail_entry(shard, seq, Failure::Unknown);
        }
        self.catch_up(state, shard, extent, told_to);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(ms: u64) -> EntryId {
        EntryId { ms, seq: 0 }
    }

    /// A stream with an entry in each millisecond up to `added`, the first `trimmed` of them removed.
    fn extent(added: u64, trimmed: u64) -> Extent {
        let ends = (trimmed < added).then(|| (id(trimmed + 1), id(added)));
        Extent { ends, last: id(added), added, length: added - trimmed }
    }

    proptest! {
        /// A gap is noticed exactly where an entry was trimmed that was neither passed nor just read, and what
        /// is counted as passed afterwards are the entries before the one that comes next.
        #[test]
        fn a_gap_is_noticed_and_nothing_else(
            added in 1u64..40,
            passed in 0u64..40,
            trimmed in 0u64..40,
            trimmed_when_read in 0u64..40,
            count in 0usize..40,
        ) {
            let (passed, trimmed) = (passed.min(added), trimmed.min(added));
            let read_from = passed.max(trimmed_when_read.min(trimmed)) + 1;
            let read: Vec<EntryId> = (read_from..=added).take(count).map(id).collect();
            let lost: Vec<u64> = (passed + 1..=trimmed).filter(|ms| !read.contains(&id(*ms))).collect();
            let footing = Footing { extent: extent(added, trimmed), has_cursor: passed > trimmed };
            let verdict = judge(id(passed), passed, &footing, &read, true);
            prop_assert_eq!(verdict == Verdict::Trimmed, !lost.is_empty(), "{:?}", lost);
            prop_assert_ne!(verdict, Verdict::Rewritten);
            let Some(last_lost) = lost.last() else { return Ok(()) };
            let onward = onward(&footing.extent, &read);
            let next = if onward.takes_read { read[0].ms } else { trimmed + 1 };
            prop_assert!(next > *last_lost);
            prop_assert_eq!(onward.passed + 1, next);
        }
    }

    #[test]
    fn another_stream_is_noticed() {
        let check = |cursor: u64, passed: u64, extent: Extent, has_cursor: bool, expected: Verdict| {
            let footing = Footing { extent, has_cursor };
            assert_eq!(judge(id(cursor), passed, &footing, &[], true), expected, "{footing:?}");
        };
        check(0, 0, Extent::default(), false, Verdict::Whole);
        check(9, 9, extent(9, 0), true, Verdict::Whole);
        check(9, 9, extent(9, 9), false, Verdict::Whole);
        // Empty.
        check(9, 9, Extent::default(), false, Verdict::Rewritten);
        // Restored from when it was shorter, and new entries since then.
        check(9, 9, extent(5, 0), false, Verdict::Rewritten);
        let rewritten = Extent { ends: Some((id(1), id(30))), last: id(30), added: 20, length: 20 };
        check(9, 9, rewritten, false, Verdict::Rewritten);
        // All lost in a fail-over, and as many new entries since then.
        let as_many = Extent { ends: Some((id(20), id(28))), last: id(28), added: 9, length: 9 };
        check(9, 9, as_many, false, Verdict::Rewritten);
        // Two were lost in a fail-over, others came, and all of them were trimmed but for one.
        let footing = Footing { extent: extent(10, 9), has_cursor: false };
        assert_eq!(judge(id(9), 9, &footing, &[], true), Verdict::Whole);
        assert_eq!(judge(id(9), 9, &footing, &[], false), Verdict::Trimmed);
        // Nothing came.
        let footing = Footing { extent: extent(9, 9), has_cursor: false };
        assert_eq!(judge(id(9), 9, &footing, &[], false), Verdict::Whole);
        // Removed by hand, and new entries since then.
        let anew = Extent { ends: Some((id(20), id(21))), last: id(21), added: 2, length: 2 };
        check(9, 9, anew, false, Verdict::Rewritten);
    }
}
