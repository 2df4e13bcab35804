//! Every connection is cut at once and comes back, while messages go on: how long until all have resumed, and
//! what that costs the server.

use std::time::Duration;

use serde::Serialize;

use super::fleet::Waiting;
use super::ledger::{Faults, Seating};
use super::progress::{Progress, float};
use super::resume::Resume;
use super::target::{self, Target};
use super::usage::cpu_ns;

/// How long messages go on before the cut, so that there is something to miss meanwhile.
const BEFORE: Duration = Duration::from_secs(1);

/// A run.
#[derive(Debug, Clone)]
pub(super) struct Storm {
    pub(super) target: target::Wanted,
    pub(super) seating: Seating,
    /// Messages a second, before, during and after.
    pub(super) rate: f64,
    pub(super) payload_bytes: usize,
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
    /// From the cut until the last one has joined its room again.
    seconds_to_resumed: f64,
    /// From the cut until everything has come to everybody.
    cpu_s: f64,
    cpu_s_per_1000: f64,
    /// Of the Redis beside it, in the same time.
    redis_cpu_s: Option<f64>,
    published: u64,
    deliveries: u64,
    replayed: u64,
    #[serde(flatten)]
    faults: Faults,
}

impl Storm {
    pub(super) fn run(&self) -> Result<Report, String> {
        Target::with(&self.target, |target| self.measure(target))
    }

    fn measure(&self, target: &Target) -> Result<Report, String> {
        let mut progress = Progress::new();
        progress.say("connecting");
        let mut resume = Resume::start(target, self.seating, self.rate, self.payload_bytes)?;
        let began = resume.fleet.clock.elapsed();
        while resume.fleet.clock.elapsed().saturating_sub(began) < BEFORE {
            resume.step()?;
        }
        let redis_cpu = || target.redis_pid.map(|pid| cpu_ns(&[pid])).transpose();
        let (cpu_before, redis_before) = (cpu_ns(&target.pids)?, redis_cpu()?);
        let cut = resume.fleet.clock.elapsed();
        resume.cut_all();
        let mut waiting = Waiting::new(&resume.fleet);
        while !resume.all_open() {
            resume.step()?;
            waiting.check(&resume.fleet)?;
            progress
                .say_at_times(|| format!("{} of {} are back", resume.fleet.open, self.seating.connections));
        }
        let resumed = resume.fleet.clock.elapsed();
        resume.finish()?;
        progress.end();
        let cpu_s = float(cpu_ns(&target.pids)? - cpu_before) / 1e9;
        Ok(Report {
            mode: "storm",
            server: self.target.server.clone(),
            gateways: self.target.gateways,
            redis: self.target.redis,
            connections: self.seating.connections,
            rooms: self.seating.rooms,
            rate: self.rate,
            seconds_to_resumed: resumed.saturating_sub(cut).as_secs_f64(),
            cpu_s,
            cpu_s_per_1000: cpu_s * 1e3 / float(self.seating.connections as u64),
            redis_cpu_s: redis_cpu()?.zip(redis_before).map(|(after, before)| float(after - before) / 1e9),
            published: resume.published(),
            deliveries: resume.deliveries(),
            replayed: resume.replayed,
            faults: resume.faults(),
        })
    }
}

impl Report {
    /// For people.
    pub(super) fn table(&self) -> String {
        format!(
            "{} connections in {} rooms were cut at {} messages/s: all resumed after {:.2} s\n\
             server CPU: {:.2} s, {:.3} s for 1,000 connections{}\n\
             {} messages, {} deliveries, {} of them replayed; none lost, doubled or out of order\n",
            self.connections,
            self.rooms,
            self.rate,
            self.seconds_to_resumed,
            self.cpu_s,
            self.cpu_s_per_1000,
            self.redis_cpu_s.map_or_else(String::new, |cpu_s| format!("; Redis: {cpu_s:.2} s")),
            self.published,
            self.deliveries,
            self.replayed,
        )
    }
}
