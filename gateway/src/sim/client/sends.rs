//! What a client writes: messages, the same ones again, and changes of what it has seen.

use hubbub_common::ids::{MessageId, RoomId};
use serde_json::json;

use super::{Asked, Client, Message};
use crate::sim::oracle::ChangeAsked;

/// Messages that it remembers, to change them or to repeat them.
const REMEMBERED_MAX: usize = 20;

impl Client {
    pub(super) fn send_new(&mut self) {
        let rooms: Vec<RoomId> = self.wanted.keys().copied().collect();
        if rooms.is_empty() {
            return;
        }
        let message = Message {
            number: self.next_ref,
            room: *self.scene.one_of(&rooms),
            has_nonce: self.scene.happens(700),
            attempt: 0,
            first_ms: self.scene.now_ms(),
            padding: usize::try_from(self.scene.below(self.habits.body_bytes_max)).unwrap(),
            muted_by: None,
        };
        self.send(message);
    }

    fn send(&mut self, mut message: Message) {
        message.attempt += 1;
        message.muted_by = self.muted_by(message.room);
        let body = body_of(&self.name, &message);
        self.attempts.push((body.clone(), message.room, message.has_nonce));
        let mut request = json!({"op": "send", "room": message.room, "body": body});
        if message.has_nonce {
            request["nonce"] = json!(format!("{}-{}", self.name, message.number));
        }
        self.ask(Asked::Send(message), request);
    }

    /// Sends again what may not be stored, as long as its nonce is remembered.
    pub(super) fn repeat(&mut self) {
        if self.again.is_empty() || self.line.is_none() || !self.scene.happens(100) {
            return;
        }
        let message = self.again.remove(0);
        let is_fresh = self.scene.now_ms() < message.first_ms + self.habits.repeats_ms;
        if message.has_nonce && is_fresh {
            self.send(message);
        }
    }

    /// A message came.
    pub(super) fn remember(&mut self, room: RoomId, id: MessageId, from: &str) {
        if self.seen.len() == REMEMBERED_MAX {
            self.seen.pop_front();
        }
        self.seen.push_back((room, id, from == self.user.to_string()));
    }

    /// A message was acknowledged, and may be sent once more all the same.
    pub(super) fn remember_acked(&mut self, message: Message) {
        if self.acked.len() == REMEMBERED_MAX {
            self.acked.pop_front();
        }
        self.acked.push_back(message);
    }

    /// Sends something again that was acknowledged already.
    pub(super) fn echo(&mut self) {
        let from_ms = self.scene.now_ms().saturating_sub(self.habits.repeats_ms);
        self.acked.retain(|message| message.first_ms > from_ms);
        let held = self.acked.iter().position(|message| message.has_nonce && self.holds(message.room));
        if let Some(message) = held.and_then(|place| self.acked.remove(place)) {
            self.send(message);
        }
    }

    /// Edits, deletes, or reacts to a message that it has seen.
    pub(super) fn change_one(&mut self) {
        if self.seen.is_empty() {
            return;
        }
        let place = usize::try_from(self.scene.below(self.seen.len() as u64)).unwrap();
        let (room, msg, is_own) = self.seen[place];
        if !self.holds(room) {
            return;
        }
        let text = format!("{}-{}#1", self.name, self.next_ref);
        let op = *self.scene.one_of(&["edit", "delete", "react"]);
        let request = match op {
            "edit" => json!({"op": op, "room": room, "id": msg, "body": text}),
            "react" => json!({"op": op, "room": room, "id": msg, "emoji": text, "on": true}),
            _ => json!({"op": op, "room": room, "id": msg}),
        };
        if op == "edit" {
            self.attempts.push((text.clone(), room, false));
        }
        let muted_by = self.muted_by(room);
        self.ask(Asked::Change(ChangeAsked { op, room, msg, is_own, text, muted_by }), request);
    }

    fn holds(&self, room: RoomId) -> bool {
        self.line.as_ref().is_some_and(|line| line.view.holds(room))
    }

    fn muted_by(&self, room: RoomId) -> Option<MessageId> {
        self.line.as_ref().filter(|line| line.view.is_member)?.view.muted_by(room)
    }
}

/// Tells messages, their attempts, and in truth those of all clients apart.
pub(super) fn body_of(client: &str, message: &Message) -> String {
    let padding = ".".repeat(message.padding);
    format!("{client}-{}#{}{padding}", message.number, message.attempt)
}
