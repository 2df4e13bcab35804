//! Messages for a long time, while clients come and go: nothing may be lost or doubled, and memory has to stay
//! where it is, that of Redis too where somebody trims its streams ([`super::plateau`]).

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::ledger::{Faults, Seating};
use super::plateau::{Load, Plateau};
use super::progress::{Progress, float};
use super::resume::Resume;
use super::streams::{Held, Streams};
use super::target::{self, Target};
use super::usage::Usage;

/// Between two looks at the memory, at most.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Looks in a short run.
const LOOKS: u32 = 20;
/// A step through the connections that meets all of them, in an order of no meaning: a prime.
const STRIDE: usize = 7_919;

/// A run.
#[derive(Debug, Clone)]
pub(super) struct Soak {
    pub(super) target: target::Wanted,
    pub(super) seating: Seating,
    /// Messages a second.
    pub(super) rate: f64,
    /// Connections cut in each second.
    pub(super) churn: f64,
    pub(super) payload_bytes: usize,
    pub(super) time: Duration,
}

/// One look at the server.
#[derive(Debug, Clone, Copy, Serialize)]
struct Look {
    at_s: f64,
    user_bytes: u64,
    cpu_s: f64,
    /// Where the streams are trimmed.
    redis: Option<Held>,
}

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Report {
    mode: &'static str,
    server: String,
    gateways: usize,
    redis: bool,
    connections: usize,
    rooms: usize,
    rate: f64,
    churn: f64,
    seconds: f64,
    cuts: u64,
    published: u64,
    deliveries: u64,
    replayed: u64,
    #[serde(flatten)]
    faults: Faults,
    cpu_s: f64,
    looks: Vec<Look>,
    /// From the look after a third of the time to the last one; both ends hold the same connections.
    grown_bytes: i64,
    plateau: Option<Plateau>,
}

impl Soak {
    pub(super) fn run(&self) -> Result<Report, String> {
        Target::with(&self.target, |target| self.measure(target))
    }

    fn measure(&self, target: &Target) -> Result<Report, String> {
        let mut progress = Progress::new();
        progress.say("connecting");
        let mut resume = Resume::start(target, self.seating, self.rate, self.payload_bytes)?;
        let cpu_before = Usage::of(&target.pids)?.cpu_ns;
        let began = resume.fleet.clock.elapsed();
        let mut streams = match self.target.persisted {
            Some(_) => Some(Streams::of(target.stack()?.redis_url().ok_or("no Redis")?)?),
            None => None,
        };
        let look_every = LOOK_EVERY.min(self.time / LOOKS);
        let mut looks: Vec<Look> = Vec::new();
        let mut cuts = 0;
        let mut next = 0;
        loop {
            let now = resume.fleet.clock.elapsed().saturating_sub(began);
            if now >= look_every * u32::try_from(looks.len()).unwrap_or(u32::MAX) || now >= self.time {
                let usage = Usage::of(&target.pids)?;
                let cpu_s = float(usage.cpu_ns - cpu_before) / 1e9;
                let redis = streams.as_mut().map(Streams::held).transpose()?;
                looks.push(Look { at_s: now.as_secs_f64(), user_bytes: usage.user_bytes, cpu_s, redis });
            }
            if now >= self.time {
                break;
            }
            while float(cuts) < now.as_secs_f64() * self.churn {
                next = (next + STRIDE) % self.seating.connections;
                resume.cut(next);
                cuts += 1;
            }
            resume.step()?;
            progress.say_at_times(|| {
                let megabytes = looks.last().map_or(0.0, |look| float(look.user_bytes) / 1e6);
                format!(
                    "{:.0} s, {} open, {} messages, {} deliveries, {cuts} cuts, {megabytes:.1} MB",
                    now.as_secs_f64(),
                    resume.fleet.open,
                    resume.published(),
                    resume.deliveries(),
                )
            });
        }
        resume.finish()?;
        progress.end();
        let plateau = match (self.target.persisted, &streams) {
            (Some(window), Some(streams)) => {
                let load = Load { window, rate: self.rate, streams: streams.count(), time: self.time };
                Some(load.judge(looks.iter().filter_map(|look| Some((look.at_s, look.redis?))))?)
            }
            _ => None,
        };
        let bytes = |look: Option<&Look>| look.map_or(0, |look| look.user_bytes.cast_signed());
        let grown_bytes = bytes(looks.last()) - bytes(looks.get(looks.len() / 3));
        Ok(Report {
            mode: "soak",
            server: self.target.server.clone(),
            gateways: self.target.gateways,
            redis: self.target.redis,
            connections: self.seating.connections,
            rooms: self.seating.rooms,
            rate: self.rate,
            churn: self.churn,
            seconds: self.time.as_secs_f64(),
            cuts,
            published: resume.published(),
            deliveries: resume.deliveries(),
            replayed: resume.replayed,
            faults: resume.faults(),
            cpu_s: looks.last().map_or(0.0, |look| look.cpu_s),
            looks,
            grown_bytes,
            plateau,
        })
    }
}

impl Report {
    /// For people.
    pub(super) fn table(&self) -> String {
        let mut table = format!(
            "{:>8} {:>10} {:>10} {:>10} {:>10}\n",
            "s", "memory, MB", "CPU, s", "Redis, MB", "entries"
        );
        for look in &self.looks {
            let redis = look.redis.map_or_else(String::new, |held| {
                format!(" {:>10.1} {:>10}", float(held.bytes) / 1e6, held.entries)
            });
            let _ = writeln!(
                table,
                "{:>8.0} {:>10.1} {:>10.1}{redis}",
                look.at_s,
                float(look.user_bytes) / 1e6,
                look.cpu_s
            );
        }
        table += &self.plateau.map_or_else(String::new, |plateau| plateau.text());
        table
            + &format!(
                "{} connections in {} rooms, {} cuts: {} messages, {} deliveries, {} of them replayed; none lost, doubled or out of order\n",
                self.connections, self.rooms, self.cuts, self.published, self.deliveries, self.replayed,
            )
    }
}
