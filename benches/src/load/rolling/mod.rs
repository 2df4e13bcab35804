//! Every gateway is restarted, or hands over to a new process, one after the other, behind `HAProxy` and under load, as an upgrade would: how long
//! clients are away, whether the other gateways are overrun, and whether anything is missing or doubled.

mod crowd;
mod moves;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use hdrhistogram::Histogram;
use hubbub_common::clock::Monotonic;
use serde::Serialize;

use super::ledger::{Faults, Seating};
use super::progress::{Progress, float};
use super::target::cpus;
use crate::stack::{Part, Stack, wait};
use crowd::Crowd;

/// How long messages go on before the first gateway leaves and after the last one is back.
const AROUND: Duration = Duration::from_secs(1);
/// How long a gateway may take to leave, besides what its pace takes.
const LEAVE_MAX: Duration = Duration::from_mins(1);
/// How long `HAProxy` may take to see it again.
const SEEN_MAX: Duration = Duration::from_secs(30);
/// Looks in a row, 20 ms apart, at which it has to see it: more than its checks are apart, so that none from before the
/// restart is still under way.
const SEEN_LOOKS: u32 = 100;

/// A run.
#[derive(Debug, Clone)]
pub(super) struct Rolling {
    pub(super) gateways: usize,
    pub(super) haproxies: usize,
    pub(super) seating: Seating,
    /// Messages a second, all the time.
    pub(super) rate: f64,
    pub(super) payload_bytes: usize,
    /// `HUBBUB_DRAIN_PER_SECOND`
    pub(super) drain_per_second: usize,
    /// Hand over to a new process instead.
    pub(super) reload: bool,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct Times {
    p50: f64,
    p99: f64,
    max: f64,
}

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Report {
    mode: &'static str,
    gateways: usize,
    haproxies: usize,
    connections: usize,
    rooms: usize,
    rate: f64,
    drain_per_second: usize,
    reload: bool,
    /// From the first gateway's signal until the last one was seen again.
    seconds: f64,
    /// Times that a client was back in its room.
    moves: u64,
    /// Connections that ended without a word.
    untold: u64,
    /// Tries to come back that were refused, or broke off.
    refused: u64,
    /// From `bye` until joined again, with the wait that the gateway asked for.
    away_ms: Times,
    /// The same without that wait.
    late_ms: Times,
    /// The most that joined again in any second.
    rejoins_per_s_max: usize,
    /// From publishing to delivery, of every message.
    delivery_ms: Times,
    published: u64,
    deliveries: u64,
    replayed: u64,
    #[serde(flatten)]
    faults: Faults,
}

impl Rolling {
    pub(super) fn run(&self) -> Result<Report, String> {
        let stack = self.start()?;
        self.measure(&stack).map_err(|problem| {
            let mut logs = String::new();
            for part in stack.parts() {
                let _ = writeln!(logs, "--- {}\n{}", part.name(), part.log_tail());
            }
            format!("{problem}\n{logs}")
        })
    }

    fn start(&self) -> Result<Stack, String> {
        let mut builder = Stack::builder()
            .controls(0)
            .gateways(self.gateways)
            .haproxies(self.haproxies)
            .env("HUBBUB_SENDS_PER_SECOND", "0")
            .env("HUBBUB_DRAIN_PER_SECOND", self.drain_per_second.to_string());
        let cpus = cpus()?;
        for gateway in 0..self.gateways {
            let cpu = cpus.get(gateway % cpus.len().max(1)).copied().unwrap_or(0);
            builder =
                builder.env_of_part(format!("gateway-{}", gateway + 1), "HUBBUB_CORES", cpu.to_string());
        }
        builder.start().map_err(|error| error.to_string())
    }

    fn measure(&self, stack: &Stack) -> Result<Report, String> {
        let addresses: Option<Vec<SocketAddr>> = stack
            .haproxies()
            .iter()
            .map(|haproxy| haproxy.url().strip_prefix("http://")?.parse().ok())
            .collect();
        let addresses = addresses.ok_or("HAProxy has no address")?;
        let mut progress = Progress::new();
        progress.say("connecting");
        let mut crowd =
            Crowd::start(&addresses, stack.jwt_secret(), self.seating, self.rate, self.payload_bytes)?;
        crowd.step_for(AROUND)?;
        let clock = Monotonic::start();
        std::thread::scope(|scope| {
            let restarting = scope.spawn(|| self.restart(stack));
            let mut outcome = Ok(());
            while outcome.is_ok() && !restarting.is_finished() {
                outcome = crowd.step();
                progress.say_at_times(|| crowd.told());
            }
            let restarted = restarting.join().map_err(|_| "restarting panicked".to_owned())?;
            restarted.and(outcome)
        })?;
        let seconds = clock.elapsed().as_secs_f64();
        crowd.step_for(AROUND)?;
        progress.say("waiting for everything to come");
        crowd.finish()?;
        progress.end();
        let moves = &crowd.moves;
        Ok(Report {
            mode: "rolling",
            gateways: self.gateways,
            haproxies: self.haproxies,
            connections: self.seating.connections,
            rooms: self.seating.rooms,
            rate: self.rate,
            drain_per_second: self.drain_per_second,
            reload: self.reload,
            seconds,
            moves: moves.away_ns.len(),
            untold: moves.untold,
            refused: moves.refused,
            away_ms: times(&moves.away_ns),
            late_ms: times(&moves.late_ns),
            rejoins_per_s_max: moves.most_in_a_second(),
            delivery_ms: times(&crowd.ledger.latency_ns),
            published: crowd.ledger.published(),
            deliveries: crowd.ledger.deliveries,
            replayed: crowd.replayed,
            faults: crowd.ledger.faults(),
        })
    }

    /// As an operator would: the next one leaves once everybody sees the one before again.
    fn restart(&self, stack: &Stack) -> Result<(), String> {
        let paced = self.seating.connections.div_ceil(self.drain_per_second) as u64;
        for gateway in stack.gateways() {
            let text = |error: crate::stack::StackError| error.to_string();
            if self.reload {
                gateway.succeed().map_err(text)?;
            } else {
                gateway.stop_within(LEAVE_MAX + Duration::from_secs(paced)).map_err(text)?;
                gateway.start().map_err(text)?;
            }
            for haproxy in stack.haproxies() {
                let mut looks = 0;
                let seen = wait::until(SEEN_MAX, || {
                    looks = if sees(haproxy, gateway.name()) { looks + 1 } else { 0 };
                    (looks >= SEEN_LOOKS).then_some(())
                });
                seen.ok_or_else(|| format!("{} does not see {} again", haproxy.name(), gateway.name()))?;
            }
        }
        Ok(())
    }
}

/// Whether `HAProxy` sends clients to a gateway.
fn sees(haproxy: &Part, gateway: &str) -> bool {
    let answer = haproxy.metrics_url().and_then(|url| ureq::get(url).call().ok());
    let metrics = answer.and_then(|answer| answer.into_body().read_to_string().ok()).unwrap_or_default();
    let up = format!(r#"haproxy_server_status{{proxy="gateways",server="{gateway}",state="UP"}} 1"#);
    metrics.lines().any(|line| line == up)
}

fn times(ns: &Histogram<u64>) -> Times {
    let ms = |quantile| float(ns.value_at_quantile(quantile)) / 1e6;
    Times { p50: ms(0.5), p99: ms(0.99), max: ms(1.0) }
}

impl Report {
    /// For people.
    pub(super) fn table(&self) -> String {
        format!(
            "{} gateways were {} behind {} HAProxys in {:.1} s, with {} connections in {} rooms at {} messages/s:\n\
             {} moves, {} of them unannounced, {} tries refused; at most {} joined again within a second\n\
             away: p50 {:.0} ms, p99 {:.0} ms, max {:.0} ms; without the wait that was asked for: p50 {:.0} ms, p99 {:.0} ms, max {:.0} ms\n\
             delivery: p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms\n\
             {} messages, {} deliveries, {} of them replayed; none lost, doubled or out of order\n",
            self.gateways,
            if self.reload { "reloaded" } else { "restarted" },
            self.haproxies,
            self.seconds,
            self.connections,
            self.rooms,
            self.rate,
            self.moves,
            self.untold,
            self.refused,
            self.rejoins_per_s_max,
            self.away_ms.p50,
            self.away_ms.p99,
            self.away_ms.max,
            self.late_ms.p50,
            self.late_ms.p99,
            self.late_ms.max,
            self.delivery_ms.p50,
            self.delivery_ms.p99,
            self.delivery_ms.max,
            self.published,
            self.deliveries,
            self.replayed,
        )
    }
}
