//! How fast the batch writer gets a backlog out of the streams into Postgres, beside a bare `COPY` of the same rows
//! over one connection.

use std::time::Duration;

use hubbub_common::clock::Monotonic;
use hubbub_common::entry::{Record, encode, new_origin};
use hubbub_common::ids::{RoomId, UserId};
use hubbub_common::keys;
use hubbub_common::protocol::MessageKind;
use hubbub_common::shard::Shards;
use postgres::binary_copy::BinaryCopyInWriter;
use postgres::types::Type;
use postgres::{Client, NoTls};
use serde::Serialize;

use super::progress::{Progress, float};
use super::usage::cpu_ns;
use crate::stack::{Stack, wait};

const SHARDS: u16 = 64;
/// Records in an entry, as gateways under load pack them.
const PACK: usize = 50;
/// Entries sent to Redis at once.
const PIPELINE: usize = 64;
/// Rows that the bare copy commits at once.
const COPY_ROWS: usize = 20_000;
/// How long everything may take.
const PERSISTED_MAX: Duration = Duration::from_mins(10);

/// A run.
#[derive(Debug, Clone)]
pub(super) struct Persist {
    pub(super) messages: usize,
    pub(super) rooms: usize,
    pub(super) payload_bytes: usize,
}

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Report {
    mode: &'static str,
    messages: u64,
    rooms: usize,
    seconds: f64,
    messages_per_s: f64,
    control_cpu_us_per_message: f64,
    postgres_cpu_us_per_message: f64,
    copy_rows_per_s: f64,
    copy_postgres_cpu_us_per_row: f64,
    /// Of the bare copy's speed.
    of_copy: f64,
    lost: u64,
    doubled: u64,
}

impl Persist {
    pub(super) fn run(&self) -> Result<Report, String> {
        let mut progress = Progress::new();
        // Durable: with it, a commit waits for the disk, as in production.
        let stack = Stack::builder().gateways(0).controls(1).without_haproxy().durable(true);
        let stack =
            stack.env("HUBBUB_SHARDS", SHARDS.to_string()).start().map_err(|error| error.to_string())?;
        let control = stack.control(0);
        control.stop().map_err(|error| error.to_string())?;
        progress.say("filling the streams");
        self.fill(stack.redis_url().ok_or("no Redis")?)?;

        let url = stack.database_url().ok_or("no Postgres")?;
        let mut database = Client::connect(url, NoTls).map_err(|error| error.to_string())?;
        let postgres = stack.postgres().ok_or("no Postgres")?;
        // From the start of the program: what it reads and writes before its first commit counts, too.
        let (clock, postgres_ns) = (Monotonic::start(), cpu_ns(&postgres.pids())?);
        control.launch().map_err(|error| error.to_string())?;
        let control_pids = control.pids();
        let persisted = wait::until(PERSISTED_MAX, || {
            let row = database
                .query_one("SELECT coalesce(sum(messages), 0)::bigint FROM room_counters", &[])
                .ok()?;
            let count = u64::try_from(row.get::<_, i64>(0)).unwrap_or(0);
            progress.say_at_times(|| format!("{count} messages are persisted"));
            (count >= self.messages as u64).then(|| clock.elapsed())
        });
        let ended = persisted
            .ok_or_else(|| format!("not persisted within {PERSISTED_MAX:?}\n{}", control.log_tail()))?;
        let measured = float(self.messages as u64);
        let seconds = ended.as_secs_f64();
        let control_us = float(cpu_ns(&control_pids)?) / 1e3 / measured;
        let postgres_us = float(cpu_ns(&postgres.pids())?.saturating_sub(postgres_ns)) / 1e3 / measured;
        let distinct = database.query_one("SELECT count(*), count(DISTINCT (room, body)) FROM messages", &[]);
        let distinct = distinct.map_err(|error| error.to_string())?;
        let (rows, bodies): (i64, i64) = (distinct.get(0), distinct.get(1));
        control.stop().map_err(|error| error.to_string())?;

        progress.say("copying the same rows");
        let (copy_s, copy_us) = self.copy(&mut database, || cpu_ns(&postgres.pids()))?;
        progress.end();
        let messages_per_s = measured / seconds;
        let copy_rows_per_s = float(self.messages as u64) / copy_s;
        Ok(Report {
            mode: "persist",
            messages: self.messages as u64,
            rooms: self.rooms,
            seconds,
            messages_per_s,
            control_cpu_us_per_message: control_us,
            postgres_cpu_us_per_message: postgres_us,
            copy_rows_per_s,
            copy_postgres_cpu_us_per_row: copy_us,
            of_copy: messages_per_s / copy_rows_per_s,
            lost: (self.messages as u64).saturating_sub(bodies.unsigned_abs()),
            doubled: rows.abs_diff(bodies),
        })
    }

    /// Message number `n`, each of them another one.
    fn message(&self, n: usize) -> (RoomId, UserId, String) {
        let id = |n: usize| n as u64 + 1;
        let mut body = format!("message {n} ");
        body.extend(std::iter::repeat_n('x', self.payload_bytes.saturating_sub(body.len())));
        let (room, user) = (RoomId::new(id(n % self.rooms)), UserId::new(id(n % 10_000)));
        #[expect(clippy::expect_used, reason = "they begin at one")]
        (room.expect("a room"), user.expect("a user"), body)
    }

    fn fill(&self, redis_url: &str) -> Result<(), String> {
        let text = |error: redis::RedisError| error.to_string();
        let mut connection =
            redis::Client::open(redis_url).and_then(|client| client.get_connection()).map_err(text)?;
        let shards = Shards::new(SHARDS).ok_or("no shards")?;
        let mut packs: Vec<Vec<Vec<u8>>> = shards.all().map(|_| Vec::new()).collect();
        let mut seqs: Vec<u64> = shards.all().map(|_| 0).collect();
        let origin = new_origin();
        let mut pipeline = redis::pipe();
        let mut add = |shard: hubbub_common::shard::Shard, records: &mut Vec<Vec<u8>>, end: bool| {
            if let Some(seq) = seqs.get_mut(shard.index()).filter(|_| !records.is_empty()) {
                *seq += 1;
                let entry = encode(origin, *seq, records);
                pipeline
                    .cmd("XADD")
                    .arg(keys::bus(shard))
                    .arg("*")
                    .arg(keys::ENTRY_FIELD)
                    .arg(entry)
                    .ignore();
                records.clear();
            }
            if pipeline.len() >= PIPELINE || end && !pipeline.is_empty() {
                pipeline.query::<()>(&mut connection).map_err(text)?;
                pipeline.clear();
            }
            Ok::<_, String>(())
        };
        for n in 0..self.messages {
            let (room, from, body) = self.message(n);
            let shard = shards.of(room);
            let (name, kind) = (format!("user {from}").into(), MessageKind::Text);
            let record =
                Record::Message { room, from, name, kind, body: body.into(), nonce: None, reply_to: None };
            let Some(records) = packs.get_mut(shard.index()) else { continue };
            records.push(record.encode());
            if records.len() >= PACK {
                add(shard, records, false)?;
            }
        }
        for (shard, records) in shards.all().zip(&mut packs) {
            add(shard, records, true)?;
        }
        Ok(())
    }

    /// Seconds, and CPU of Postgres for a row in microseconds.
    fn copy(
        &self,
        database: &mut Client,
        postgres_ns: impl Fn() -> Result<u64, String>,
    ) -> Result<(f64, f64), String> {
        const TYPES: [Type; 6] = [Type::INT8, Type::INT8, Type::INT8, Type::TEXT, Type::TEXT, Type::TEXT];
        let text = |error: postgres::Error| error.to_string();
        let table = "CREATE TABLE bare (room bigint, id bigint, author bigint, name text, kind text, body text, PRIMARY KEY (room, id))";
        database.batch_execute(table).map_err(text)?;
        let (clock, cpu) = (Monotonic::start(), postgres_ns()?);
        let mut n = 0;
        while n < self.messages {
            let sink = database.copy_in("COPY bare FROM STDIN BINARY").map_err(text)?;
            let mut writer = BinaryCopyInWriter::new(sink, &TYPES);
            for n in n..self.messages.min(n + COPY_ROWS) {
                let (room, from, body) = self.message(n);
                let name = format!("user {from}");
                let row: [&(dyn postgres::types::ToSql + Sync); 6] =
                    [&room.as_i64(), &i64::try_from(n).unwrap_or(0), &from.as_i64(), &name, &"text", &body];
                writer.write(&row).map_err(text)?;
            }
            writer.finish().map_err(text)?;
            n += COPY_ROWS;
        }
        let us = float(postgres_ns()?.saturating_sub(cpu)) / 1e3 / float(self.messages as u64);
        Ok((clock.elapsed().as_secs_f64(), us))
    }
}

impl Report {
    /// For people.
    pub(super) fn table(&self) -> String {
        format!(
            "{} messages in {} rooms: {:.0} messages/s into Postgres, {:.2} us of CPU a message in the control plane and {:.2} in Postgres\n\
             a bare COPY of the same rows: {:.0} rows/s, {:.2} us in Postgres; the batch writer has {:.2} of its speed\n",
            self.messages,
            self.rooms,
            self.messages_per_s,
            self.control_cpu_us_per_message,
            self.postgres_cpu_us_per_message,
            self.copy_rows_per_s,
            self.copy_postgres_cpu_us_per_row,
            self.of_copy,
        )
    }
}
