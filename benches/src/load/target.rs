//! The server that is measured: a private Hubbub, or a peer.

use std::net::SocketAddr;
use std::time::Duration;

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::dialect::Dialect;
use crate::peers::{self, Peer};
use crate::stack::{Part, Stack};

/// What a floor adds to each message: so are its frames as long as ours with their names, ids and times.
const FLOOR_PAD_BYTES: usize = 122;

/// What to start.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// `hubbub`, or the name of a peer.
    pub(super) server: String,
    /// Gateways; peers are one.
    pub(super) gateways: usize,
    /// Over Redis instead of in memory.
    pub(super) redis: bool,
    /// With a control plane, whose batch writer gets messages into Postgres and trims the streams behind two resume
    /// windows of this length.
    pub(super) persisted: Option<Duration>,
}

/// A running server.
pub(super) struct Target {
    pub(super) dialect: Dialect,
    /// Where clients connect.
    pub(super) addresses: Vec<SocketAddr>,
    /// Whose CPU and memory count.
    pub(super) pids: Vec<u32>,
    /// Of the Redis beside it, if there is one.
    pub(super) redis_pid: Option<u32>,
    pub(super) jwt_secret: String,
    running: Running,
}

enum Running {
    Stack(Box<Stack>),
    Peers(Vec<Peer>),
}

impl Target {
    /// Starts it, measures, and puts the end of its log behind what went wrong.
    pub(super) fn with<R>(
        wanted: &Wanted,
        measure: impl FnOnce(&Self) -> Result<R, String>,
    ) -> Result<R, String> {
        let target = Self::start(wanted)?;
        measure(&target).map_err(|problem| format!("{problem}\n{}", target.log_tail()))
    }

    /// Starts it. A single server gets the first CPU for itself, and this process the others, unless there are further
    /// programs that need one.
    fn start(wanted: &Wanted) -> Result<Self, String> {
        let cpus = cpus()?;
        let target = if wanted.server == "hubbub" { hubbub(wanted, &cpus)? } else { peer(wanted)? };
        if let ([first, others @ ..], [_]) = (&*cpus, &*target.addresses)
            && !others.is_empty()
            && wanted.persisted.is_none()
        {
            for pid in &target.pids {
                pin(*pid, *first)?;
            }
            set_affinity(None, others)?;
        }
        Ok(target)
    }

    /// The private Hubbub.
    pub(super) fn stack(&self) -> Result<&Stack, String> {
        match &self.running {
            Running::Stack(stack) => Ok(stack),
            Running::Peers(_) => Err("a peer has no parts of ours".to_owned()),
        }
    }

    /// What its log said last.
    fn log_tail(&self) -> String {
        match &self.running {
            Running::Stack(stack) => {
                stack.gateways().iter().chain(stack.controls()).map(Part::log_tail).collect::<Vec<_>>()
            }
            Running::Peers(peers) => peers.iter().map(Peer::log_tail).collect(),
        }
        .join("\n")
    }
}

fn hubbub(wanted: &Wanted, cpus: &[usize]) -> Result<Target, String> {
    let mut builder = Stack::builder()
        .controls(usize::from(wanted.persisted.is_some()))
        // What persists waits for the disk, as in production.
        .durable(wanted.persisted.is_some())
        .without_haproxy()
        .gateways(wanted.gateways)
        .env("HUBBUB_HEARTBEAT_SECONDS", "3600")
        .env("HUBBUB_SENDS_PER_SECOND", "0");
    for gateway in 0..wanted.gateways {
        let cpu = cpus.get(gateway % cpus.len().max(1)).copied().unwrap_or(0);
        builder = builder.env_of_part(format!("gateway-{}", gateway + 1), "HUBBUB_CORES", cpu.to_string());
    }
    if let Some(window) = wanted.persisted {
        builder = builder.env("HUBBUB_RESUME_WINDOW_SECONDS", window.as_secs().to_string());
    } else if !wanted.redis {
        builder = builder.without_redis();
    }
    let stack = builder.start().map_err(|error| error.to_string())?;
    let addresses: Option<Vec<SocketAddr>> =
        stack.gateways().iter().map(|gateway| gateway.url().strip_prefix("http://")?.parse().ok()).collect();
    let pids: Option<Vec<u32>> = stack.gateways().iter().map(Part::pid).collect();
    Ok(Target {
        dialect: Dialect::Hubbub,
        addresses: addresses.ok_or("a gateway has no address")?,
        pids: pids.ok_or("a gateway ended")?,
        redis_pid: stack.redis().and_then(Part::pid),
        jwt_secret: stack.jwt_secret().to_owned(),
        running: Running::Stack(Box::new(stack)),
    })
}

fn peer(wanted: &Wanted) -> Result<Target, String> {
    let kind = peers::Kind::parse(&wanted.server).ok_or_else(|| {
        let names: Vec<_> = peers::Kind::ALL.iter().map(|kind| kind.name()).collect();
        format!("--server: expected hubbub or one of {}, got {}", names.join(", "), wanted.server)
    })?;
    if wanted.gateways > 1 && kind != peers::Kind::SocketIo {
        return Err(format!("--gateways: {} is one server here", wanted.server));
    }
    let failed = |error: peers::PeerError| error.to_string();
    let first = Peer::start_padded(kind, None, FLOOR_PAD_BYTES).map_err(failed)?;
    let mut others = Vec::new();
    for _ in 1..wanted.gateways {
        others.push(first.start_beside().map_err(failed)?);
    }
    let all = || others.iter().chain([&first]);
    Ok(Target {
        dialect: match first.dialect() {
            peers::Dialect::Room => Dialect::Room,
            peers::Dialect::SocketIo => Dialect::SocketIo,
            peers::Dialect::Nats => Dialect::Nats,
        },
        addresses: all().map(Peer::address).collect(),
        pids: all().flat_map(Peer::pids).collect(),
        redis_pid: first.helper_pids().first().copied(),
        jwt_secret: String::new(),
        // The first one's Redis goes last.
        running: Running::Peers(others.into_iter().chain([first]).collect()),
    })
}

/// The CPUs that this process may use.
pub(super) fn cpus() -> Result<Vec<usize>, String> {
    let set = sched_getaffinity(None).map_err(|error| format!("CPU affinity: {error}"))?;
    Ok((0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect())
}

/// Every thread of a process onto one CPU.
fn pin(pid: u32, cpu: usize) -> Result<(), String> {
    let tasks = format!("/proc/{pid}/task");
    for task in std::fs::read_dir(&tasks).map_err(|error| format!("{tasks}: {error}"))?.flatten() {
        let thread = task.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        set_affinity(thread, &[cpu])?;
    }
    Ok(())
}

fn set_affinity(thread: Option<Pid>, cpus: &[usize]) -> Result<(), String> {
    let mut set = CpuSet::new();
    for cpu in cpus {
        set.set(*cpu);
    }
    sched_setaffinity(thread, &set).map_err(|error| format!("CPU affinity: {error}"))
}
