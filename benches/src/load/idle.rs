//! Memory of the gateway for each idle, authenticated connection that is joined to one room.

use std::io::{IsTerminal as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use hubbub_common::clock::now_ms;
use hubbub_common::token::{Claims, RoomsClaim, Signer, Star};
use serde::Serialize;

use super::client::join;
use super::server::Usage;
use crate::stack::wait::until;

/// How long the gateway may take to come to rest.
const SETTLE_MAX: Duration = Duration::from_secs(10);
/// Looks at the memory that have to agree.
const SETTLED_LOOKS: u32 = 50;
/// How long tokens are good for.
const TOKEN_S: u64 = 24 * 60 * 60;
/// Connections between two lines of progress.
const PROGRESS_EVERY: usize = 500;

/// A run.
pub(super) struct Idle<'a> {
    pub(super) address: SocketAddr,
    pub(super) pid: u32,
    pub(super) jwt_secret: &'a str,
    pub(super) steps: &'a [usize],
    pub(super) members: usize,
}

/// What was measured with so many connections.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Step {
    connections: usize,
    anonymous_bytes: u64,
    huge_bytes: u64,
    /// Since the step before; in the first one, of the whole process.
    bytes_per_connection: f64,
    /// Since the step before, the other side's CPU not counted.
    cpu_s_per_1000_handshakes: f64,
}

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Report {
    mode: &'static str,
    members: usize,
    steps: Vec<Step>,
    /// From the first step to the last: the slope, without what the process costs by itself.
    bytes_per_connection: f64,
}

impl Idle<'_> {
    pub(super) fn run(&self) -> Result<Report, String> {
        let mut sockets: Vec<TcpStream> = Vec::new();
        let mut steps: Vec<Step> = Vec::new();
        let mut before = Usage::of(self.pid)?;
        for step in self.steps {
            let opened = *step - sockets.len();
            while sockets.len() < *step {
                let number = sockets.len();
                sockets.push(join(self.address, number, &self.token(number)?, number / self.members + 1)?);
                progress(number, *step);
            }
            let usage = self.settled()?;
            let grown = difference(usage.anonymous_bytes, before.anonymous_bytes);
            steps.push(Step {
                connections: *step,
                anonymous_bytes: usage.anonymous_bytes,
                huge_bytes: usage.huge_bytes,
                bytes_per_connection: grown / float(opened),
                cpu_s_per_1000_handshakes: (usage.cpu_s - before.cpu_s) / float(opened) * 1_000.0,
            });
            before = usage;
        }
        let slope = match (steps.first(), steps.last()) {
            (Some(first), Some(last)) => {
                let grown = difference(last.anonymous_bytes, first.anonymous_bytes);
                grown / float(last.connections - first.connections)
            }
            _ => 0.0,
        };
        // All of them have to be there still, or the figure is of something else.
        check_open(&sockets)?;
        Ok(Report { mode: "idle", members: self.members, steps, bytes_per_connection: slope })
    }

    fn token(&self, number: usize) -> Result<String, String> {
        let sub = (number + 1).to_string().parse().map_err(|error| format!("{error}"))?;
        let claims = Claims {
            sub,
            exp: now_ms() / 1_000 + TOKEN_S,
            name: Some(format!("user{number}")),
            rooms: Some(RoomsClaim::Any(Star::Star)),
            sid: None,
        };
        Signer::new(self.jwt_secret.as_bytes()).sign(&claims).map_err(|error| error.to_string())
    }

    /// The usage once the memory has not changed for a while; after the deadline, as it is.
    fn settled(&self) -> Result<Usage, String> {
        let mut last = Usage::of(self.pid)?;
        let mut agreed = 0;
        let settled = until(SETTLE_MAX, || {
            let now = Usage::of(self.pid).ok()?;
            agreed = if now.anonymous_bytes == last.anonymous_bytes { agreed + 1 } else { 0 };
            last = now;
            (agreed >= SETTLED_LOOKS).then_some(now)
        });
        Ok(settled.unwrap_or(last))
    }
}

fn check_open(sockets: &[TcpStream]) -> Result<(), String> {
    for (number, socket) in sockets.iter().enumerate() {
        socket.set_nonblocking(true).map_err(|error| error.to_string())?;
        let mut part = [0; 1];
        if matches!(socket.peek(&mut part), Ok(0)) {
            return Err(format!("connection {number} was closed meanwhile"));
        }
    }
    Ok(())
}

fn progress(number: usize, step: usize) {
    let mut terminal = std::io::stderr();
    if terminal.is_terminal() && number.is_multiple_of(PROGRESS_EVERY) {
        // Nothing depends on whether somebody sees it.
        let _ = write!(terminal, "\r{number} of {step} connections");
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn float(count: usize) -> f64 {
    count as f64
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn difference(now: u64, before: u64) -> f64 {
    now as f64 - before as f64
}

impl Report {
    #[expect(clippy::print_stdout, reason = "what the program tells")]
    pub(super) fn print(&self, json: bool) {
        if json {
            println!("{}", serde_json::to_string_pretty(self).unwrap_or_default());
            return;
        }
        println!(
            "{:>12} {:>14} {:>16} {:>22}",
            "connections", "memory, MB", "bytes each more", "CPU s/1000 handshakes"
        );
        for step in &self.steps {
            let megabytes = difference(step.anonymous_bytes, 0) / 1e6;
            let (bytes, cpu) = (step.bytes_per_connection, step.cpu_s_per_1000_handshakes);
            println!("{:>12} {megabytes:>14.1} {bytes:>16.0} {cpu:>22.3}", step.connections);
        }
        println!(
            "from the first line to the last: {:.0} bytes for each connection",
            self.bytes_per_connection
        );
        if self.steps.iter().any(|step| step.huge_bytes > 0) {
            println!(
                "(huge pages are on, and make this coarse: echo never > /sys/kernel/mm/transparent_hugepage/enabled)"
            );
        }
    }
}
