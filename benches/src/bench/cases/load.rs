//! The commands, and what they are expected to take.

use std::time::Duration;

use super::super::case::Arm;
use super::super::figure::thousands;
use super::scale::Scale;

const PAYLOAD_BYTES: usize = 128;
/// Members of each room wherever there are many.
pub(super) const MEMBERS: usize = 10;
/// The most connections of a fan-out; beyond, each connection is in several rooms.
pub(super) const CONNECTIONS_MAX: usize = 10_000;
/// What starting and stopping a server takes, and how fast clients come; for the estimate only.
const START_S: usize = 2;
pub(super) const HANDSHAKES_PER_SECOND: usize = 5_000;
const SETTLE_S: usize = 4;
const JOINS_PER_SECOND: usize = 20_000;

#[derive(Clone, Copy)]
pub(super) enum Drive {
    /// Messages a second, whatever happens.
    Rate(usize),
    /// Messages under way.
    Window(usize),
}

pub(super) struct Load {
    pub(super) connections: usize,
    pub(super) rooms: usize,
    pub(super) members: usize,
    pub(super) drive: Drive,
}

/// Rooms of ten, with as many connections as they have members up to the most.
pub(super) fn many_rooms(rooms: usize, drive: Drive) -> Load {
    Load { connections: (rooms * MEMBERS).min(CONNECTIONS_MAX), rooms, members: MEMBERS, drive }
}

impl Load {
    pub(super) fn arm(&self, server: &'static str, variant: impl Into<String>, scale: &Scale) -> Arm {
        let (flag, drive) = match self.drive {
            Drive::Rate(rate) => ("--rate", rate),
            Drive::Window(window) => ("--window", window),
        };
        let arguments = format!(
            "fanout --server {server} --connections {} --rooms {} --members {} {flag} {drive} --payload \
             {PAYLOAD_BYTES} --seconds {} --json",
            self.connections, self.rooms, self.members, scale.seconds
        );
        let setup = self.connections / HANDSHAKES_PER_SECOND + self.rooms * self.members / JOINS_PER_SECOND;
        arm(server, variant, &arguments, scale.seconds + setup)
    }

    pub(super) fn about(&self) -> String {
        let drive = match self.drive {
            Drive::Rate(rate) => format!("{} messages a second", count(rate)),
            Drive::Window(window) => format!("{} under way at any time", plural(window, "message")),
        };
        let (rooms, members) = (plural(self.rooms, "room"), count(self.members));
        let connections = count(self.connections);
        format!("{connections} connections in {rooms} of {members}, {drive}, bodies of {PAYLOAD_BYTES} bytes")
    }
}

pub(super) fn arm(server: &'static str, variant: impl Into<String>, arguments: &str, seconds: usize) -> Arm {
    Arm {
        server,
        variant: variant.into(),
        arguments: arguments.split_whitespace().map(str::to_owned).collect(),
        expected: Duration::from_secs((seconds + START_S) as u64),
    }
}

pub(super) fn count(number: usize) -> String {
    thousands(&number.to_string())
}

pub(super) fn plural(number: usize, word: &str) -> String {
    format!("{} {word}{}", count(number), if number == 1 { "" } else { "s" })
}

/// One room for all of a server's connections.
pub(super) fn idle_arm(server: &'static str, variant: &str, more: &str, connections: &[usize]) -> Arm {
    let steps: Vec<String> = connections.iter().map(ToString::to_string).collect();
    let steps = steps.join(",");
    let last = connections.last().copied().unwrap_or_default();
    let arguments = format!("idle --server {server} --connections {steps} --members {last} {more} --json");
    arm(server, variant, &arguments, SETTLE_S * connections.len() + last / HANDSHAKES_PER_SECOND)
}
