//! How a client comes into rooms and leaves them, and what else it does there but write.

use hubbub_common::ids::{MessageId, RoomId};
use hubbub_common::protocol::Role;
use rustix::net::{Shutdown, shutdown};
use serde_json::{Value, json};

use super::{Asked, AskedOf, Client};
use crate::sim::wire::{CLOSE, PING};

impl Client {
    pub(super) fn join_some(&mut self) {
        let mut rooms = Vec::new();
        for _ in 0..self.scene.between(1, 3) {
            let room = *self.scene.one_of(&self.rooms);
            // Now and then without knowing any more what it had.
            let since = self.wanted.get(&room).copied().flatten().filter(|_| self.scene.happens(900));
            if !rooms.iter().any(|(other, _)| *other == room) {
                rooms.push((room, since));
            }
        }
        for (room, _) in &rooms {
            self.wanted.entry(*room).or_insert(None);
        }
        self.join(rooms);
    }

    pub(super) fn join(&mut self, rooms: Vec<(RoomId, Option<MessageId>)>) {
        let asked: Vec<Value> = rooms
            .iter()
            .map(|(room, since)| match since {
                Some(since) => json!({"room": room, "since": since}),
                None => json!({"room": room}),
            })
            .collect();
        let rooms = rooms.into_iter().map(|(room, since)| AskedOf { room, since }).collect();
        self.ask(Asked::Join(rooms, self.scene.now_ms()), json!({"op": "join", "rooms": asked}));
    }

    /// Tries again what was refused.
    pub(super) fn join_missing(&mut self) {
        let Some(line) = &self.line else { return };
        let is_asked = |asked: &Asked| matches!(asked, Asked::Join(..));
        if line.asked.values().any(is_asked) || !self.scene.happens(50) {
            return;
        }
        let is_vain =
            |room| self.resting && line.view.is_member && !self.role_in(room).is_some_and(Role::may_join);
        let missing = self.wanted.iter().filter(|(room, _)| !line.view.holds(**room) && !is_vain(**room));
        let missing: Vec<_> = missing.map(|(room, since)| (*room, *since)).collect();
        if !missing.is_empty() {
            self.join(missing);
        }
    }

    pub(super) fn leave_one(&mut self) {
        let rooms: Vec<RoomId> = self.wanted.keys().copied().collect();
        if rooms.is_empty() {
            return;
        }
        let room = *self.scene.one_of(&rooms);
        self.wanted.remove(&room);
        self.ask(Asked::Leave, json!({"op": "leave", "rooms": [room]}));
    }

    pub(super) fn chat(&mut self) {
        let room = *self.scene.one_of(&self.rooms);
        match self.scene.below(5) {
            0 => self.say(&json!({"op": "typing", "room": room})),
            1 => {
                let id = self.wanted.get(&room).copied().flatten().unwrap_or(MessageId::ZERO);
                self.say(&json!({"op": "read", "room": room, "id": id}));
            }
            2 => self.ask(Asked::Other("presence"), json!({"op": "presence", "room": room})),
            3 => self.ask(Asked::Other("pong"), json!({"op": "ping"})),
            _ => self.frame(PING, b"still there?"),
        }
    }

    pub(super) fn go(&mut self) {
        match self.scene.below(4) {
            0 => self.frame(CLOSE, &1_000u16.to_be_bytes()),
            1 => {
                if let Some(line) = &self.line {
                    shutdown(&line.socket, Shutdown::Write).unwrap();
                }
            }
            _ => self.lose("it went"),
        }
    }
}
