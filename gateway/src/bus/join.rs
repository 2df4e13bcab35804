//! Joining rooms: rights, then shards that are read, then the cut between replay and live.
//!
//! What needs the backend happens first. The answer itself, with every room's `last` and replay, is made in
//! one step without an await and queued behind all events up to `last` and before all later ones: the inbox
//! is the cut, and nothing is missed or doubled at it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{join_all, try_join_all};
use hubbub_common::clock::Monotonic;
use hubbub_common::ids::{EntryId, MessageId, RoomId, UserId};
use hubbub_common::protocol::{ErrorCode, Role};
use hubbub_common::shard::Shard;
use tokio::time::timeout;

use super::backend::{BusError, Directory, Streams};
use super::engine::{ANSWER_MAX, Engine, Reading, ShardState, State};
use super::scan::Scanned;
use super::task::spawn;
use super::{Answer, JoinAnswer, JoinAsk, Subscribed, Waiter};

/// How long the reader may take to get to what a client has seen elsewhere, before it is looked whether that is there.
const LAG_USUAL: Duration = Duration::from_millis(100);
/// How long it may take to get to what is there.
const LAG_MAX: Duration = Duration::from_secs(1);
/// Times that a join has streams scanned, because frames were evicted while that went on.
const ROUNDS_MAX: usize = 3;
/// How long after a join was asked for its scans are waited for.
const SCANNED_MAX: Duration = Duration::from_secs(3);

/// By shard, what was found in its stream.
type Scans = HashMap<Shard, Rc<Scanned>>;

/// The newest entries of streams that were not read up to what a client or the control plane has seen of them. What
/// is later than all that a stream holds is not of this stream: Redis lost it, and nothing is to be waited for.
type Newest = HashMap<Shard, EntryId>;

/// What a join needs to be answered at once.
struct Prepared {
    /// All `Member` where a token vouches.
    roles: Vec<Option<Role>>,
    /// What the streams hold for rooms that the window does not reach.
    scans: Scans,
    newest: Newest,
}

/// What a join has to wait for.
enum Wait {
    Shards(Vec<Shard>),
    Last(BTreeMap<Shard, Vec<RoomId>>),
}

impl<B: Streams + Directory> Engine<B> {
    pub(super) fn join(self: &Rc<Self>, rooms: Vec<JoinAsk>, member: Option<UserId>, waiter: Waiter) {
        let engine = Rc::clone(self);
        spawn(async move {
            let began = engine.clock.elapsed();
            let prepared = timeout(ANSWER_MAX, engine.prepare_between_gaps(&rooms, member)).await;
            let answers = match prepared {
                Ok(Ok(mut prepared)) => {
                    if let Some(user) = member {
                        let recent = &engine.state.borrow().roles;
                        for (ask, role) in rooms.iter().zip(&mut prepared.roles) {
                            *role = recent.settle(user, ask.room, *role, began);
                        }
                    }
                    engine.subscribe(&rooms, &prepared, waiter.core)
                }
                Ok(Err(error)) => {
                    tracing::debug!(%error, "a join failed");
                    refuse(&rooms)
                }
                Err(_) => refuse(&rooms),
            };
            engine.state.borrow_mut().answer(waiter, Answer::Joined(answers));
            engine.flush();
        });
    }

    /// Prepares until no gap came in between, which might have held a change of role.
    async fn prepare_between_gaps(
        self: &Rc<Self>,
        rooms: &[JoinAsk],
        member: Option<UserId>,
    ) -> Result<Prepared, BusError> {
        loop {
            let gaps = self.watch.gaps();
            let prepared = self.prepare(rooms, member).await?;
            if self.watch.gaps() == gaps {
                return Ok(prepared);
            }
        }
    }

    /// When it returns, everything is there to answer at once.
    async fn prepare(
        self: &Rc<Self>,
        rooms: &[JoinAsk],
        member: Option<UserId>,
    ) -> Result<Prepared, BusError> {
        let began = Monotonic::start();
        let roles = match member {
            Some(user) => {
                let ids: Vec<RoomId> = rooms.iter().map(|ask| ask.room).collect();
                let roles = self.backend.roles(user, &ids).await?;
                if roles.contains(&None) && !self.backend.knows_members().await? {
                    return Err(BusError("who is a member of what is not known at the moment".to_owned()));
                }
                roles
            }
            None => vec![Some(Role::Member); rooms.len()],
        };
        let allowed: Vec<JoinAsk> = rooms
            .iter()
            .zip(&roles)
            .filter(|(_, role)| role.is_some_and(Role::may_join))
            .map(|(ask, _)| *ask)
            .collect();
        self.make_ready(&allowed).await?;
        let mut newest = Newest::new();
        if timeout(LAG_USUAL, self.read_up_to(&allowed, &newest)).await.is_err() {
            for shard in self.unread(&allowed) {
                newest.insert(shard, self.backend.extent(shard).await?.last);
            }
            // Whoever is still to come is refused for the moment.
            let _ = timeout(LAG_MAX, self.read_up_to(&allowed, &newest)).await;
        }
        let mut scans = Scans::new();
        for _ in 0..ROUNDS_MAX {
            self.make_ready(&allowed).await?;
            let behind = self.behind(&allowed, &scans);
            if behind.is_empty() {
                return Ok(Prepared { roles, scans, newest });
            }
            let time = SCANNED_MAX.saturating_sub(began.elapsed());
            let scan = |(shard, asks)| async move { (shard, self.scan(shard, asks, time).await) };
            scans.extend(join_all(behind.into_iter().map(scan)).await);
        }
        self.make_ready(&allowed).await?;
        Ok(Prepared { roles, scans, newest })
    }

    /// Waits until every room's shard is read and its newest event known.
    async fn make_ready(self: &Rc<Self>, rooms: &[JoinAsk]) -> Result<(), BusError> {
        while let Some(wait) = self.not_ready(rooms) {
            match wait {
                Wait::Shards(shards) => {
                    try_join_all(shards.into_iter().map(|shard| self.read_shard(shard))).await?;
                }
                Wait::Last(unknown) => {
                    let learn = unknown.into_iter().map(|(shard, rooms)| self.learn_last(shard, rooms));
                    try_join_all(learn).await?;
                }
            }
        }
        Ok(())
    }

    fn not_ready(&self, rooms: &[JoinAsk]) -> Option<Wait> {
        let state = self.state.borrow();
        let is_ready = |shard: Shard| state.shards.get(shard.index()).is_none_or(ShardState::is_ready);
        let mut unready: Vec<Shard> =
            rooms.iter().map(|ask| self.shards.of(ask.room)).filter(|shard| !is_ready(*shard)).collect();
        if !unready.is_empty() {
            unready.sort_unstable();
            unready.dedup();
            return Some(Wait::Shards(unready));
        }
        let mut unknown: BTreeMap<Shard, Vec<RoomId>> = BTreeMap::new();
        for ask in rooms.iter().filter(|ask| !state.window.knows(ask.room)) {
            unknown.entry(self.shards.of(ask.room)).or_default().push(ask.room);
        }
        (!unknown.is_empty()).then_some(Wait::Last(unknown))
    }

    /// Waits until this gateway has read what the client has seen on another, which would come twice otherwise,
    /// and what others have told of.
    async fn read_up_to(&self, rooms: &[JoinAsk], newest: &Newest) {
        loop {
            let read_on = self.read_on.notified();
            if rooms.iter().all(|ask| !self.is_to_come(&self.state.borrow(), ask, newest)) {
                return;
            }
            read_on.await;
        }
    }

    /// Whether the gateway has yet to read what is known of a room: by the client, or by those who told of its last event.
    fn is_to_come(&self, state: &State, ask: &JoinAsk, newest: &Newest) -> bool {
        let shard = self.shards.of(ask.room);
        let is_there = |event: &MessageId| newest.get(&shard).is_none_or(|newest| event.entry() <= *newest);
        let known = [Some(state.window.last(ask.room)), ask.since];
        known.into_iter().flatten().any(|event| !is_read(state, shard, event) && is_there(&event))
    }

    /// Shards that are not read up to what is known of their rooms.
    fn unread(&self, rooms: &[JoinAsk]) -> BTreeSet<Shard> {
        let state = self.state.borrow();
        let is_unread = |ask: &&JoinAsk| self.is_to_come(&state, ask, &Newest::new());
        rooms.iter().filter(is_unread).map(|ask| self.shards.of(ask.room)).collect()
    }

    /// Of each shard that has to be scanned, the rooms whose replay the window does not hold.
    fn behind(&self, rooms: &[JoinAsk], scans: &Scans) -> BTreeMap<Shard, Vec<JoinAsk>> {
        let state = self.state.borrow();
        let mut behind: BTreeMap<Shard, Vec<JoinAsk>> = BTreeMap::new();
        for ask in rooms {
            let (shard, Some(since)) = (self.shards.of(ask.room), ask.since) else { continue };
            let is_in_window =
                state.window.evicted_to(ask.room).is_some_and(|evicted_to| since >= evicted_to);
            if !is_in_window && self.may_be_found(&state, shard, since) {
                behind.entry(shard).or_default().push(*ask);
            }
        }
        // A scan that did not reach back far enough will not do so the next time.
        let is_open = |scanned: &Scanned, ask: &JoinAsk| {
            let since = ask.since.unwrap_or(MessageId::ZERO);
            !scanned.is_about(ask.room, since)
                || scanned.reaches(since) && scanned.splice(&state.window, ask.room, since).is_none()
        };
        behind.retain(|shard, asks| match of_this_start(&state, *shard, scans) {
            Some(scanned) => asks.iter().any(|ask| is_open(scanned, ask)),
            None => true,
        });
        behind
    }

    fn may_be_found(&self, state: &State, shard: Shard, since: MessageId) -> bool {
        let of_shard = state.shards.get(shard.index());
        self.resume_scan_bytes_max > 0
            && is_read(state, shard, since)
            && of_shard.is_some_and(|of_shard| of_shard.scans.may_reach(since))
    }

    fn subscribe(&self, rooms: &[JoinAsk], prepared: &Prepared, core: u16) -> Vec<JoinAnswer> {
        let Prepared { roles, scans, newest } = prepared;
        let mut state = self.state.borrow_mut();
        let mut budget_bytes = self.resume_scan_bytes_max;
        let mut subscribe = |ask: &JoinAsk, role: Option<Role>| {
            let role = role.filter(|role| role.may_join()).ok_or(ErrorCode::Forbidden)?;
            let shard = self.shards.of(ask.room);
            let of_shard = state.shard(shard).ok_or(ErrorCode::Internal)?;
            if let Some(interested) = of_shard.interested.get_mut(usize::from(core)) {
                *interested = true;
            }
            let replay = match ask.since {
                Some(since) => self.replay(&state, scans, ask.room, since, &mut budget_bytes),
                None => Some(Vec::new()),
            };
            // A scan may have met what nobody had told of.
            let met = of_this_start(&state, shard, scans)
                .map_or(MessageId::ZERO, |scanned| scanned.newest(ask.room));
            let last = state.window.last(ask.room).max(met);
            // What the client has seen elsewhere would come again, and what is older than `last` would still come live.
            let is_unread = last > state.window.last(ask.room) && !is_read(&state, shard, last);
            if is_unread || self.is_to_come(&state, ask, newest) {
                return Err(ErrorCode::Unavailable);
            }
            Ok(Subscribed { last, replay, muted: !role.may_send() })
        };
        rooms
            .iter()
            .zip(roles)
            .map(|(ask, role)| JoinAnswer { room: ask.room, outcome: subscribe(ask, *role) })
            .collect()
    }

    /// What came after `since`, if all of it is at hand. `budget_bytes` are for frames that the window does not
    /// keep alive anyway.
    fn replay(
        &self,
        state: &State,
        scans: &Scans,
        room: RoomId,
        since: MessageId,
        budget_bytes: &mut usize,
    ) -> Option<Vec<Bytes>> {
        let metrics = &self.metrics;
        let shard = self.shards.of(room);
        if !is_read(state, shard, since) {
            metrics.resumed_not.increment(1);
            return None;
        }
        if let Some(frames) = state.window.replay(room, since) {
            metrics.resumed_from_window.increment(1);
            return Some(frames);
        }
        let scanned = of_this_start(state, shard, scans);
        let spliced =
            scanned.and_then(|scanned| scanned.splice(&state.window, room, since)).filter(|frames| {
                let left = budget_bytes.checked_sub(frames.iter().map(Bytes::len).sum());
                *budget_bytes = left.unwrap_or(0);
                left.is_some()
            });
        match &spliced {
            Some(_) => metrics.resumed_from_stream.increment(1),
            None => metrics.resumed_not.increment(1),
        }
        spliced
    }
}

/// What was found in the stream that is read now, not in one that was there before.
fn of_this_start<'a>(state: &State, shard: Shard, scans: &'a Scans) -> Option<&'a Scanned> {
    let attempt = state.shards.get(shard.index())?.start.attempt;
    scans.get(&shard).map(Rc::as_ref).filter(|scanned| scanned.attempt == attempt || scanned.is_nothing())
}

/// Whether this gateway has read an event. If it has not, the client saw it on another one, or there is none.
fn is_read(state: &State, shard: Shard, event: MessageId) -> bool {
    state.shards.get(shard.index()).is_some_and(|of_shard| has_passed(of_shard.reading, event))
}

fn has_passed(reading: Reading, event: MessageId) -> bool {
    let is_past = |cursor| event == MessageId::ZERO || event.entry() <= cursor;
    matches!(reading, Reading::Live { cursor, .. } if is_past(cursor))
}

fn refuse(rooms: &[JoinAsk]) -> Vec<JoinAnswer> {
    rooms.iter().map(|ask| JoinAnswer { room: ask.room, outcome: Err(ErrorCode::Unavailable) }).collect()
}

#[cfg(test)]
mod tests {
    use hubbub_common::ids::MESSAGE_EPOCH_MS;

    use super::*;

    /// Others tell of events that this gateway has yet to read: a join that named one as `last` would be followed by
    /// what is older.
    #[test]
    fn an_event_is_read_once_the_cursor_is_there() {
        let entry = |ms| EntryId { ms: MESSAGE_EPOCH_MS + ms, seq: 0 };
        let live = Reading::Live { cursor: entry(10), passed: 3 };
        assert!(has_passed(live, MessageId::through(entry(10))));
        assert!(!has_passed(live, MessageId::through(entry(11))));
        assert!(has_passed(live, MessageId::ZERO));
        let starting =
            Reading::CatchingUp { cursor: entry(10), until: entry(20), added: 3, told_to: entry(0) };
        assert!(!has_passed(starting, MessageId::through(entry(9))));
        assert!(!has_passed(Reading::Off, MessageId::ZERO));
    }
}
