//! What a client is sent: bytes at its own pace, frames, events, and what it makes of each.

use hubbub_common::ids::RoomId;
use rustix::net::{RecvFlags, recv};
use serde_json::Value;

use super::sends::body_of;
use super::{Asked, AskedOf, Client, Pace, brief};
use crate::sim::oracle::{Oracle, Violation};
use crate::sim::wire::{Frame, PONG};

/// For so long a gateway has had no trouble when it counts as undisturbed.
const CALM_MS: u64 = 3_000;

impl Client {
    /// Reads as its pace allows, and takes in whatever is whole.
    pub(super) fn read(&mut self, oracle: &mut Oracle) -> Result<(), Violation> {
        let bytes_max = match self.pace {
            Pace::Prompt => 65_536,
            Pace::Slow if self.scene.happens(200) => self.scene.between(1, 300),
            Pace::Slow | Pace::Stopped { .. } => return Ok(()),
        };
        let mut buffer = vec![0; usize::try_from(bytes_max).unwrap()];
        let Some(line) = &mut self.line else { return Ok(()) };
        let ended = match recv(&line.socket, &mut buffer[..], RecvFlags::DONTWAIT) {
            Ok((0, _)) => Some("the end"),
            Ok((received, _)) => {
                line.decoder.feed(&buffer[..received]);
                None
            }
            Err(rustix::io::Errno::AGAIN) => None,
            Err(_) => Some("an error"),
        };
        while let Some(line) = &mut self.line {
            let name = &self.name;
            let frame = line.decoder.next().map_err(|error| format!("{name} was sent {error}"))?;
            let Some(frame) = frame else { break };
            if line.closed {
                return Err(format!("{name} was sent {frame:?} after the close"));
            }
            self.take(frame, oracle)?;
        }
        if let Some(why) = ended {
            self.lose(why);
        }
        Ok(())
    }

    fn take(&mut self, frame: Frame, oracle: &mut Oracle) -> Result<(), Violation> {
        match frame {
            Frame::Text(event) => {
                self.scene.note(format_args!("{:<7} < {}", self.name, brief(&event.to_string())));
                self.take_event(&event, oracle).map_err(|what| format!("{}: {what}", self.name))
            }
            Frame::Ping(payload) => {
                self.frame(PONG, &payload);
                Ok(())
            }
            Frame::Pong => Ok(()),
            Frame::Close(code) => {
                self.scene.note(format_args!("{:<7} < close {code:?}", self.name));
                oracle.seen.evicted += u64::from(code == Some(4008));
                oracle.seen.revoked += u64::from(code == Some(4001));
                if code == Some(4001) {
                    self.check_ended()?;
                }
                // The user has too many connections: whoever comes back would push out another.
                self.replaced |= code == Some(4010);
                if let Some(line) = &mut self.line {
                    line.closed = true;
                }
                Ok(())
            }
        }
    }

    fn take_event(&mut self, event: &Value, oracle: &mut Oracle) -> Result<(), Violation> {
        let Some(line) = &mut self.line else { return Ok(()) };
        let op = event["op"].as_str().unwrap_or_default();
        if !std::mem::replace(&mut line.welcomed, true) {
            return if op == "welcome" { Ok(()) } else { Err(format!("{op} before welcome")) };
        }
        let asked = match event.get("ref") {
            None => None,
            Some(reference) => {
                let asked = reference.as_u64().and_then(|reference| line.asked.remove(&reference));
                Some(asked.ok_or_else(|| format!("an answer to nothing: {event}"))?)
            }
        };
        match (op, asked) {
            ("joined", Some(Asked::Join(rooms, at_ms))) => self.take_joined(event, &rooms, at_ms, oracle),
            ("joined", None) => self.take_gaps(event, oracle),
            ("left", Some(Asked::Leave)) => {
                for room in list(&event["rooms"]) {
                    line.view.left(id(room)?);
                }
                Ok(())
            }
            ("ack", Some(Asked::Send(message))) => {
                let body = body_of(&self.name, &message);
                let stands = (id(&event["room"])?, id(&event["id"])?);
                oracle.acked(&line.view, &body, stands, message.muted_by)?;
                self.remember_acked(message);
                Ok(())
            }
            ("ack", Some(Asked::Change(change))) => {
                oracle.changed(&line.view, &change, (id(&event["room"])?, id(&event["id"])?))
            }
            ("error", Some(Asked::Change(change))) => {
                let code = event["code"].as_str().unwrap_or_default();
                if change.op == "edit" && code != "internal" {
                    oracle.refused(&change.text);
                }
                oracle.change_refused(&line.view, &change, code)
            }
            ("error", Some(Asked::Send(message))) => {
                if event["code"] != "internal" {
                    oracle.refused(&body_of(&self.name, &message));
                }
                if event["code"] == "internal" || event["code"] == "unavailable" {
                    self.again.push(message);
                }
                Ok(())
            }
            ("error", _) | ("typing" | "read" | "bye", None) => Ok(()),
            ("presence", None) => Ok(()),
            ("presence", Some(Asked::Other("presence"))) => {
                let online = list(&event["online"]).iter().map(id).collect::<Result<_, _>>()?;
                self.online.insert(id(&event["room"])?, online);
                Ok(())
            }
            ("pong", Some(Asked::Other("pong"))) => Ok(()),
            ("message" | "edited" | "deleted" | "reacted" | "member" | "room", None) => {
                let (room, id) = (id(&event["room"])?, id(&event["id"])?);
                oracle.event(&mut line.view, room, id, event)?;
                if op == "message" {
                    self.remember(room, id, event["from"].as_str().unwrap_or_default());
                }
                if let Some(newest) = self.wanted.get_mut(&room) {
                    *newest = Some(id);
                }
                Ok(())
            }
            (_, asked) => Err(format!("{event} for {asked:?}")),
        }
    }

    /// It was told that its login session has ended.
    fn check_ended(&self) -> Result<(), Violation> {
        let login = self.line.as_ref().and_then(|line| line.login.clone());
        let is_alive = |login| self.redis.rights.borrow().logins.contains(&(self.user, login));
        match login {
            Some(login) if !is_alive(login.clone()) => Ok(()),
            login => Err(format!("{} was sent away, but its session {login:?} has not ended", self.name)),
        }
    }

    /// It reads history, and has what is there.
    fn take_gaps(&mut self, event: &Value, oracle: &mut Oracle) -> Result<(), Violation> {
        let Some(line) = &mut self.line else { return Ok(()) };
        for of_room in list(&event["rooms"]) {
            let room = id(&of_room["room"])?;
            if of_room.get("error").is_some() {
                oracle.removed(&mut line.view, room)?;
                continue;
            }
            let last = id(&of_room["last"])?;
            if !of_room["replayed"].is_null() {
                return Err(format!("a replay that nobody asked for: {event}"));
            }
            oracle.gap(&mut line.view, room, last)?;
            if let Some(newest) = self.wanted.get_mut(&room) {
                *newest = (*newest).max(Some(last));
            }
        }
        Ok(())
    }

    fn take_joined(
        &mut self,
        event: &Value,
        asked: &[AskedOf],
        asked_ms: u64,
        oracle: &mut Oracle,
    ) -> Result<(), Violation> {
        let Some(line) = &mut self.line else { return Ok(()) };
        let was_calm = line.calm_since_ms.is_some_and(|since_ms| since_ms + CALM_MS <= asked_ms);
        let calm_ms = was_calm.then(|| self.scene.unix_ms());
        for of_room in list(&event["rooms"]) {
            let room: RoomId = id(&of_room["room"])?;
            let Some(asked) = asked.iter().find(|asked| asked.room == room) else {
                return Err(format!("{event} for a join of other rooms"));
            };
            if of_room.get("error").is_some() {
                continue;
            }
            let replayed = of_room["replayed"].as_u64();
            let at = oracle.joined(&mut line.view, *asked, id(&of_room["last"])?, replayed, calm_ms)?;
            if let Some(newest) = self.wanted.get_mut(&room)
                && at.is_some()
            {
                *newest = at;
            }
        }
        Ok(())
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn id<T: std::str::FromStr>(value: &Value) -> Result<T, Violation> {
    let id = value.as_str().and_then(|text| text.parse().ok());
    id.ok_or_else(|| format!("{value} is no id"))
}
