//! Memory of a server for each idle connection that is joined to one room, and CPU for each handshake.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::progress::{Progress, float};
use super::target::{self, Target};
use super::usage::Usage;
use super::worker::{CONNECTIONS_MAX, Job, Worker};
use crate::stack::wait::until;

/// How long the server may take to come to rest.
const SETTLE_MAX: Duration = Duration::from_secs(10);
/// Looks at the memory, 20 ms apart, that have to agree.
const SETTLED_LOOKS: u32 = 100;
/// How far two looks may differ and still agree, in bytes of each kind.
const SETTLED_BYTES: u64 = 64 * 1024;

/// A run.
#[derive(Debug, Clone)]
pub(super) struct Idle {
    pub(super) target: target::Wanted,
    /// Connections of each server to measure at, rising.
    pub(super) steps: Vec<usize>,
    pub(super) members: usize,
}

/// What was measured with so many connections.
#[derive(Debug, Clone, Serialize)]
struct Step {
    /// To all servers together.
    connections: usize,
    user_bytes: u64,
    huge_bytes: u64,
    kernel_bytes: u64,
    cpu_ns: u64,
    /// User-space bytes since the step before; in the first one, since the start.
    bytes_per_connection: f64,
    /// Since the step before; with the first step come the server's own beginnings.
    cpu_s_per_1000_handshakes: f64,
}

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Report {
    mode: &'static str,
    server: String,
    gateways: usize,
    members: usize,
    steps: Vec<Step>,
    /// From the first step to the last: the slope, without what the process costs by itself.
    user_bytes_per_connection: f64,
    /// Likewise; of both ends of the connection, the client's half too.
    kernel_bytes_per_connection: f64,
    /// Likewise.
    cpu_s_per_1000_handshakes: f64,
    /// With 64 under way at once for each process of clients.
    handshakes_per_s: f64,
}

impl Idle {
    pub(super) fn run(&self) -> Result<Report, String> {
        without_huge_pages();
        Target::with(&self.target, |target| self.measure(target))
    }

    fn measure(&self, target: &Target) -> Result<Report, String> {
        let servers = target.addresses.len();
        let most = self.steps.last().copied().unwrap_or_default();
        let mut workers = self.workers(target, most * servers)?;
        let mut progress = Progress::new();
        let mut steps: Vec<Step> = Vec::new();
        let mut before = settled(&target.pids)?;
        let (mut opened, mut open_time) = (0, Duration::ZERO);
        for step in &self.steps {
            let wanted = step * servers;
            progress.say(&format!("opening {wanted} connections"));
            let clock = hubbub_common::clock::Monotonic::start();
            let share = wanted / workers.len();
            for worker in &mut workers {
                worker.tell(&format!("open {share}"))?;
            }
            workers.iter_mut().try_for_each(Worker::answer)?;
            open_time += clock.elapsed();
            progress.say(&format!("{wanted} connections are open; waiting for the server to come to rest"));
            let usage = settled(&target.pids)?;
            let more = float((wanted - opened) as u64);
            steps.push(Step {
                connections: wanted,
                user_bytes: usage.user_bytes,
                huge_bytes: usage.huge_bytes,
                kernel_bytes: usage.kernel_bytes,
                cpu_ns: usage.cpu_ns,
                bytes_per_connection: difference(usage.user_bytes, before.user_bytes) / more,
                cpu_s_per_1000_handshakes: float(usage.cpu_ns - before.cpu_ns) / 1e6 / more,
            });
            (before, opened) = (usage, wanted);
        }
        progress.end();
        // All of them have to be there still, or the figure is of something else.
        for worker in &mut workers {
            worker.tell("check")?;
            worker.answer()?;
        }
        let (Some(first), Some(last)) = (steps.first(), steps.last()) else {
            return Err("nothing was measured".to_owned());
        };
        let more = float((last.connections - first.connections) as u64);
        Ok(Report {
            mode: "idle",
            server: self.target.server.clone(),
            gateways: servers,
            members: self.members,
            user_bytes_per_connection: difference(last.user_bytes, first.user_bytes) / more,
            kernel_bytes_per_connection: difference(last.kernel_bytes, first.kernel_bytes) / more,
            cpu_s_per_1000_handshakes: float(last.cpu_ns - first.cpu_ns) / 1e6 / more,
            handshakes_per_s: float(opened as u64) / open_time.as_secs_f64(),
            steps,
        })
    }

    /// As many workers as it takes, each with the same share.
    fn workers(&self, target: &Target, most: usize) -> Result<Vec<Worker>, String> {
        let mut count = most.div_ceil(CONNECTIONS_MAX);
        let servers = target.addresses.len();
        let fits = |count: usize| self.steps.iter().all(|step| (step * servers).is_multiple_of(count));
        while !fits(count) {
            count += 1;
            if count > 64 {
                return Err(format!("{most} connections can't be shared out evenly among processes"));
            }
        }
        let share = most / count;
        (0..count)
            .map(|number| {
                Worker::start(&Job {
                    dialect: target.dialect,
                    servers: target.addresses.clone(),
                    connections: share,
                    members: self.members,
                    first: number * share,
                    jwt_secret: target.jwt_secret.clone(),
                })
            })
            .collect()
    }
}

/// Huge pages would move the memory of this process's children in steps of two megabytes: prctl(2),
/// `PR_SET_THP_DISABLE`, which children inherit.
#[expect(unsafe_code, reason = "a call that no safe wrapper has")]
fn without_huge_pages() {
    // SAFETY: it sets a flag of this process. Where it fails the report shows huge pages.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
}

/// The usage once the memory has not changed for a while; after the deadline, as it is.
fn settled(pids: &[u32]) -> Result<Usage, String> {
    let mut last = Usage::of(pids)?;
    let mut agreed = 0;
    let settled = until(SETTLE_MAX, || {
        let now = Usage::of(pids).ok()?;
        let same = |now: u64, last: u64| now.abs_diff(last) <= SETTLED_BYTES;
        if same(now.user_bytes, last.user_bytes) && same(now.kernel_bytes, last.kernel_bytes) {
            agreed += 1;
        } else {
            (agreed, last) = (0, now);
        }
        (agreed >= SETTLED_LOOKS).then_some(now)
    });
    settled.map_or_else(|| Usage::of(pids), Ok)
}

fn difference(now: u64, before: u64) -> f64 {
    float(now) - float(before)
}

impl Report {
    /// For people.
    pub(super) fn table(&self) -> String {
        let mut table = format!(
            "{:>12} {:>10} {:>16} {:>11} {:>22}\n",
            "connections", "user, MB", "bytes each more", "kernel, MB", "CPU s/1000 handshakes"
        );
        for step in &self.steps {
            let (user, kernel) = (float(step.user_bytes) / 1e6, float(step.kernel_bytes) / 1e6);
            let (bytes, cpu) = (step.bytes_per_connection, step.cpu_s_per_1000_handshakes);
            let _ = writeln!(
                table,
                "{:>12} {user:>10.1} {bytes:>16.0} {kernel:>11.1} {cpu:>22.4}",
                step.connections
            );
        }
        let _ = writeln!(
            table,
            "{}: {:.0} bytes of the process and {:.0} of the kernel (both ends) for each connection, \
             {:.4} s of CPU for 1,000 handshakes, {:.0} handshakes/s",
            self.server,
            self.user_bytes_per_connection,
            self.kernel_bytes_per_connection,
            self.cpu_s_per_1000_handshakes,
            self.handshakes_per_s,
        );
        if self.steps.iter().any(|step| step.huge_bytes > 0) {
            table += "(huge pages are on, and make this coarse: echo never > /sys/kernel/mm/transparent_hugepage/enabled)\n";
        }
        table
    }
}
