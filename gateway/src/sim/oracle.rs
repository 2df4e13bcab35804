//! Whether the delivery promises of `gateway/PROTOCOL.md` are kept, judged from what clients see and what stands
//! in the streams; the gateways are not asked.
//!
//! A [`View`] is what one connection has been told of each of its rooms. After `joined`, every event has to be
//! exactly the next one of the room: anything else is a gap, a repeat or a wrong order. Each send is an
//! [`Attempt`] with a body of its own, so that what an answer said can be held against the streams for ever.
//!
//! To be told to read history is no way out: where all was quiet and nothing was lost, a gateway has to know.

use std::collections::BTreeMap;

use hubbub_common::ids::{MessageId, RoomId, UserId};
use hubbub_common::protocol::Role;
use serde_json::Value;

use super::control::OWNER;
use super::plan::Plan;
use super::truth::Truth;

/// How often windows let go of what is too old.
const TICK_MS: u64 = 1_000;

/// What a connection has been told.
#[derive(Debug)]
pub(super) struct View {
    user: UserId,
    /// Whether membership, rather than its token, lets it in.
    pub(super) is_member: bool,
    places: BTreeMap<RoomId, Place>,
    /// Where it was told that it may not send, and by which event.
    muted: BTreeMap<RoomId, MessageId>,
}

impl View {
    pub(super) fn new(user: UserId, is_member: bool) -> Self {
        Self { user, is_member, places: BTreeMap::new(), muted: BTreeMap::new() }
    }

    /// Whether the room is joined.
    pub(super) fn holds(&self, room: RoomId) -> bool {
        self.places.contains_key(&room)
    }

    /// The rooms that are joined.
    pub(super) fn rooms(&self) -> impl Iterator<Item = RoomId> {
        self.places.keys().copied()
    }

    /// The event that told it last that it may not send.
    pub(super) fn muted_by(&self, room: RoomId) -> Option<MessageId> {
        self.muted.get(&room).copied()
    }

    /// The session is not in the room any more.
    pub(super) fn left(&mut self, room: RoomId) {
        self.places.remove(&room);
        self.muted.remove(&room);
    }
}

/// How far a connection has got in a room.
#[derive(Debug, Clone, Copy)]
struct Place {
    at: MessageId,
    /// Nothing has come yet: up to this one, events may be the history that a client reads elsewhere.
    history_to: MessageId,
    /// Events of a replay that are to come, and where it has to end.
    replay: Option<(u64, MessageId)>,
    /// Whether `at` came on this connection. The gateway need not know of what came elsewhere that it is lost.
    is_from_here: bool,
}

/// What a client asked of a room.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) room: RoomId,
    pub(super) since: Option<MessageId>,
}

/// What a client wanted to do to a message.
#[derive(Debug, Clone)]
pub(super) struct ChangeAsked {
    /// `edit`, `delete`, `react`.
    pub(super) op: &'static str,
    pub(super) room: RoomId,
    pub(super) msg: MessageId,
    pub(super) is_own: bool,
    /// The new body, or the emoji; of its own for each change.
    pub(super) text: String,
    pub(super) muted_by: Option<MessageId>,
}

/// What became of a send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nobody said yet, or nobody ever will.
    Unknown,
    Acked(MessageId),
    /// "Not stored", said the server.
    Refused,
}

/// One send of a message.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) room: RoomId,
    pub(super) has_nonce: bool,
    pub(super) fate: Fate,
}

/// Of everything that was seen, for the curious and for tests of the simulation itself.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Seen {
    pub(super) events: u64,
    pub(super) acks: u64,
    pub(super) refusals: u64,
    pub(super) joins: u64,
    pub(super) replayed: u64,
    pub(super) told_to_read_history: u64,
    pub(super) gaps: u64,
    pub(super) evicted: u64,
    pub(super) reconnects: u64,
    pub(super) changes: u64,
    pub(super) removed: u64,
    pub(super) revoked: u64,
    pub(super) lost: u64,
}

/// See the module's text.
pub(super) struct Oracle {
    pub(super) truth: Truth,
    window_ms: u64,
    /// Whether what was acknowledged outlives fail-overs.
    acks_last: bool,
    /// How wrong clocks may be.
    skew_ms_max: u64,
    /// Whether windows never overflow.
    windows_suffice: bool,
    /// By body.
    attempts: BTreeMap<String, Attempt>,
    pub(super) seen: Seen,
}

/// A broken promise.
pub(super) type Violation = String;

impl Oracle {
    pub(super) fn new(truth: Truth, plan: &Plan) -> Self {
        Self {
            truth,
            window_ms: plan.window_s * 1_000,
            acks_last: plan.replicated && plan.empties == 0,
            skew_ms_max: plan.skew_ms_max(),
            windows_suffice: plan.windows_suffice(),
            attempts: BTreeMap::new(),
            seen: Seen::default(),
        }
    }

    /// A room of a `joined` event. Gives where the client stands now, if that was not known. `calm_ms` is the time
    /// (Unix) where the gateway has had no trouble since before it was asked.
    pub(super) fn joined(
        &mut self,
        view: &mut View,
        asked: Asked,
        last: MessageId,
        replayed: Option<u64>,
        calm_ms: Option<u64>,
    ) -> Result<Option<MessageId>, Violation> {
        let Asked { room, since } = asked;
        if last != MessageId::ZERO
            && self.truth.event(room, last).is_none()
            && self.truth.lost(room, last).is_none()
            && !self.truth.repeats_trimmed(room, last)
        {
            return Err(format!("room {room}: joined says last {last}, which is no event of the room"));
        }
        if view.is_member
            && let Some((change, role)) = self.truth.role_before(room, view.user, MessageId::MAX)
            && !role.is_some_and(Role::may_join)
            && change <= last
        {
            return Err(format!("room {room}: joined at {last}, although {change} took that right away"));
        }
        if let (Some(_), Some(_)) = (view.places.get(&room), replayed) {
            // Joined a second time: everything is on its way already.
            return Ok(None);
        }
        self.seen.joins += 1;
        let (at, replay) = match (since, replayed) {
            (None, Some(0)) => (last, None),
            (None, Some(_)) => return Err(format!("room {room}: a replay that nobody asked for")),
            (Some(since), Some(0)) => {
                if let Some((missed, _)) = self.truth.next(room, since)
                    && missed <= last
                {
                    return Err(format!(
                        "room {room}: joined since {since} says that nothing follows, but {missed} does"
                    ));
                }
                (since.max(last), None)
            }
            (Some(since), Some(count)) => {
                self.seen.replayed += count;
                (since, Some((count, last)))
            }
            (Some(since), None) if calm_ms.is_some_and(|now_ms| self.has_to_know(room, since, now_ms)) => {
                return Err(format!("room {room}: nobody knows what came after {since}, which was just now"));
            }
            (_, None) => {
                self.seen.told_to_read_history += 1;
                (last, None)
            }
        };
        // Who reads history now gets there what `last`, as much as the server knew, leaves out.
        let history_to =
            if since.is_none() || replayed.is_none() { self.truth.last(room).max(at) } else { at };
        view.places.insert(room, Place { at, history_to, replay, is_from_here: false });
        Ok(replay.is_none().then_some(at.max(since.unwrap_or(at))))
    }

    /// Whether every gateway that had no trouble has everything after this event of a room.
    fn has_to_know(&self, room: RoomId, since: MessageId, now_ms: u64) -> bool {
        let skew_ms = 2 * self.skew_ms_max;
        let in_window_from_ms = now_ms - self.window_ms + TICK_MS + skew_ms;
        // A reader that meets an empty stream knows nothing of what came before by its own clock.
        let begun_by_ms = self.truth.first_of_shard(room).ts() + 2 * skew_ms;
        self.windows_suffice
            && since != MessageId::ZERO
            && since.ts() >= in_window_from_ms.max(begun_by_ms)
            && !self.truth.may_miss_after(room, since)
    }

    /// A session was told that it missed something: it reads history up to `last` and goes on from there.
    pub(super) fn gap(&mut self, view: &mut View, room: RoomId, last: MessageId) -> Result<(), Violation> {
        self.seen.gaps += 1;
        let place =
            view.places.get_mut(&room).ok_or_else(|| format!("a gap in room {room}, which is not joined"))?;
        if !self.truth.may_miss_after(room, place.at) {
            return Err(format!("room {room}: told of a gap after {}, where nothing is lost", place.at));
        }
        let at = place.at.max(last);
        let history_to = at.max(self.truth.newest_lost(room));
        *place = Place { at, history_to, replay: None, is_from_here: false };
        Ok(())
    }

    /// A session has lost a room, as it was told behind a gap.
    pub(super) fn removed(&mut self, view: &mut View, room: RoomId) -> Result<(), Violation> {
        self.seen.removed += 1;
        if !view.is_member || !view.holds(room) {
            return Err(format!("removed from room {room}, to which it had another right or none"));
        }
        if self.truth.roles(room, view.user).all(|role| role.is_some_and(Role::may_join)) {
            return Err(format!("removed from room {room}, which it was always allowed to join"));
        }
        view.left(room);
        Ok(())
    }

    /// An event with an id.
    pub(super) fn event(
        &mut self,
        view: &mut View,
        room: RoomId,
        id: MessageId,
        event: &Value,
    ) -> Result<(), Violation> {
        self.seen.events += 1;
        let place =
            view.places.get_mut(&room).ok_or_else(|| format!("room {room} is not joined, but told of"))?;
        let lost = self.truth.lost(room, id);
        if self.acks_last && lost.is_some() {
            return Err(format!("room {room}: {event} is lost, and should not have been told before"));
        }
        if lost.is_none() && place.is_from_here && self.truth.lost(room, place.at).is_some() {
            return Err(format!(
                "room {room}: {id} after {}, which is lost, without a word of that",
                place.at
            ));
        }
        if id <= place.at {
            return Err(format!("room {room}: {id} after {}: a repeat, or out of order", place.at));
        }
        match self.truth.next(room, place.at.max(place.history_to)) {
            Some((next, _)) if next < id => {
                return Err(format!("room {room}: {id} after {}: {next} was skipped", place.at));
            }
            _ => match self.truth.event(room, id) {
                Some(truth) if truth.json == *event => {}
                Some(truth) => return Err(format!("room {room}: {event} was stored as {}", truth.json)),
                None if lost == Some(event) || self.truth.repeats_trimmed(room, id) => {}
                None => return Err(format!("room {room}: {id} does not stand in the stream")),
            },
        }
        (place.at, place.history_to, place.is_from_here) = (id, id, true);
        let is_live = place.replay.is_none();
        if let Some((left, last)) = &mut place.replay {
            *left -= 1;
            let is_over = *left == 0;
            if is_over != (id == *last) {
                return Err(format!(
                    "room {room}: the replay has {left} events left at {id}, last is {last}"
                ));
            }
            if is_over {
                place.replay = None;
            }
        }
        // What was before the session came was looked up when it did.
        if is_live && event["op"] == "member" && event["user"] == view.user.to_string() && view.is_member {
            let role = event["role"].as_str().and_then(Role::parse);
            if !role.is_some_and(Role::may_join) {
                view.left(room);
            } else if role.is_some_and(Role::may_send) {
                view.muted.remove(&room);
            } else {
                view.muted.insert(room, id);
            }
        }
        Ok(())
    }

    /// A send is on its way.
    pub(super) fn sent(&mut self, body: &str, room: RoomId, has_nonce: bool) {
        self.attempts.insert(body.to_owned(), Attempt { room, has_nonce, fate: Fate::Unknown });
    }

    /// A send was acknowledged. `muted_by`: what had told its sender not to.
    pub(super) fn acked(
        &mut self,
        view: &View,
        body: &str,
        (room, id): (RoomId, MessageId),
        muted_by: Option<MessageId>,
    ) -> Result<(), Violation> {
        self.seen.acks += 1;
        let attempt = self.attempts.get(body).expect("it was sent");
        if attempt.room != room {
            return Err(format!("the ack of {body:?} names room {room} instead of {}", attempt.room));
        }
        if let Some(event) = self.acknowledged(body, room, id)? {
            // The same message, whichever of its attempts was the first.
            let is_it = event["body"].as_str().map(message_of) == Some(message_of(body));
            if !is_it || !attempt.has_nonce && event["body"] != body {
                return Err(format!("the ack of {body:?} names {event}"));
            }
        }
        self.check_may_send(view, (room, id), muted_by)?;
        if let Some(attempt) = self.attempts.get_mut(body) {
            attempt.fate = Fate::Acked(id);
        }
        Ok(())
    }

    /// A change of a message was acknowledged.
    pub(super) fn changed(
        &mut self,
        view: &View,
        asked: &ChangeAsked,
        (room, id): (RoomId, MessageId),
    ) -> Result<(), Violation> {
        self.seen.changes += 1;
        let is_it = |event: &Value| {
            let (op, text) = match asked.op {
                "edit" => ("edited", event["body"] == asked.text),
                "react" => ("reacted", event["emoji"] == asked.text),
                _ => ("deleted", true),
            };
            let by_whom = event["from"] == view.user.to_string();
            event["op"] == op && text && by_whom && event["msg"] == asked.msg.to_string()
        };
        let event = self.acknowledged(&asked.text, room, id)?;
        if room != asked.room || event.is_some_and(|event| !is_it(event)) {
            return Err(format!("the ack of {asked:?} names {event:?}"));
        }
        let may = match asked.op {
            "edit" => asked.is_own,
            "delete" => asked.is_own || view.is_member && self.was_admin(view.user, room),
            _ => true,
        };
        if !may {
            return Err(format!("{asked:?} was none of its business, and is done"));
        }
        self.check_may_send(view, (room, id), asked.muted_by.filter(|_| asked.op != "delete"))
    }

    /// A change of a message was refused for want of a right, or of the message.
    pub(super) fn change_refused(
        &mut self,
        view: &View,
        asked: &ChangeAsked,
        code: &str,
    ) -> Result<(), Violation> {
        let may_be_muted =
            view.is_member && self.truth.role_before(asked.room, view.user, MessageId::MAX).is_some();
        let is_wrong = match code {
            "not_found" => {
                self.truth.lost(asked.room, asked.msg).is_none()
                    && !self.truth.was_deleted(asked.room, asked.msg)
            }
            "forbidden" if asked.op == "delete" => asked.is_own,
            "forbidden" => (asked.is_own || asked.op == "react") && !may_be_muted,
            _ => false,
        };
        if is_wrong { Err(format!("{asked:?} was refused as {code}")) } else { Ok(()) }
    }

    fn was_admin(&self, user: UserId, room: RoomId) -> bool {
        user.get() == OWNER || self.truth.roles(room, user).any(|role| role.is_some_and(Role::is_admin))
    }

    fn check_may_send(
        &self,
        view: &View,
        (room, id): (RoomId, MessageId),
        muted_by: Option<MessageId>,
    ) -> Result<(), Violation> {
        let Some(told_by) = muted_by else { return Ok(()) };
        // Where it was allowed to again meanwhile, that may be when it was asked.
        let mut since =
            self.truth.roles_from(room, view.user, told_by).take_while(|(at, _)| *at < id).peekable();
        if since.peek().is_some_and(|(at, _)| *at == told_by) && !since.any(|(_, role)| may_send(role)) {
            return Err(format!("room {room}: {id} is of one who was told to be silent by {told_by}"));
        }
        Ok(())
    }

    /// The event that an acknowledgement names; none where it repeats one that nobody can know any more.
    fn acknowledged(&self, text: &str, room: RoomId, id: MessageId) -> Result<Option<&Value>, Violation> {
        match (self.truth.event(room, id), self.truth.lost(room, id)) {
            (Some(event), _) => Ok(Some(&event.json)),
            (None, Some(_)) if self.acks_last => {
                Err(format!("the ack of {text:?} names {id}, which is lost"))
            }
            (None, Some(event)) => Ok(Some(event)),
            (None, None) if self.truth.repeats_trimmed(room, id) => Ok(None),
            (None, None) => Err(format!("the ack of {text:?} names {id}, which is no event of room {room}")),
        }
    }

    /// "Not stored", said the server.
    pub(super) fn refused(&mut self, body: &str) {
        self.seen.refusals += 1;
        self.attempts.get_mut(body).expect("it was sent").fate = Fate::Refused;
    }

    /// Holds every answer against the streams, once everything has landed.
    pub(super) fn judge_attempts(&self) -> Result<(), Violation> {
        let mut stored: BTreeMap<&str, MessageId> = BTreeMap::new();
        for (body, attempt) in &self.attempts {
            let id = self.truth.id_of_body(body);
            if let Fate::Acked(id) = attempt.fate
                && self.acks_last
                && self.truth.lost(attempt.room, id).is_some()
            {
                return Err(format!("{body:?} was acknowledged as {id}, and is lost"));
            }
            if attempt.fate == Fate::Refused
                && let Some(id) = id
            {
                return Err(format!("{body:?} was refused as not stored, and stands in the stream for {id}"));
            }
            if let Some(id) = id
                && attempt.has_nonce
                && let Some(other) = stored.insert(message_of(body), id)
                && self.truth.is_within_window(other, id)
            {
                return Err(format!("{body:?} is stored twice, as {other} and {id}"));
            }
        }
        Ok(())
    }

    /// Whether a connection has been told everything about a room that it has joined.
    pub(super) fn has_everything(&self, view: &View, room: RoomId) -> bool {
        view.places.get(&room).is_some_and(|place| {
            place.replay.is_none()
                && self.truth.next(room, place.at.max(place.history_to)).is_none()
                && !(place.is_from_here && self.truth.lost(room, place.at).is_some())
        })
    }
}

fn may_send(role: Option<Role>) -> bool {
    role.is_some_and(Role::may_send)
}

/// Of a body such as `c3-17#2`: the message without the attempt.
fn message_of(body: &str) -> &str {
    body.split_once('#').map_or(body, |(message, _)| message)
}
