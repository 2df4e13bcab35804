//! The batch writer stops for a while, and messages go on: how soon after it is back is no more waiting than usual,
//! and is everything in Postgres, once?
//!
//! What waits is what was acknowledged and is not in Postgres, counted there and here, not by the batch writer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hubbub_common::clock::Monotonic;
use postgres::{Client, NoTls};
use serde::Serialize;

use super::ledger::Seating;
use super::progress::{Progress, float};
use super::resume::Resume;
use super::streams::Streams;
use super::target::{self, Target};
use crate::stack::{Stack, StackError, wait};

/// How long is looked what usually waits, before the stop and again once the backlog is gone: as long as the stop,
/// within these.
const USUAL_MIN: Duration = Duration::from_secs(1);
const USUAL_MAX: Duration = Duration::from_secs(10);
/// How long the backlog may take to be gone, and at the end everything to be in Postgres.
const GONE_MAX: Duration = Duration::from_mins(10);
/// The shipped resume window.
const RESUME_WINDOW: Duration = Duration::from_mins(2);

/// A run.
#[derive(Debug, Clone)]
pub(super) struct Backlog {
    pub(super) gateways: usize,
    pub(super) rooms: usize,
    /// Messages a second, all the time.
    pub(super) rate: f64,
    pub(super) payload_bytes: usize,
    /// How long the batch writer is away.
    pub(super) stop: Duration,
}

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Report {
    mode: &'static str,
    gateways: usize,
    rooms: usize,
    rate: f64,
    stop_s: f64,
    /// From the first look at what usually waits to the last one.
    seconds: f64,
    /// In that time.
    acknowledged_per_s: f64,
    #[serde(flatten)]
    seen: Seen,
    /// All that were sent.
    messages: u64,
    lost: u64,
    doubled: u64,
}

/// What waited when.
#[derive(Debug, Clone, Serialize)]
struct Seen {
    /// At most, before the stop.
    usual_messages: u64,
    /// At the end of the stop.
    backlog_messages: u64,
    /// What Redis held then.
    redis_bytes: u64,
    /// From starting the program until no more waited than usual.
    seconds_to_usual: f64,
    /// In that time.
    persisted_per_s: f64,
    /// At most, from then on.
    afterwards_messages: u64,
}

impl Backlog {
    pub(super) fn run(&self) -> Result<Report, String> {
        let wanted = target::Wanted {
            server: "hubbub".to_owned(),
            gateways: self.gateways,
            redis: true,
            persisted: Some(RESUME_WINDOW),
        };
        Target::with(&wanted, |target| self.measure(target))
    }

    fn measure(&self, target: &Target) -> Result<Report, String> {
        let mut progress = Progress::new();
        progress.say("connecting");
        // Everybody hears of each message, its sender and one other.
        let seating = Seating::new(self.rooms, self.rooms, 1)?;
        let mut resume = Resume::start(target, seating, self.rate, self.payload_bytes)?;
        let acknowledged = AtomicU64::new(resume.acknowledged());
        let before = resume.acknowledged();
        let clock = Monotonic::start();
        let seen = std::thread::scope(|scope| {
            let watching = scope.spawn(|| self.watch(target.stack()?, &acknowledged));
            let mut outcome = Ok(());
            while outcome.is_ok() && !watching.is_finished() {
                outcome = resume.step();
                acknowledged.store(resume.acknowledged(), Ordering::Relaxed);
                progress.say_at_times(|| {
                    let seconds = clock.elapsed().as_secs_f64();
                    format!("{seconds:.0} s, {} messages are acknowledged", resume.acknowledged())
                });
            }
            let seen = watching.join().map_err(|_| "watching panicked".to_owned())?;
            outcome.and(seen)
        })?;
        let seconds = clock.elapsed().as_secs_f64();
        let acknowledged_per_s = float(resume.acknowledged() - before) / seconds;
        progress.say("waiting for everything to be stored");
        resume.finish()?;
        let messages = resume.acknowledged();
        let (lost, doubled) = Waiting::new(target.stack()?, &acknowledged)?.books(messages)?;
        progress.end();
        if lost + doubled > 0 {
            return Err(format!(
                "of {messages} messages {lost} are not in Postgres, {doubled} more than once"
            ));
        }
        Ok(Report {
            mode: "backlog",
            gateways: self.gateways,
            rooms: self.rooms,
            rate: self.rate,
            stop_s: self.stop.as_secs_f64(),
            seconds,
            acknowledged_per_s,
            seen,
            messages,
            lost,
            doubled,
        })
    }

    fn watch(&self, stack: &Stack, acknowledged: &AtomicU64) -> Result<Seen, String> {
        let text = |error: StackError| error.to_string();
        let control = stack.control(0);
        let mut waiting = Waiting::new(stack, acknowledged)?;
        let mut streams = Streams::of(stack.redis_url().ok_or("no Redis")?)?;
        // What everybody began with is no measure.
        waiting.until_persisted(acknowledged.load(Ordering::Relaxed))?;
        let usual_for = self.stop.clamp(USUAL_MIN, USUAL_MAX);
        let usual_messages = waiting.most_within(usual_for)?;
        control.stop().map_err(text)?;
        waiting.most_within(self.stop)?;
        let backlog_messages = waiting.now()?;
        let redis_bytes = streams.held()?.bytes;
        let (clock, persisted) = (Monotonic::start(), waiting.persisted()?);
        control.launch().map_err(text)?;
        let gone = wait::until(GONE_MAX, || match waiting.now() {
            Ok(messages) => (messages <= usual_messages).then(|| Ok(clock.elapsed().as_secs_f64())),
            Err(problem) => Some(Err(problem)),
        });
        let seconds_to_usual =
            gone.ok_or_else(|| format!("the backlog was not gone within {GONE_MAX:?}"))??;
        let persisted = waiting.persisted()? - persisted;
        Ok(Seen {
            usual_messages,
            backlog_messages,
            redis_bytes,
            seconds_to_usual,
            persisted_per_s: float(persisted) / seconds_to_usual,
            afterwards_messages: waiting.most_within(usual_for)?,
        })
    }
}

/// What was acknowledged and is not in Postgres.
struct Waiting<'a> {
    database: Client,
    acknowledged: &'a AtomicU64,
}

impl<'a> Waiting<'a> {
    fn new(stack: &Stack, acknowledged: &'a AtomicU64) -> Result<Self, String> {
        let url = stack.database_url().ok_or("no Postgres")?;
        Ok(Self { database: Client::connect(url, NoTls).map_err(described)?, acknowledged })
    }

    /// Messages in Postgres.
    fn persisted(&mut self) -> Result<u64, String> {
        let count = "SELECT coalesce(sum(messages), 0)::bigint FROM room_counters";
        let count = self.database.query_one(count, &[]).map_err(described)?;
        Ok(count.get::<_, i64>(0).unsigned_abs())
    }

    /// Rather too many than too few: what was acknowledged while Postgres was asked counts as waiting.
    fn now(&mut self) -> Result<u64, String> {
        let persisted = self.persisted()?;
        Ok(self.acknowledged.load(Ordering::Relaxed).saturating_sub(persisted))
    }

    /// The most that waited at any look in this time.
    fn most_within(&mut self, time: Duration) -> Result<u64, String> {
        let mut most = 0;
        let failed = wait::until(time, || match self.now() {
            Ok(messages) => {
                most = most.max(messages);
                None
            }
            Err(problem) => Some(problem),
        });
        failed.map_or(Ok(most), Err)
    }

    /// Waits until so many messages are in Postgres.
    fn until_persisted(&mut self, messages: u64) -> Result<(), String> {
        let there = wait::until(GONE_MAX, || match self.persisted() {
            Ok(persisted) => (persisted >= messages).then_some(Ok(())),
            Err(problem) => Some(Err(problem)),
        });
        there.ok_or_else(|| format!("not everything was stored within {GONE_MAX:?}"))?
    }

    /// When so many messages are in Postgres: how many are missing all the same, and how many rows are too many.
    fn books(&mut self, messages: u64) -> Result<(u64, u64), String> {
        self.until_persisted(messages)?;
        self.database.batch_execute("SET work_mem = '512MB'").map_err(described)?;
        let count = "SELECT coalesce(sum(rows), 0)::bigint, count(*)
                     FROM (SELECT count(*) AS rows FROM messages GROUP BY room, body) AS each";
        let count = self.database.query_one(count, &[]).map_err(described)?;
        let (rows, distinct) = (count.get::<_, i64>(0).unsigned_abs(), count.get::<_, i64>(1).unsigned_abs());
        Ok((messages.saturating_sub(distinct), rows - distinct))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn described(error: postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string)
}

impl Report {
    /// For people.
    pub(super) fn table(&self) -> String {
        format!(
            "{:.0} messages/s in {} rooms, the batch writer away for {:.0} s: {} messages wait, Redis holds {:.0} MB\n\
             no more wait than usual ({} at most) {:.1} s after it was started again, at {:.0} messages/s; afterwards {} at most\n\
             {} messages, {:.0} acknowledged a second; each is in Postgres once\n",
            self.rate,
            self.rooms,
            self.stop_s,
            self.seen.backlog_messages,
            float(self.seen.redis_bytes) / 1e6,
            self.seen.usual_messages,
            self.seen.seconds_to_usual,
            self.seen.persisted_per_s,
            self.seen.afterwards_messages,
            self.messages,
            self.acknowledged_per_s,
        )
    }
}
