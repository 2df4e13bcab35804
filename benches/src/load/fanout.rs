//! Messages to rooms, at a rate or as fast as a window of outstanding ones allows: server CPU for each
//! delivery, latency, and whether everything came to everybody in order.

use std::time::Duration;

use serde::Serialize;

use super::fleet::{Fleet, Happened, Plan};
use super::ledger::{Faults, Ledger, Seating};
use super::probe::{Probe, probes};
use super::progress::{Progress, float};
use super::target::{self, Target};
use super::usage::cpu_ns;

/// How long everything that was sent may take to come.
const ARRIVE_MAX: Duration = Duration::from_secs(20);
/// How long nothing may come before a server counts as being at rest.
const REST: Duration = Duration::from_millis(300);
/// How long coming to rest may take.
const REST_MAX: Duration = Duration::from_secs(30);
/// Messages outstanding while rooms are warmed up.
const WARM_UP_WINDOW: u64 = 64;
/// Rooms warmed up, at most.
const WARM_UP_ROOMS: usize = 2_000;

/// How fast to publish.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Pace {
    /// Messages a second, whether or not earlier ones have come.
    Rate(f64),
    /// So many messages outstanding at once, counted by their deliveries.
    Window(u64),
}

/// A run.
#[derive(Debug, Clone)]
pub(super) struct Fanout {
    pub(super) target: target::Wanted,
    pub(super) seating: Seating,
    pub(super) pace: Pace,
    pub(super) payload_bytes: usize,
    pub(super) time: Duration,
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
    members: usize,
    rate: Option<f64>,
    window: Option<u64>,
    payload_bytes: usize,
    seconds: f64,
    published: u64,
    deliveries: u64,
    #[serde(flatten)]
    faults: Faults,
    cpu_s: f64,
    redis_cpu_s: Option<f64>,
    cpu_us_per_delivery: f64,
    cpu_us_per_message: f64,
    deliveries_per_s: f64,
    deliveries_per_read: f64,
    /// Received for each delivery, with heads, acknowledgements and whatever else.
    frame_bytes: f64,
    latency_us: Latency,
    /// Upper bound in microseconds, and how many were at or below it but above the one before.
    latency_buckets: Vec<(f64, u64)>,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct Latency {
    p50: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

/// A fleet, its ledger, and the rooms' turn to be published to.
struct Run {
    fleet: Fleet,
    ledger: Ledger,
    seating: Seating,
    payload_bytes: usize,
    next_room: usize,
    acks: u64,
}

impl Fanout {
    pub(super) fn run(&self) -> Result<Report, String> {
        Target::with(&self.target, |target| self.measure(target))
    }

    fn measure(&self, target: &Target) -> Result<Report, String> {
        let plan = Plan {
            dialect: target.dialect,
            servers: target.addresses.clone(),
            seating: self.seating,
            first: 0,
            first_room: 0,
            lump: 1,
            jwt_secret: target.jwt_secret.clone(),
        };
        let mut run = Run {
            fleet: Fleet::new(plan)?,
            ledger: Ledger::new(self.seating)?,
            seating: self.seating,
            payload_bytes: self.payload_bytes,
            next_room: 0,
            acks: 0,
        };
        let mut progress = Progress::new();
        progress.say("connecting");
        run.fleet.connect(0..self.seating.connections, |_, _, _| {})?;
        run.rest()?;
        progress.say("warming up");
        for _ in 0..self.seating.rooms.min(WARM_UP_ROOMS) {
            run.publish()?;
            run.wait_for(WARM_UP_WINDOW * self.seating.members as u64, ARRIVE_MAX)?;
        }
        run.wait_for(0, ARRIVE_MAX)?;
        run.rest()?;

        let before = run.ledger.published();
        let deliveries_before = run.ledger.deliveries;
        let (reads_before, bytes_before) = (run.fleet.reads, run.fleet.bytes);
        run.ledger.reset_latency();
        let cpu_before = cpu_ns(&target.pids)?;
        let redis_cpu = || target.redis_pid.map(|pid| cpu_ns(&[pid])).transpose();
        let redis_before = redis_cpu()?;
        let began = run.fleet.clock.elapsed();
        match self.pace {
            Pace::Rate(rate) => run.at_rate(rate, self.time, &mut progress)?,
            Pace::Window(window) => run.with_window(window, self.time, &mut progress)?,
        }
        run.wait_for(0, ARRIVE_MAX)?;
        let seconds = run.fleet.clock.elapsed().saturating_sub(began).as_secs_f64();
        run.wait_for_acks(target.dialect, ARRIVE_MAX)?;
        let cpu_s = float(cpu_ns(&target.pids)? - cpu_before) / 1e9;
        let redis_cpu_s = redis_cpu()?.zip(redis_before).map(|(after, before)| float(after - before) / 1e9);
        progress.end();

        let published = run.ledger.published() - before;
        let deliveries = run.ledger.deliveries - deliveries_before;
        let latency = &run.ledger.latency_ns;
        let us = |quantile: f64| float(latency.value_at_quantile(quantile)) / 1e3;
        let report = Report {
            mode: "fanout",
            server: self.target.server.clone(),
            gateways: self.target.gateways,
            redis: self.target.redis,
            connections: self.seating.connections,
            rooms: self.seating.rooms,
            members: self.seating.members,
            rate: if let Pace::Rate(rate) = self.pace { Some(rate) } else { None },
            window: if let Pace::Window(window) = self.pace { Some(window) } else { None },
            payload_bytes: self.payload_bytes,
            seconds,
            published,
            deliveries,
            faults: run.ledger.faults(),
            cpu_s,
            redis_cpu_s,
            cpu_us_per_delivery: cpu_s * 1e6 / float(deliveries),
            cpu_us_per_message: cpu_s * 1e6 / float(published),
            deliveries_per_s: float(deliveries) / seconds,
            deliveries_per_read: float(deliveries) / float(run.fleet.reads - reads_before),
            frame_bytes: float(run.fleet.bytes - bytes_before) / float(deliveries),
            latency_us: Latency { p50: us(0.5), p99: us(0.99), p999: us(0.999), max: us(1.0) },
            latency_buckets: latency
                .iter_log(10_000, 1.25)
                .map(|bucket| (float(bucket.value_iterated_to()) / 1e3, bucket.count_since_last_iteration()))
                .collect(),
        };
        if report.faults.none() {
            Ok(report)
        } else {
            Err(format!("not everything came right: {:?}", report.faults))
        }
    }
}

impl Run {
    /// Handles what comes.
    fn turn(&mut self, wait: Duration) -> Result<(), String> {
        let (ledger, acks) = (&mut self.ledger, &mut self.acks);
        self.fleet.turn(wait, |client, happened, now_ns| match happened {
            Happened::Messages(payload) => {
                probes(payload).for_each(|probe| ledger.deliver(client, probe, now_ns));
            }
            Happened::Ack(_) => *acks += 1,
            Happened::Joined { .. } | Happened::SentAway(_) | Happened::Gone(_) => {}
        })
    }

    fn publish(&mut self) -> Result<(), String> {
        let room = self.next_room;
        self.next_room = (room + 1) % self.seating.rooms;
        let probe = Probe {
            room: u32::try_from(room).unwrap_or(u32::MAX),
            seq: self.ledger.publish(room),
            sent_ns: self.fleet.now_ns(),
        };
        self.fleet.publish(self.seating.publisher_of(room), room, &probe.body(self.payload_bytes))
    }

    /// Waits until at most so many deliveries are to come; after the deadline the ledger tells what is lost.
    fn wait_for(&mut self, outstanding: u64, deadline: Duration) -> Result<(), String> {
        let began = self.fleet.clock.elapsed();
        while self.ledger.outstanding() > outstanding {
            self.turn(Duration::from_millis(10))?;
            if self.fleet.clock.elapsed().saturating_sub(began) > deadline {
                return Err(format!("{} deliveries have not come", self.ledger.outstanding()));
            }
        }
        Ok(())
    }

    fn wait_for_acks(&mut self, dialect: super::dialect::Dialect, deadline: Duration) -> Result<(), String> {
        let began = self.fleet.clock.elapsed();
        while dialect == super::dialect::Dialect::Hubbub && self.acks < self.ledger.published() {
            self.turn(Duration::from_millis(10))?;
            if self.fleet.clock.elapsed().saturating_sub(began) > deadline {
                let missing = self.ledger.published() - self.acks;
                return Err(format!("{missing} messages were not acknowledged"));
            }
        }
        Ok(())
    }

    /// Waits until nothing comes any more, such as changes of presence.
    fn rest(&mut self) -> Result<(), String> {
        let began = self.fleet.clock.elapsed();
        let mut quiet_since = began;
        let mut reads = self.fleet.reads;
        loop {
            self.turn(Duration::from_millis(20))?;
            let now = self.fleet.clock.elapsed();
            if self.fleet.reads != reads {
                (reads, quiet_since) = (self.fleet.reads, now);
            }
            if now.saturating_sub(quiet_since) > REST || now.saturating_sub(began) > REST_MAX {
                return Ok(());
            }
        }
    }

    fn at_rate(&mut self, rate: f64, time: Duration, progress: &mut Progress) -> Result<(), String> {
        let began = self.fleet.clock.elapsed();
        let mut sent = 0u64;
        loop {
            let now = self.fleet.clock.elapsed().saturating_sub(began);
            if now >= time {
                return Ok(());
            }
            let due = Duration::from_secs_f64(float(sent) / rate);
            if now >= due {
                self.publish()?;
                sent += 1;
                self.turn(Duration::ZERO)?;
            } else {
                self.turn(due.saturating_sub(now))?;
            }
            self.tell(progress, now);
        }
    }

    fn with_window(&mut self, window: u64, time: Duration, progress: &mut Progress) -> Result<(), String> {
        let members = self.seating.members as u64;
        let began = self.fleet.clock.elapsed();
        loop {
            let now = self.fleet.clock.elapsed().saturating_sub(began);
            if now >= time {
                return Ok(());
            }
            while self.ledger.outstanding() + members <= window * members {
                self.publish()?;
            }
            self.turn(Duration::from_millis(100))?;
            self.tell(progress, now);
            if now > ARRIVE_MAX && self.ledger.deliveries == 0 {
                return Err("nothing comes".to_owned());
            }
        }
    }

    fn tell(&self, progress: &mut Progress, now: Duration) {
        progress.say_at_times(|| {
            let (published, deliveries) = (self.ledger.published(), self.ledger.deliveries);
            format!("{:.0} s, {published} messages, {deliveries} deliveries", now.as_secs_f64())
        });
    }
}

impl Report {
    /// For people.
    pub(super) fn table(&self) -> String {
        let pace = match (self.rate, self.window) {
            (Some(rate), _) => format!("{rate} messages/s"),
            (_, Some(window)) => format!("window {window}"),
            (None, None) => String::new(),
        };
        let Latency { p50, p99, p999, max } = self.latency_us;
        format!(
            "{}: {} connections, {} rooms of {}, {pace}, {} bytes, {:.1} s\n\
             published {}, delivered {} ({:.0}/s, {:.2} a read, {:.0} bytes each); none lost, doubled or out of order\n\
             server CPU: {:.2} us a delivery, {:.1} us a message{}\n\
             latency: p50 {p50:.0} us, p99 {p99:.0} us, p99.9 {p999:.0} us, max {max:.0} us\n",
            self.server,
            self.connections,
            self.rooms,
            self.members,
            self.payload_bytes,
            self.seconds,
            self.published,
            self.deliveries,
            self.deliveries_per_s,
            self.deliveries_per_read,
            self.frame_bytes,
            self.cpu_us_per_delivery,
            self.cpu_us_per_message,
            self.redis_cpu_s.map_or_else(String::new, |cpu_s| format!(
                "; Redis: {:.2} us a message",
                cpu_s * 1e6 / float(self.published)
            )),
        )
    }
}
