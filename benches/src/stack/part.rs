//! One process of a stack.

use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::Signal;

use super::StackError;
use super::ports::Lease;
use super::procfs;
use super::spawn::{Launch, spawn};
use super::wait::{Probe, until};

/// How long a part may take to become ready.
const READY_MAX: Duration = Duration::from_mins(1);
/// How long a part may take to leave in good order.
const STOP_MAX: Duration = Duration::from_secs(20);
/// How long a killed part may take to be gone.
const KILL_MAX: Duration = Duration::from_secs(10);
/// Lines of a log that an error shows.
const TAIL_LINES: usize = 15;

/// What a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `hubbub-gateway`
    Gateway,
    /// `hubbub-control serve`
    Control,
    /// `redis-server`
    Redis,
    /// `postgres`
    Postgres,
    /// `haproxy`
    Haproxy,
    /// A server that Hubbub is compared with
    Peer,
}

impl Kind {
    /// The word in `stack.json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Control => "control",
            Self::Redis => "redis",
            Self::Postgres => "postgres",
            Self::Haproxy => "haproxy",
            Self::Peer => "peer",
        }
    }

    /// What asks it to leave soon and in good order: Postgres waits for its clients after SIGTERM.
    fn stop_signal(self) -> Signal {
        if self == Self::Postgres { Signal::INT } else { Signal::TERM }
    }

    /// What ends it at once. Postgres has children and shared memory to take along, nginx its workers.
    fn end_signal(self) -> Signal {
        match self {
            Self::Postgres => Signal::QUIT,
            Self::Peer => Signal::TERM,
            Self::Gateway | Self::Control | Self::Redis | Self::Haproxy => Signal::KILL,
        }
    }
}

/// A process, running or not. Dropping it ends it.
#[derive(Debug)]
pub struct Part {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) url: String,
    pub(super) metrics: Option<SocketAddr>,
    pub(super) launch: Launch,
    pub(super) probe: Probe,
    pub(super) process: Mutex<Process>,
    /// Held for as long as the part may be started again.
    pub(super) leases: Vec<Lease>,
}

#[derive(Debug, Default)]
pub(super) struct Process {
    child: Option<Child>,
    /// Lets the paused part go on, so that it can end, when this process ends.
    waker: Option<Child>,
}

impl Process {
    pub(super) fn none() -> Mutex<Self> {
        Mutex::default()
    }
}

impl Part {
    /// A server that is no part of Hubbub.
    pub(crate) fn peer(
        name: &str,
        address: SocketAddr,
        launch: Launch,
        probe: Probe,
        leases: Vec<Lease>,
    ) -> Self {
        Self {
            name: name.to_owned(),
            kind: Kind::Peer,
            url: format!("ws://{address}"),
            metrics: None,
            launch,
            probe,
            process: Process::none(),
            leases,
        }
    }

    /// Its own port. Panics for a part without one, of which there is none.
    pub(super) fn lease(&self) -> &Lease {
        self.leases.first().unwrap_or_else(|| panic!("{} has no port", self.name))
    }

    /// Such as `gateway-1`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Where its clients connect.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where Prometheus reads it, if it can.
    pub fn metrics_url(&self) -> Option<String> {
        self.metrics.map(|address| format!("http://{address}/metrics"))
    }

    /// Where its health is told internally, if it tells it by HTTP.
    pub fn health_url(&self) -> Option<String> {
        self.metrics.map(|address| format!("http://{address}/health"))
    }

    /// Its output.
    pub fn log(&self) -> &Path {
        &self.launch.log
    }

    /// The last lines of its output.
    pub fn log_tail(&self) -> String {
        tail(&self.launch.log)
    }

    /// The running process.
    pub fn pid(&self) -> Option<u32> {
        self.process().child.as_ref().map(Child::id)
    }

    /// Starts it and waits until it is ready. Its address is the same every time.
    pub fn start(&self) -> Result<(), StackError> {
        self.launch()?;
        self.wait_ready()
    }

    /// Starts it, and does not wait.
    pub fn launch(&self) -> Result<(), StackError> {
        let mut process = self.process();
        if process.child.is_some() {
            return Err(self.error("is running already"));
        }
        let child = self.launch.spawn(Stdio::null());
        process.child = Some(child.map_err(StackError::io(format!("starting {}", self.name)))?);
        Ok(())
    }

    /// Waits until it is ready.
    pub fn wait_ready(&self) -> Result<(), StackError> {
        let ready = until(READY_MAX, || match (self.exited(), self.pid()) {
            (Some(status), _) => Some(Err(self.error(&format!("ended before it was ready ({status})")))),
            (None, None) => Some(Err(self.error("is not running"))),
            (None, Some(pid)) => self.probe.is_ready(pid).then_some(Ok(())),
        });
        let late = || self.error(&format!("was not ready within {} s", READY_MAX.as_secs()));
        ready.unwrap_or_else(|| Err(late()))
    }

    /// Starts it once more, as a successor to which the running process hands over, and waits until that has left. Where
    /// it fails, the running process stays.
    pub fn succeed(&self) -> Result<(), StackError> {
        let successor = self.launch.clone().args(["--take-over"]).spawn(Stdio::null());
        let mut successor = successor.map_err(StackError::io(format!("starting {}", self.name)))?;
        let outcome = until(READY_MAX, || match (successor.try_wait(), self.exited()) {
            (Ok(Some(status)), _) => Some(Err(format!("the successor ended ({status})"))),
            (_, Some(status)) => {
                Some(if status.success() { Ok(()) } else { Err(format!("ended ({status})")) })
            }
            (_, None) => None,
        });
        if let Err(problem) = outcome.unwrap_or_else(|| Err("nothing was handed over in time".to_owned())) {
            // It may have ended already.
            let _ = successor.kill();
            let _ = successor.wait();
            return Err(self.error(&problem));
        }
        self.process().child = Some(successor);
        self.wait_ready()
    }

    /// The running process and those that it started.
    pub fn pids(&self) -> Vec<u32> {
        let pid = self.pid();
        pid.into_iter().chain(pid.into_iter().flat_map(procfs::descendants)).collect()
    }

    /// How it ended, if it ended by itself or by somebody else's doing; told once.
    pub fn exited(&self) -> Option<ExitStatus> {
        let mut process = self.process();
        let status = process.child.as_mut()?.try_wait().ok().flatten()?;
        process.child = None;
        Some(status)
    }

    /// Asks it to leave in good order, and waits until it has.
    pub fn stop(&self) -> Result<(), StackError> {
        self.stop_within(STOP_MAX)
    }

    /// The same for one that has much to do before.
    pub fn stop_within(&self, time: Duration) -> Result<(), StackError> {
        self.resume()?;
        if self.end(self.kind.stop_signal(), time) {
            return Ok(());
        }
        let error = self.error(&format!("did not stop within {} s", time.as_secs()));
        self.kill()?;
        Err(error)
    }

    /// SIGKILL, as a crash would be, and waits until it is gone.
    pub fn kill(&self) -> Result<(), StackError> {
        let ended = self.end(Signal::KILL, KILL_MAX);
        self.resume()?;
        if ended { Ok(()) } else { Err(self.error("did not end after SIGKILL")) }
    }

    /// The hardest end after which it can be started again.
    pub fn crash(&self) -> Result<(), StackError> {
        let ended = self.end(self.kind.end_signal(), KILL_MAX);
        if ended { Ok(()) } else { Err(self.error("did not end when it was killed")) }
    }

    /// Freezes it and its children (SIGSTOP): its sockets stay open and nothing answers.
    pub fn pause(&self) -> Result<(), StackError> {
        let Some(pid) = self.pid() else { return Err(self.error("is not running")) };
        let pausing = || StackError::io(format!("pausing {}", self.name));
        let mut process = self.process();
        let waker = process.waker.insert(waker(pid).map_err(pausing())?);
        // The parent first, so that it starts no more children while they are being paused.
        procfs::signal(pid, Signal::STOP);
        for child in procfs::descendants(pid) {
            if let Some(pids) = &mut waker.stdin {
                writeln!(pids, "{child}").map_err(pausing())?;
            }
            procfs::signal(child, Signal::STOP);
        }
        Ok(())
    }

    /// Lets a paused part go on.
    pub fn resume(&self) -> Result<(), StackError> {
        let mut process = self.process();
        let Some(mut waker) = process.waker.take() else { return Ok(()) };
        // At the end of its input it wakes the part.
        drop(waker.stdin.take());
        waker.wait().map(drop).map_err(StackError::io(format!("resuming {}", self.name)))
    }

    /// Sends a signal and waits; whether it has ended.
    fn end(&self, signal: Signal, time: Duration) -> bool {
        let Some(pid) = self.pid() else { return true };
        procfs::signal(pid, signal);
        until(time, || (self.exited().is_some() || self.pid().is_none()).then_some(())).is_some()
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(&self, problem: &str) -> StackError {
        StackError::Part {
            part: self.name.clone(),
            problem: problem.to_owned(),
            log: self.launch.log.display().to_string(),
            tail: self.log_tail(),
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let resumed = self.resume();
        if !self.end(self.kind.end_signal(), KILL_MAX) || resumed.is_err() {
            self.end(Signal::KILL, KILL_MAX);
        }
    }
}

/// A process that sends SIGCONT to this process, and to those whose ids it reads, when the other end of its pipe is
/// closed, which the kernel does for the dead.
fn waker(pid: u32) -> io::Result<Child> {
    let script = r#"pids=$1; while read -r pid; do pids="$pids $pid"; done; kill -CONT $pids"#;
    let mut command = Command::new("sh");
    command.args(["-c", script, "waker"]).arg(pid.to_string()).process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    spawn(command)
}

/// The last lines of a file.
pub(super) fn tail(log: &Path) -> String {
    let text = String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned();
    let lines: Vec<_> = text.lines().collect();
    let from = lines.len().saturating_sub(TAIL_LINES);
    lines.get(from..).unwrap_or_default().join("\n")
}
