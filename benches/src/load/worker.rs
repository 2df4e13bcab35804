//! Connections held by processes of their own, because one process may not open as many as are wanted.
//!
//! The worker reads lines on standard input, `open N` and `check`, and answers each with `ok` or with what went
//! wrong. It ends with its input.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::dialect::Dialect;
use super::fleet::{Fleet, Plan};
use super::ledger::Seating;
use crate::stack::spawn;

/// Connections of one worker: below the open-file limit of the smallest machine that this is run on.
pub(super) const CONNECTIONS_MAX: usize = 19_000;

/// What a worker is to hold.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) dialect: Dialect,
    pub(super) servers: Vec<SocketAddr>,
    pub(super) connections: usize,
    pub(super) members: usize,
    pub(super) first: usize,
    pub(super) jwt_secret: String,
}

/// A worker, seen from outside.
pub(super) struct Worker {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Worker {
    pub(super) fn start(job: &Job) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|error| format!("this program's own path: {error}"))?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program).arg("worker");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = spawn(command).map_err(|error| format!("a worker: {error}"))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("a worker has no standard input and output".to_owned());
        };
        let mut worker = Self { child, input, output: BufReader::new(output) };
        worker.tell(&serde_json::to_string(job).map_err(|error| error.to_string())?)?;
        worker.answer()?;
        Ok(worker)
    }

    /// Says a line; the answer is waited for apart, so that several workers can be busy at once.
    pub(super) fn tell(&mut self, line: &str) -> Result<(), String> {
        writeln!(self.input, "{line}").map_err(|error| format!("a worker ended: {error}"))
    }

    pub(super) fn answer(&mut self) -> Result<(), String> {
        let mut line = String::new();
        self.output.read_line(&mut line).map_err(|error| format!("a worker ended: {error}"))?;
        match line.trim_end() {
            "ok" => Ok(()),
            "" => Err("a worker ended".to_owned()),
            problem => Err(problem.to_owned()),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The worker's whole program.
#[expect(clippy::print_stdout, reason = "how it answers")]
pub(super) fn main() -> Result<(), String> {
    let mut lines = std::io::stdin().lines().map_while(Result::ok);
    let job: Job =
        serde_json::from_str(&lines.next().unwrap_or_default()).map_err(|error| error.to_string())?;
    let seating = Seating::new(job.connections, job.connections, 1)?;
    let mut fleet = Fleet::new(Plan {
        dialect: job.dialect,
        servers: job.servers,
        seating,
        first: job.first,
        first_room: job.first,
        lump: job.members.max(1),
        jwt_secret: job.jwt_secret,
    })?;
    println!("ok");
    let mut opened = 0;
    for line in lines {
        let outcome = match line.strip_prefix("open ").and_then(|count| count.parse::<usize>().ok()) {
            Some(count) => {
                let more = opened..count.min(job.connections);
                opened = more.end;
                fleet.connect(more, |_, _, _| {})
            }
            None => check(&mut fleet),
        };
        match outcome {
            Ok(()) => println!("ok"),
            Err(problem) => println!("{}", problem.replace('\n', " ")),
        }
    }
    Ok(())
}

/// Everything that waits is read: a closed connection shows.
fn check(fleet: &mut Fleet) -> Result<(), String> {
    loop {
        let reads = fleet.reads;
        fleet.turn(Duration::ZERO, |_, _, _| {})?;
        if fleet.reads == reads {
            return Ok(());
        }
    }
}
