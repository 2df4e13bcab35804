//! How this gateway is, readable from every thread.
//!
//! The counts are written by one thread each and read by whoever answers `/health`; nothing here is on the
//! path of a message.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hubbub_common::clock::{Monotonic, now_ms};
use hubbub_common::gateways::{GatewayCounts, GatewayReport};
use hubbub_common::health::{Health, Status as Word};

/// See the module's text.
#[derive(Debug)]
pub struct Status {
    server_id: String,
    /// Of the public listener.
    address: String,
    driver: &'static str,
    /// Whether the bus is Redis.
    redis: bool,
    started: Monotonic,
    bus_up: AtomicBool,
    draining: AtomicBool,
    connections: Vec<AtomicU64>,
    /// By core: what it has counted, noted once a second.
    counts: Vec<Mutex<GatewayCounts>>,
    /// Of the bus, in the second before.
    lag_ms: AtomicU64,
    /// By core, and behind them the bus: when it last told that it lives, seconds of uptime.
    lived_s: Vec<AtomicU64>,
}

impl Status {
    /// Of a gateway that starts.
    pub fn new(server_id: &str, driver: &'static str, redis: bool, cores: usize) -> Self {
        Self {
            server_id: server_id.to_owned(),
            address: String::new(),
            driver,
            redis,
            started: Monotonic::start(),
            bus_up: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            connections: (0..cores).map(|_| AtomicU64::new(0)).collect(),
            counts: (0..cores).map(|_| Mutex::default()).collect(),
            lag_ms: AtomicU64::new(0),
            lived_s: (0..=cores).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// The same, with the address of its public listener.
    #[must_use]
    pub fn at(self, address: SocketAddr) -> Self {
        Self { address: address.to_string(), ..self }
    }

    /// What operators see.
    pub fn report(&self, run: &str) -> GatewayReport {
        GatewayReport {
            server_id: self.server_id.clone(),
            run: run.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            address: self.address.clone(),
            connections: self.connections(),
            draining: self.is_draining(),
            uptime: self.started.elapsed().as_secs(),
            seen_at: now_ms(),
            cores: self.connections.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
            lag_ms: self.lag_ms.load(Ordering::Relaxed),
            counts: self.counts(),
        }
    }

    /// A core notes what it has counted since the start.
    pub(crate) fn set_counts(&self, core: u16, counts: GatewayCounts) {
        if let Some(of_core) = self.counts.get(usize::from(core)) {
            *of_core.lock().unwrap_or_else(PoisonError::into_inner) = counts;
        }
    }

    fn counts(&self) -> GatewayCounts {
        let mut sum = GatewayCounts::default();
        for of_core in &self.counts {
            sum += *of_core.lock().unwrap_or_else(PoisonError::into_inner);
        }
        sum
    }

    /// The bus notes how old the oldest entry was that it read in the second before.
    pub(crate) fn set_lag_ms(&self, lag_ms: u64) {
        self.lag_ms.store(lag_ms, Ordering::Relaxed);
    }

    /// Notes whether the bus answers; gives what was noted before.
    pub fn set_bus_up(&self, up: bool) -> bool {
        self.bus_up.swap(up, Ordering::Relaxed)
    }

    /// Whether the bus answers.
    pub fn is_bus_up(&self) -> bool {
        self.bus_up.load(Ordering::Relaxed)
    }

    /// No new connections from now on.
    pub fn set_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether new connections are refused because the gateway leaves.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// A core notes how many WebSockets it holds.
    pub fn set_connections(&self, core: u16, count: usize) {
        if let Some(connections) = self.connections.get(usize::from(core)) {
            connections.store(count as u64, Ordering::Relaxed);
        }
    }

    /// Open WebSockets on all cores.
    pub fn connections(&self) -> u64 {
        self.connections.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// A core gets on with its work.
    pub fn core_lives(&self, core: u16) {
        self.lives(usize::from(core));
    }

    /// The bus gets on with its work.
    pub fn bus_lives(&self) {
        self.lives(self.connections.len());
    }

    fn lives(&self, part: usize) {
        if let Some(lived_s) = self.lived_s.get(part) {
            lived_s.store(self.started.elapsed().as_secs(), Ordering::Relaxed);
        }
    }

    /// A thread that has not lived for so long.
    pub fn stuck(&self, silence_max: Duration) -> Option<String> {
        let now_s = self.started.elapsed().as_secs();
        let is_silent = |lived_s: &AtomicU64| {
            now_s.saturating_sub(lived_s.load(Ordering::Relaxed)) > silence_max.as_secs()
        };
        let part = self.lived_s.iter().position(is_silent)?;
        Some(if part < self.connections.len() { format!("core {part}") } else { "the bus".to_owned() })
    }

    /// In a line, for people.
    pub fn summary(&self) -> String {
        let bus = if self.is_bus_up() { "the bus answers" } else { "the bus is away" };
        let draining = if self.is_draining() { "draining: " } else { "" };
        format!("{draining}{} connections, {bus}", self.connections())
    }

    /// The HTTP status and JSON of `/health`.
    pub fn health(&self) -> (u16, String) {
        let bus_up = self.is_bus_up();
        let status = match (self.is_draining(), bus_up) {
            (true, _) => Word::Draining,
            (false, true) => Word::Healthy,
            (false, false) => Word::Degraded,
        };
        let health = Health {
            status,
            timestamp: now_ms(),
            server_id: self.server_id.clone(),
            uptime: self.started.elapsed().as_secs(),
            version: env!("CARGO_PKG_VERSION"),
            services: BTreeMap::from([(if self.redis { "redis" } else { "memory" }, bus_up)]),
            connections: Some(self.connections()),
            driver: Some(self.driver),
            batch_writer_leader: None,
            stream_lag: None,
            batch_writer_problem: None,
        };
        (status.http_status(), serde_json::to_string(&health).unwrap_or_default())
    }
}

/// Held by a thread that the gateway can't do without: when that panics the process ends, for a supervisor to
/// start anew.
pub(crate) struct EndsProcess(pub(crate) &'static str);

impl Drop for EndsProcess {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("{} died: the process ends", self.0);
            #[cfg(test)]
            if hubbub_common::simulation::exit(EXIT_BUG) {
                return;
            }
            std::process::exit(EXIT_BUG);
        }
    }
}

/// The exit code after a bug (`EX_SOFTWARE` of sysexits.h).
pub(crate) const EXIT_BUG: i32 = 70;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_follows_bus_and_drain() {
        let status = Status::new("g1", "io_uring", true, 2);
        let check = |code: u16, word: &str| {
            let (got, json) = status.health();
            assert_eq!(got, code);
            assert!(json.contains(&format!("\"status\":\"{word}\"")), "{json}");
        };
        check(200, "degraded");
        assert!(!status.set_bus_up(true));
        check(200, "healthy");
        status.set_connections(1, 7);
        assert!(status.health().1.contains("\"connections\":7"));
        status.set_draining();
        check(503, "draining");
    }

    #[test]
    fn a_report_has_each_core_and_the_sum_of_what_they_counted() {
        let status = Status::new("g1", "io_uring", true, 2);
        for (core, connections) in [(0, 5), (1, 7)] {
            status.set_connections(core, connections);
            let (published, delivered) = (u64::from(core) + 1, 10);
            status.set_counts(core, GatewayCounts { published, delivered, handshakes: 3, evicted: 1 });
        }
        status.set_lag_ms(12);
        let report = status.report("g1#1");
        assert_eq!((report.cores, report.connections, report.lag_ms), (vec![5, 7], 12, 12));
        let sum = GatewayCounts { published: 3, delivered: 20, handshakes: 6, evicted: 2 };
        assert_eq!(report.counts, sum);
    }
}
