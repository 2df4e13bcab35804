//! Whether the delivery promises of `gateway/PROTOCOL.md` are kept, judged from what clients see and what stands
//! in the streams; the gateways are not asked.
//!
//! A [`View`] is what one connection has been told of each of its rooms. After `joined`, every event has to be
//! exactly the next one of the room: anything else is a gap, a repeat or a wrong order. Each send is an
//! [`Attempt`] with a body of its own, so that what an answer said can be held against the streams for ever.

use std::collections::BTreeMap;

use hubbub_common::ids::{MessageId, RoomId};
use serde_json::Value;

use super::truth::Truth;

/// What a connection has been told.
#[derive(Debug, Default)]
pub(super) struct View(BTreeMap<RoomId, Place>);

impl View {
    /// Whether the room is joined.
    pub(super) fn holds(&self, room: RoomId) -> bool {
        self.0.contains_key(&room)
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
}

/// What a client asked of a room.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) room: RoomId,
    pub(super) since: Option<MessageId>,
    /// The room's newest event when it asked.
    pub(super) newest: MessageId,
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
}

/// See the module's text.
pub(super) struct Oracle {
    pub(super) truth: Truth,
    /// By body.
    attempts: BTreeMap<String, Attempt>,
    pub(super) seen: Seen,
}

/// A broken promise.
pub(super) type Violation = String;

impl Oracle {
    pub(super) fn new(window_ms: u64) -> Self {
        Self { truth: Truth::new(window_ms), attempts: BTreeMap::new(), seen: Seen::default() }
    }

    /// A room of a `joined` event. Gives where the client stands now, if that was not known.
    pub(super) fn joined(
        &mut self,
        view: &mut View,
        asked: Asked,
        last: MessageId,
        replayed: Option<u64>,
    ) -> Result<Option<MessageId>, Violation> {
        let Asked { room, since, newest } = asked;
        if last != MessageId::ZERO
            && self.truth.event(room, last).is_none()
            && !self.truth.repeats_trimmed(room, last)
        {
            return Err(format!("room {room}: joined says last {last}, which is no event of the room"));
        }
        if let (Some(_), Some(_)) = (view.0.get(&room), replayed) {
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
            (_, None) => {
                self.seen.told_to_read_history += 1;
                (last, None)
            }
        };
        // Who reads history gets there what `last`, as much as the server knows, leaves out.
        let history_to = if since.is_none() || replayed.is_none() { newest } else { at };
        view.0.insert(room, Place { at, history_to, replay });
        Ok(replay.is_none().then_some(at.max(since.unwrap_or(at))))
    }

    /// A session was told that it missed something: it reads history up to `last` and goes on from there.
    pub(super) fn gap(&mut self, view: &mut View, room: RoomId, last: MessageId) -> Result<(), Violation> {
        self.seen.gaps += 1;
        let place =
            view.0.get_mut(&room).ok_or_else(|| format!("a gap in room {room}, which is not joined"))?;
        let at = place.at.max(last);
        *place = Place { at, history_to: at, replay: None };
        Ok(())
    }

    pub(super) fn left(view: &mut View, room: RoomId) {
        view.0.remove(&room);
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
        let place = view.0.get_mut(&room).ok_or_else(|| format!("room {room} is not joined, but told of"))?;
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
                None if self.truth.repeats_trimmed(room, id) => {}
                None => return Err(format!("room {room}: {id} does not stand in the stream")),
            },
        }
        (place.at, place.history_to) = (id, id);
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
        Ok(())
    }

    /// A send is on its way.
    pub(super) fn sent(&mut self, body: &str, room: RoomId, has_nonce: bool) {
        self.attempts.insert(body.to_owned(), Attempt { room, has_nonce, fate: Fate::Unknown });
    }

    /// A send was acknowledged.
    pub(super) fn acked(&mut self, body: &str, room: RoomId, id: MessageId) -> Result<(), Violation> {
        self.seen.acks += 1;
        let Some(event) = self.truth.event(room, id) else {
            return Err(format!("the ack of {body:?} names {id}, which is no event of room {room}"));
        };
        let attempt = self.attempts.get_mut(body).expect("it was sent");
        if attempt.room != room {
            return Err(format!("the ack of {body:?} names room {room} instead of {}", attempt.room));
        }
        if !attempt.has_nonce && event.json["body"] != body {
            return Err(format!("the ack of {body:?} names {}", event.json));
        }
        // The same message, whichever of its attempts was the first.
        if event.json["body"].as_str().map(message_of) != Some(message_of(body)) {
            return Err(format!("the ack of {body:?} names {}", event.json));
        }
        attempt.fate = Fate::Acked(id);
        Ok(())
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
        view.0.get(&room).is_some_and(|place| {
            place.replay.is_none() && self.truth.next(room, place.at.max(place.history_to)).is_none()
        })
    }
}

/// Of a body such as `c3-17#2`: the message without the attempt.
fn message_of(body: &str) -> &str {
    body.split_once('#').map_or(body, |(message, _)| message)
}
