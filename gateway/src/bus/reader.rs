//! From the streams to the cores: the one place where ids are decided.
//!
//! Entries are handled in stream order. A repeat is dropped here, for delivery and acknowledgement alike, by
//! the same rule as in every other reader ([`hubbub_common::dedupe`]).

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hubbub_common::clock::now_ms;
use hubbub_common::dedupe::Verdict;
use hubbub_common::entry::{Entry, Notice, Record};
use hubbub_common::ids::{EntryId, MessageId};
use hubbub_common::protocol::RoomChange;
use hubbub_common::shard::Shard;
use hubbub_common::token::LoginMark;

use super::backend::{Directory, ReadEntry, Streams};
use super::engine::{Engine, Reading, State};
use super::{Answer, Audience, Event, Failure, Tell};
use crate::ws::encode::text_frame;

/// Pauses between tries while the backend is away.
const AWAY_PAUSES_MS: [u64; 5] = [50, 100, 200, 500, 1_000];
/// How often a congested inbox is tried again.
const CONGESTION_PAUSE: Duration = Duration::from_millis(1);

impl<B: Streams + Directory> Engine<B> {
    /// Reads the streams for ever.
    pub(super) async fn read_streams(self: Rc<Self>) {
        let mut failures = 0;
        loop {
            self.pause().await;
            if self.state.borrow().reading(Shard::CONTROL) == Some(Reading::Off)
                && let Err(error) = self.start_reading(Shard::CONTROL).await
            {
                self.set_up(Err(&error));
                pause(&mut failures).await;
                continue;
            }
            let cursors = self.cursors();
            let began = self.clock.elapsed();
            match self.read_surveyed(&cursors).await {
                Ok(entries) => {
                    if !entries.is_empty() {
                        self.metrics.read_seconds.record(self.clock.elapsed().saturating_sub(began));
                    }
                    failures = 0;
                    self.set_up(Ok(()));
                    self.take_entries(&entries);
                    self.flush();
                    while self.is_congested() {
                        tokio::time::sleep(CONGESTION_PAUSE).await;
                        self.flush();
                    }
                }
                Err(error) => {
                    self.set_up(Err(&error));
                    pause(&mut failures).await;
                }
            }
        }
    }

    /// Hears the live channels for ever.
    pub(super) async fn hear(self: Rc<Self>) {
        let mut failures = 0;
        loop {
            match self.backend.hear().await {
                Ok(entries) => {
                    failures = 0;
                    for bytes in entries {
                        self.take_said(&bytes);
                    }
                    self.flush();
                }
                Err(error) => {
                    tracing::debug!(%error, "live channels are not heard");
                    pause(&mut failures).await;
                }
            }
        }
    }

    fn cursors(&self) -> Vec<(Shard, EntryId)> {
        let state = self.state.borrow();
        let cursor = |shard: Shard| match state.reading(shard)? {
            Reading::CatchingUp { cursor, .. } | Reading::Live { cursor, .. } => Some((shard, cursor)),
            Reading::Off | Reading::Starting => None,
        };
        self.shards.all().chain([Shard::CONTROL]).filter_map(cursor).collect()
    }

    fn take_entries(&self, entries: &[ReadEntry]) {
        self.metrics.read_entries.increment(entries.len() as u64);
        let (now_ms, uptime_ms) = (now_ms(), self.clock.elapsed_ms());
        let mut state = self.state.borrow_mut();
        let mut went_live = false;
        for entry in entries {
            self.take_entry(&mut state, entry, uptime_ms);
            let Some(of_shard) = state.shard(entry.shard) else { continue };
            if matches!(of_shard.reading, Reading::Live { .. }) {
                let age_ms = now_ms.saturating_sub(entry.id.ms);
                self.metrics.entry_age_seconds.record(Duration::from_millis(age_ms));
                of_shard.lag_ms = of_shard.lag_ms.max(age_ms);
            }
            of_shard.reading = match of_shard.reading {
                Reading::CatchingUp { until, added, told_to, .. } if entry.id < until => {
                    Reading::CatchingUp { cursor: entry.id, until, added, told_to }
                }
                // It is at `until`: a survey has seen to those that were trimmed.
                Reading::CatchingUp { added, .. } => {
                    went_live = true;
                    Reading::Live { cursor: entry.id, passed: added }
                }
                Reading::Live { passed, .. } => Reading::Live { cursor: entry.id, passed: passed + 1 },
                off @ (Reading::Off | Reading::Starting) => off,
            };
        }
        if went_live {
            self.shards_changed.notify_waiters();
        }
        if !entries.is_empty() {
            self.read_on.notify_waiters();
        }
    }

    fn take_entry(&self, state: &mut State, read: &ReadEntry, uptime_ms: u64) {
        let entry = match Entry::decode(&read.bytes) {
            Ok(entry) => entry,
            Err(error) => {
                self.metrics.records_unknown.increment(1);
                tracing::error!(shard = %read.shard, entry = %read.id, %error, "an entry can't be read");
                return;
            }
        };
        let Some(of_shard) = state.shard(read.shard) else { return };
        if !of_shard.reading.is_live() && MessageId::through(read.id) <= of_shard.read_from {
            // Only for what it may be repeated by.
            if read.shard != Shard::CONTROL {
                of_shard.dedupe.feed(&entry, read.id);
            }
            return;
        }
        if !of_shard.dedupe.first_time(entry.origin, entry.seq, read.id.ms) {
            self.metrics.records_repeat.increment(entry.count as u64);
            return;
        }
        if read.shard == Shard::CONTROL {
            let is_told = of_shard.reading.tells(read.id);
            entry.notices().for_each(|notice| self.take_notice(state, notice, is_told));
            return;
        }
        let is_own = entry.origin == self.origin;
        // What was sent before this gateway listened is no measure of how fast somebody sends now.
        let is_live = matches!(of_shard.reading, Reading::Live { .. });
        let mut waiters = if is_own {
            of_shard
                .appended
                .remove(&entry.seq)
                .map(|appended| appended.waiters)
                .unwrap_or_default()
                .into_iter()
        } else {
            Vec::new().into_iter()
        };
        for (index, record) in entry.records() {
            let waiter = waiters.next().flatten();
            let stored = MessageId::pack(read.id, index).zip(record).map(|(id, record)| {
                if let Some(user) = record.sender().filter(|_| is_live && !is_own) {
                    state.send_rates.note(user, uptime_ms);
                }
                self.take_record(state, read.shard, id, &record)
            });
            if stored.is_none() {
                self.metrics.records_unknown.increment(1);
            }
            let Some(waiter) = waiter else { continue };
            let Some(first) = stored else {
                state.answer(waiter, Answer::Failed(Failure::Unknown));
                continue;
            };
            state.answer(waiter, Answer::Stored(first));
        }
    }

    /// Delivers a record, unless it is a repeat. Gives the id under which it stands.
    fn take_record(&self, state: &mut State, shard: Shard, id: MessageId, record: &Record<'_>) -> MessageId {
        let Some(of_shard) = state.shard(shard) else { return id };
        if let Some((user, nonce)) = record.nonce()
            && let Verdict::RepeatOf(first) = of_shard.dedupe.check(user, nonce, id)
        {
            self.metrics.records_repeat.increment(1);
            return first;
        }
        self.metrics.records_new.increment(1);
        // The rest is older than every session here, or was told before.
        let is_told = of_shard.reading.tells(id.entry());
        let read_from = of_shard.read_from;
        let event = event(record, id);
        if record.is_stored_event() {
            state.window.push(event.room, id, event.frame.clone(), read_from);
        }
        if is_told {
            state.deliver(shard, &event);
        }
        self.take_change(state, shard, record, id, is_told);
        id
    }

    /// Tells the cores what a record means for open connections, behind its event.
    fn take_change(
        &self,
        state: &mut State,
        shard: Shard,
        record: &Record<'_>,
        id: MessageId,
        is_told: bool,
    ) {
        match *record {
            Record::Member { room, user, role, state: _ } => {
                state.roles.note(user, room, role, self.clock.elapsed());
                if is_told {
                    state.tell_interested(shard, || Tell::RoleChanged { room, user, role });
                }
            }
            Record::Room { room, state: RoomChange::Deleted } => {
                state.roles.note_deleted(room, self.clock.elapsed());
                if is_told {
                    state.tell_interested(shard, || Tell::RoomDeleted(room));
                }
            }
            Record::Deleted { room, msg, .. } => state.deleted.note(room, msg, id),
            Record::Room { .. }
            | Record::Message { .. }
            | Record::Edited { .. }
            | Record::Reacted { .. }
            | Record::Read { .. }
            | Record::Typing { .. }
            | Record::Presence { .. } => {}
        }
    }

    /// Of what was before this gateway listened only what still counts.
    fn take_notice(&self, state: &mut State, notice: Option<Notice<'_>>, is_told: bool) {
        match notice {
            Some(Notice::SessionsEnded { user, sessions }) => {
                let marks: Arc<[_]> = sessions.iter().map(|id| LoginMark::of(id)).collect();
                state.tell_all(|| Tell::SessionsEnded(user, Arc::clone(&marks)));
            }
            Some(Notice::Drain { run }) => self.drain_if_meant(state, &run),
            Some(Notice::BansChanged) => self.bans_changed.notify_one(),
            Some(Notice::Joined { user, room, role }) if is_told => self.entrances.note(user, room, role),
            Some(Notice::Joined { .. }) => {}
            None => self.metrics.records_unknown.increment(1),
        }
    }

    fn take_said(self: &Rc<Self>, bytes: &[u8]) {
        let Ok(entry) = Entry::decode(bytes) else { return };
        let mut state = self.state.borrow_mut();
        for (_, record) in entry.records() {
            if let Some(record) = record
                && !record.is_stored_event()
            {
                state.deliver(self.shards.of(record.room()), &event(&record, MessageId::ZERO));
            }
        }
    }
}

fn event(record: &Record<'_>, id: MessageId) -> Event {
    let (audience, ephemeral) = match record {
        Record::Typing { from, .. } => (Audience::OtherUsers(*from), true),
        Record::Presence { .. } => (Audience::All, true),
        Record::Read { connection, .. } => (Audience::OtherConnections(*connection), false),
        Record::Message { .. }
        | Record::Edited { .. }
        | Record::Deleted { .. }
        | Record::Reacted { .. }
        | Record::Member { .. }
        | Record::Room { .. } => (Audience::All, false),
    };
    Event { room: record.room(), audience, ephemeral, frame: frame(record, id) }
}

/// What every receiver of a record gets.
pub(super) fn frame(record: &Record<'_>, id: MessageId) -> Bytes {
    text_frame(|out| record.event(id).write_json(out))
}

async fn pause(failures: &mut usize) {
    let pause_ms = AWAY_PAUSES_MS.get(*failures).or(AWAY_PAUSES_MS.last()).copied().unwrap_or(1_000);
    *failures += 1;
    tokio::time::sleep(Duration::from_millis(pause_ms)).await;
}
