//! Years of messages: what a page of history, older or newer, and a list of rooms with their unread counts cost.
//!
//! The rows are made inside Postgres, as the batch writer would have stored them over a year; asking goes through the
//! control plane.

use std::time::Duration;

use hdrhistogram::Histogram;
use hubbub_common::clock::{Monotonic, now_ms};
use hubbub_common::ids::MessageId;
use postgres::{Client, NoTls};
use serde::Serialize;
use serde_json::{Value, json};

use super::progress::{Progress, float};
use super::usage::cpu_ns;
use crate::rest::Rest;
use crate::stack::Stack;

/// Months over which the messages are spread.
const MONTHS: u64 = 12;
const MONTH_MS: u64 = 30 * 24 * 60 * 60 * 1_000;
/// Rooms of the user who asks.
const OWN_ROOMS: u64 = 50;
/// Requests of each kind that are measured, and those before them that fill caches.
const REQUESTS: u64 = 300;
const WARM_UP: u64 = 100;
/// The longest time that is told apart from longer ones.
const US_MAX: u64 = 60_000_000;
/// How long making the rows may take; fewer are made where it takes longer.
const FILL_MAX: Duration = Duration::from_mins(10);

/// A run.
#[derive(Debug, Clone)]
pub(super) struct History {
    pub(super) messages: u64,
    pub(super) rooms: u64,
}

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Report {
    mode: &'static str,
    rooms: u64,
    /// Made in the time that there was.
    messages: u64,
    gigabytes: f64,
    rows_per_s: f64,
    newest: Cost,
    older: Cost,
    unread: Cost,
}

#[derive(Debug, Clone, Serialize)]
struct Cost {
    p50_us: u64,
    p99_us: u64,
    postgres_cpu_us: f64,
}

impl History {
    pub(super) fn run(&self) -> Result<Report, String> {
        let stack = Stack::builder().gateways(0).controls(1).without_haproxy();
        let stack = stack.start().map_err(|error| error.to_string())?;
        let url = stack.database_url().ok_or("no Postgres")?;
        let mut database = Client::connect(url, NoTls).map_err(|error| error.to_string())?;
        let clock = Monotonic::start();
        let messages = self.fill(&mut database, &clock).map_err(|error| error.to_string())?;
        let seconds = clock.elapsed().as_secs_f64();
        let account = json!({"username": "reader", "password": "correct horse battery"});
        let rest = Rest::new(stack.control(0).url());
        let made = rest.post("/auth/register", &account)?;
        let field = |pointer: &str| made.pointer(pointer).and_then(Value::as_str).ok_or("no such field");
        self.settle_in(&mut database, field("/user/id")?).map_err(|error| error.to_string())?;
        let rest = rest.with_token(field("/token")?);
        let size = "SELECT sum(pg_total_relation_size(inhrelid))::bigint FROM pg_inherits
                    WHERE inhparent = 'messages'::regclass";
        let bytes: i64 = database.query_one(size, &[]).map_err(|error| error.to_string())?.get(0);
        let pids = || stack.postgres().map(crate::stack::Part::pids).unwrap_or_default();
        let mut random = fastrand::Rng::with_seed(1);
        let (from_ms, span_ms) = span();
        let mut cost = |path: &dyn Fn(&mut fastrand::Rng) -> String| -> Result<Cost, String> {
            let mut times = Histogram::<u64>::new_with_max(US_MAX, 3).map_err(|error| error.to_string())?;
            let mut before = 0;
            for request in 0..WARM_UP + REQUESTS {
                if request == WARM_UP {
                    before = cpu_ns(&pids())?;
                }
                let began = clock.elapsed();
                rest.get(&path(&mut random))?;
                if request >= WARM_UP {
                    let us = (clock.elapsed().saturating_sub(began)).as_micros();
                    times.saturating_record(u64::try_from(us).unwrap_or(u64::MAX));
                }
            }
            let cpu_us = float(cpu_ns(&pids())?.saturating_sub(before)) / 1e3 / float(REQUESTS);
            let (p50_us, p99_us) = (times.value_at_quantile(0.5), times.value_at_quantile(0.99));
            Ok(Cost { p50_us, p99_us, postgres_cpu_us: cpu_us })
        };
        let room = |random: &mut fastrand::Rng| random.u64(1..=OWN_ROOMS.min(self.rooms));
        Ok(Report {
            mode: "history",
            rooms: self.rooms,
            messages,
            gigabytes: float(bytes.unsigned_abs()) / 1e9,
            rows_per_s: float(messages) / seconds,
            newest: cost(&|random| format!("/rooms/{}/messages?limit=50", room(random)))?,
            older: cost(&|random| {
                let before = MessageId::floor_of_ms(from_ms + random.u64(span_ms / 10..span_ms));
                format!("/rooms/{}/messages?limit=50&before={before}", room(random))
            })?,
            unread: cost(&|_| "/rooms".to_owned())?,
        })
    }

    /// Messages of every room in turn, month after month, until there are enough or the time is over. Gives how many.
    fn fill(&self, database: &mut Client, clock: &Monotonic) -> Result<u64, postgres::Error> {
        let mut progress = Progress::new();
        let (from_ms, span_ms) = span();
        let of_room_and_month = (self.messages / self.rooms / MONTHS).max(1);
        let id = |ms: u64| MessageId::floor_of_ms(ms).as_i64();
        let step =
            (id(from_ms + span_ms) - id(from_ms)) / i64::try_from(of_room_and_month * MONTHS).unwrap_or(1);
        let mut made = 0;
        for month in 0..MONTHS {
            let first = from_ms + month * MONTH_MS;
            let table = format!(
                "CREATE TABLE history_{month} PARTITION OF messages FOR VALUES FROM ({}) TO ({})",
                id(first),
                id(first + MONTH_MS)
            );
            database.batch_execute(&table)?;
            // So many rooms at once that the time can be looked at.
            let at_once = (500_000 / of_room_and_month).clamp(1, self.rooms);
            for room in (1..=self.rooms).step_by(usize::try_from(at_once).unwrap_or(1)) {
                if clock.elapsed() > FILL_MAX {
                    progress.end();
                    return self.count(database, made);
                }
                let insert = "INSERT INTO messages (room, id, n, author, name, kind, body)
                     SELECT room, $1 + i * $2, $3 + i + 1, 1 + i % 100, 'somebody', 'text',
                            'message ' || i || ' of room ' || room || repeat(' and so on', 4)
                     FROM generate_series($4::bigint, $5) AS room, generate_series(0, $6::bigint - 1) AS i";
                let number = |number: u64| number.cast_signed();
                let last = (room + at_once - 1).min(self.rooms);
                made += database.execute(
                    insert,
                    &[
                        &id(first),
                        &step,
                        &number(month * of_room_and_month),
                        &number(room),
                        &number(last),
                        &number(of_room_and_month),
                    ],
                )?;
                progress.say_at_times(|| format!("{made} messages are made"));
            }
        }
        progress.end();
        self.count(database, made)
    }

    fn count(&self, database: &mut Client, made: u64) -> Result<u64, postgres::Error> {
        let rooms = self.rooms.cast_signed();
        let counters = "INSERT INTO room_counters (room, messages, last_id)
             SELECT r.room, m.n, m.id FROM generate_series(1, $1::bigint) AS r (room),
             LATERAL (SELECT n, id FROM messages WHERE room = r.room ORDER BY id DESC LIMIT 1) AS m";
        database.execute(counters, &[&rooms])?;
        database.batch_execute("ANALYZE messages")?;
        Ok(made)
    }

    /// Makes the user a member of some rooms who has read half of each.
    fn settle_in(&self, database: &mut Client, user: &str) -> Result<(), postgres::Error> {
        let own = OWN_ROOMS.min(self.rooms).cast_signed();
        let rooms = "INSERT INTO rooms (id, name, kind, members, created_at)
                     SELECT room, 'room ' || room, 'public', 1, 0 FROM generate_series(1, $1::bigint) AS room";
        database.execute(rooms, &[&own])?;
        let members = "INSERT INTO room_members (room, user_id, role, joined_at, read_up_to, read_n)
                       SELECT room, $2::text::bigint, 'member', 0, last_id / 2, messages / 2
                       FROM room_counters WHERE room <= $1";
        database.execute(members, &[&own, &user])?;
        Ok(())
    }
}

/// The time of the messages: the first one, and how long; all of it past, and before the current month's partition.
fn span() -> (u64, u64) {
    (now_ms() - (MONTHS + 2) * MONTH_MS, MONTHS * MONTH_MS)
}

impl Report {
    /// For people.
    pub(super) fn table(&self) -> String {
        let line = |what: &str, cost: &Cost| {
            format!(
                "{what:<28} p50 {:>6} us, p99 {:>6} us, {:>6.0} us of Postgres' CPU\n",
                cost.p50_us, cost.p99_us, cost.postgres_cpu_us
            )
        };
        format!(
            "{} messages in {} rooms, {:.1} GB ({:.0} rows/s):\n{}{}{}",
            self.messages,
            self.rooms,
            self.gigabytes,
            self.rows_per_s,
            line("newest page of a room", &self.newest),
            line("older page of a room", &self.older),
            line("list of rooms, with unread", &self.unread),
        )
    }
}
