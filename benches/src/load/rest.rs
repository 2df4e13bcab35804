//! Reads over REST at a fixed rate, as clients that open rooms make them: newest pages, older pages, rooms. What counts is
//! how long an answer takes from when its request was due, so that a server that falls behind does not hide it, and what a
//! request costs in the control plane and in Postgres.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use hdrhistogram::Histogram;
use hubbub_common::clock::{Monotonic, now_ms};
use hubbub_common::ids::{EntryId, MessageId};
use postgres::{Client, NoTls};
use serde::Serialize;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use super::progress::{Progress, float};
use super::usage::cpu_ns;
use crate::rest::Rest as Api;
use crate::stack::{Stack, wait};

/// Connections, each with one request under way: more than a server that keeps up ever needs.
const CONNECTIONS: usize = 128;
const USERS: usize = 20;
/// Of ten requests each is another one.
const KINDS: usize = 10;
const MESSAGES_OF_ROOM: i64 = 1_000;
/// How long the first message may take into Postgres.
const PERSISTED_MAX: Duration = Duration::from_secs(30);
/// Not measured: statements are prepared, connections made.
const WARM_UP: Duration = Duration::from_secs(2);
const LATENCY_MAX_NS: u64 = 60_000_000_000;
const LATENCY_MIN_NS: u64 = 1_000;

/// A run.
#[derive(Debug, Clone)]
pub(super) struct Rest {
    pub(super) rate: f64,
    pub(super) rooms: usize,
    pub(super) controls: usize,
    pub(super) time: Duration,
}

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Report {
    mode: &'static str,
    requests: u64,
    errors: u64,
    requests_per_s: f64,
    latency_us: Latency,
    control_cpu_us_per_request: f64,
    postgres_cpu_us_per_request: f64,
    body_bytes: f64,
}

#[derive(Debug, Clone, Serialize)]
struct Latency {
    p50: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

/// Who may read what.
struct Scene {
    tokens: Vec<String>,
    rooms: Vec<String>,
    /// In the middle of each room's history.
    middle: MessageId,
}

/// What the connections share.
struct Run {
    clock: Monotonic,
    /// Between two requests.
    every: Duration,
    ends: Duration,
    next: Cell<u64>,
    requests: Cell<u64>,
    errors: Cell<u64>,
    body_bytes: Cell<u64>,
    latency_ns: RefCell<Histogram<u64>>,
}

impl Rest {
    pub(super) fn run(&self) -> Result<Report, String> {
        let mut progress = Progress::new();
        let stack = Stack::builder().gateways(0).controls(self.controls).without_haproxy();
        let stack = ["HUBBUB_AUTH_PER_MINUTE", "HUBBUB_WRITES_PER_MINUTE"]
            .into_iter()
            .fold(stack, |stack, limit| stack.env(limit, "0"));
        let stack = stack.start().map_err(|error| error.to_string())?;
        progress.say("making rooms with a history");
        let scene = self.scene(&stack)?;
        let addresses: Vec<String> =
            stack.controls().iter().map(|part| part.url().trim_start_matches("http://").to_owned()).collect();
        let postgres = stack.postgres().ok_or("no Postgres")?;
        let control_pids: Vec<u32> = stack.controls().iter().flat_map(crate::stack::Part::pids).collect();

        progress.say("warming up");
        self.drive(&scene, &addresses, WARM_UP)?;
        let cpu = || Ok::<_, String>((cpu_ns(&control_pids)?, cpu_ns(&postgres.pids())?));
        let before = cpu()?;
        progress.say("reading");
        let run = self.drive(&scene, &addresses, self.time)?;
        let after = cpu()?;
        progress.end();
        let requests = run.requests.get();
        if requests == 0 {
            return Err(format!("nothing was answered\n{}", stack.control(0).log_tail()));
        }
        let per_request = |ns: u64| float(ns) / 1e3 / float(requests);
        let latency_ns = run.latency_ns.borrow();
        let at = |quantile| float(latency_ns.value_at_quantile(quantile)) / 1e3;
        Ok(Report {
            mode: "rest",
            requests,
            errors: run.errors.get(),
            requests_per_s: float(requests) / self.time.as_secs_f64(),
            latency_us: Latency {
                p50: at(0.5),
                p99: at(0.99),
                p999: at(0.999),
                max: float(latency_ns.max()) / 1e3,
            },
            control_cpu_us_per_request: per_request(after.0.saturating_sub(before.0)),
            postgres_cpu_us_per_request: per_request(after.1.saturating_sub(before.1)),
            body_bytes: float(run.body_bytes.get()) / float(requests),
        })
    }

    /// Rooms with members and messages, written where the persister would write them.
    fn scene(&self, stack: &Stack) -> Result<Scene, String> {
        let api = Api::new(stack.control(0).url());
        let text = |value: serde_json::Value, place: &str| {
            value.pointer(place).and_then(serde_json::Value::as_str).map(str::to_owned).ok_or("no text")
        };
        let mut tokens = Vec::new();
        for n in 0..USERS {
            let account = json!({"username": format!("user-{n}"), "password": "correct horse battery"});
            tokens.push(text(api.post("/auth/register", &account)?, "/token")?);
        }
        let owner = api.with_token(tokens.first().ok_or("no user")?);
        let mut rooms = Vec::new();
        for n in 0..self.rooms {
            let draft = json!({"name": format!("room {n}"), "kind": "private"});
            rooms.push(text(owner.post("/rooms", &draft)?, "/id")?);
        }
        // The first message makes the month's partition.
        let first = format!("/rooms/{}/messages", rooms.first().ok_or("no room")?);
        owner.post(&first, &json!({"body": "hello"}))?;
        let is_persisted = || owner.get(&first).ok().filter(|page| page.pointer("/items/0").is_some());
        wait::until(PERSISTED_MAX, is_persisted).ok_or("the first message is not persisted")?;
        let failed = |error: postgres::Error| match error.as_db_error() {
            Some(error) => error.to_string(),
            None => error.to_string(),
        };
        let url = stack.database_url().ok_or("no Postgres")?;
        let mut database = Client::connect(url, NoTls).map_err(failed)?;
        let id = |before_ms: i64| {
            let ms = now_ms().saturating_sub(before_ms.unsigned_abs());
            // Another place in its entry than the first message has.
            MessageId::pack(EntryId { ms, seq: 0 }, 1).ok_or("a time without ids")
        };
        let (first, middle) = (id(MESSAGES_OF_ROOM)?, id(MESSAGES_OF_ROOM / 2)?);
        let members = "INSERT INTO room_members (room, user_id, role, joined_at)
                       SELECT r.id, u.id, 'member', 0 FROM rooms r, users u ON CONFLICT DO NOTHING";
        database.execute(members, &[]).map_err(failed)?;
        let messages = "INSERT INTO messages (room, id, n, author, name, kind, body)
             SELECT r.id, $1::bigint + (g::bigint << 22), g, (SELECT min(id) FROM users), 'user-0', 'text', repeat('x', 128)
             FROM rooms r, generate_series(1, $2::bigint) g";
        database.execute(messages, &[&first.as_i64(), &MESSAGES_OF_ROOM]).map_err(failed)?;
        let counters = "INSERT INTO room_counters (room, messages, last_id)
                        SELECT room, count(*), max(id) FROM messages GROUP BY room ON CONFLICT DO NOTHING";
        database.execute(counters, &[]).map_err(failed)?;
        database.batch_execute("ANALYZE").map_err(failed)?;
        Ok(Scene { tokens, rooms, middle })
    }

    fn drive(&self, scene: &Scene, addresses: &[String], time: Duration) -> Result<Run, String> {
        let latency_ns = Histogram::new_with_bounds(LATENCY_MIN_NS, LATENCY_MAX_NS, 3);
        let run = Rc::new(Run {
            clock: Monotonic::start(),
            every: Duration::from_secs_f64(1.0 / self.rate),
            ends: time,
            next: Cell::default(),
            requests: Cell::default(),
            errors: Cell::default(),
            body_bytes: Cell::default(),
            latency_ns: RefCell::new(latency_ns.map_err(|error| error.to_string())?),
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let tasks = LocalSet::new();
        let requests = Rc::new(scene.requests(addresses));
        for (_, address) in (0..CONNECTIONS).zip(addresses.iter().cycle()) {
            let (run, address, requests) = (Rc::clone(&run), address.clone(), Rc::clone(&requests));
            tasks.spawn_local(async move {
                // A connection that broke counts as an error, and another one goes on.
                while run.clock.elapsed() < run.ends {
                    if run.ask(&address, &requests).await.is_err() {
                        run.errors.set(run.errors.get() + 1);
                    }
                }
            });
        }
        runtime.block_on(tasks);
        Rc::into_inner(run).ok_or_else(|| "a connection goes on".to_owned())
    }
}

impl Scene {
    /// The requests, over and over: six newest pages, two older ones, the list of rooms, a room.
    fn requests(&self, addresses: &[String]) -> Vec<Vec<u8>> {
        let host = addresses.first().map(String::as_str).unwrap_or_default();
        let request = |(kind, room, token): (usize, &String, &String)| {
            let path = match kind {
                0..=5 => format!("/rooms/{room}/messages"),
                6 | 7 => format!("/rooms/{room}/messages?before={}", self.middle),
                8 => "/rooms".to_owned(),
                _ => format!("/rooms/{room}"),
            };
            format!("GET /api/v1{path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n")
                .into_bytes()
        };
        let of_all = self.tokens.iter().flat_map(|token| self.rooms.iter().map(move |room| (room, token)));
        of_all
            .flat_map(|(room, token)| (0..KINDS).map(move |kind| (kind, room, token)))
            .map(request)
            .collect()
    }
}

impl Run {
    /// Sends what is due over one connection until the end, or until it breaks.
    async fn ask(&self, address: &str, requests: &[Vec<u8>]) -> Result<(), std::io::Error> {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut read = Vec::new();
        loop {
            let number = self.next.replace(self.next.get() + 1);
            let due = self.every.mul_f64(float(number));
            if due >= self.ends {
                return Ok(());
            }
            tokio::time::sleep(due.saturating_sub(self.clock.elapsed())).await;
            let request =
                usize::try_from(number).ok().and_then(|number| requests.get(number % requests.len()));
            stream.write_all(request.map(Vec::as_slice).unwrap_or_default()).await?;
            let (status, body_bytes) = answer(&mut stream, &mut read).await?;
            let took = self.clock.elapsed().saturating_sub(due);
            self.latency_ns
                .borrow_mut()
                .saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
            self.requests.set(self.requests.get() + 1);
            self.body_bytes.set(self.body_bytes.get() + body_bytes as u64);
            if status != 200 {
                self.errors.set(self.errors.get() + 1);
            }
        }
    }
}

/// Reads one answer; gives its status and the bytes of its body.
async fn answer(stream: &mut TcpStream, read: &mut Vec<u8>) -> Result<(u16, usize), std::io::Error> {
    read.clear();
    loop {
        if stream.read_buf(read).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(Head { status, bytes, body_bytes }) = head(read)
            && read.len() >= bytes + body_bytes
        {
            return Ok((status, body_bytes));
        }
    }
}

#[derive(Debug, PartialEq)]
struct Head {
    status: u16,
    bytes: usize,
    body_bytes: usize,
}

/// What has to be known of an answer's head, once it is whole.
fn head(read: &[u8]) -> Option<Head> {
    let end = memchr::memmem::find(read, b"\r\n\r\n")?;
    let text = std::str::from_utf8(read.get(..end)?).ok()?;
    let status = text.split(' ').nth(1)?.parse().ok()?;
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
    Some(Head { status, bytes: end + 4, body_bytes: length.map_or(Some(0), |length| length.parse().ok())? })
}

impl Report {
    /// For people.
    pub(super) fn table(&self) -> String {
        let Latency { p50, p99, p999, max } = &self.latency_us;
        format!(
            "{} requests, {:.0} a second, {} errors, {:.0} bytes a body\n\
             latency: p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, longest {:.2} ms\n\
             CPU a request: {:.0} us in the control plane, {:.0} us in Postgres\n",
            self.requests,
            self.requests_per_s,
            self.errors,
            self.body_bytes,
            p50 / 1e3,
            p99 / 1e3,
            p999 / 1e3,
            max / 1e3,
            self.control_cpu_us_per_request,
            self.postgres_cpu_us_per_request,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads() {
        assert_eq!(
            head(b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n{}"),
            Some(Head { status: 200, bytes: 39, body_bytes: 12 })
        );
        assert_eq!(head(b"HTTP/1.1 204 No Content\r\n\r\n").map(|head| head.body_bytes), Some(0));
        assert_eq!(head(b"HTTP/1.1 200 OK\r\ncontent-le"), None);
    }
}
