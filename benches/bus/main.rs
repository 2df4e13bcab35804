//! How many messages a second two gateways' buses carry through one Redis: the bus alone, without WebSockets.
//!
//! Two bus threads, as two gateways would run them, on one private Redis. A driver for each publishes as long as
//! not too many of its messages are unanswered, and reads everything that its bus tells. Each message has to
//! come once to both, in the order of its room, and be answered once.
//!
//! Usage: `bus-load SECONDS`; prints one line of JSON. `hubbub-load bus` runs it.

use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hubbub_benches::stack::{Part, Stack};
use hubbub_common::clock::Monotonic;
use hubbub_common::entry::Record;
use hubbub_common::ids::{RoomId, UserId};
use hubbub_common::protocol::MessageKind;
use hubbub_common::redis_url::RedisUrl;
use hubbub_common::shard::Shards;
use hubbub_gateway::bus::{
    Answer, Ask, BusConfig, BusHandle, Event, Inbox, JoinAsk, Links, Tell, Waiter, start,
};
use hubbub_gateway::status::Status;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

const SHARDS: u16 = 64;
const ROOMS: u64 = 256;
const BODY_BYTES: usize = 200;
/// Messages of one gateway that may be unanswered.
const UNANSWERED_MAX: u64 = 32_768;
const GATEWAYS: usize = 2;
/// How long the last messages may take to come.
const ARRIVE_MAX: Duration = Duration::from_secs(20);

/// What the drivers share.
#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// Asked for by each.
    published: [AtomicU64; GATEWAYS],
}

impl Shared {
    fn published(&self) -> u64 {
        self.published.iter().map(|count| count.load(Ordering::Acquire)).sum()
    }
}

struct Driver {
    number: usize,
    bus: BusHandle,
    inbox: Inbox,
    shared: Arc<Shared>,
    sent: u64,
    answered: u64,
    heard: u64,
    /// By room and publisher: the next number expected.
    expected: HashMap<(u64, u64), u64>,
    next_of_room: Vec<u64>,
}

#[expect(clippy::print_stdout, reason = "what the program tells")]
fn main() -> ExitCode {
    let seconds = std::env::args().nth(1).and_then(|seconds| seconds.parse().ok()).unwrap_or(10);
    match run(Duration::from_secs(seconds)) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run(time: Duration) -> Result<String, String> {
    let stack = Stack::builder().gateways(0).controls(0).without_haproxy().start();
    let stack = stack.map_err(|error| error.to_string())?;
    let redis: RedisUrl =
        stack.redis_url().ok_or("no Redis")?.parse().map_err(|error: &str| error.to_owned())?;
    let redis_pid = stack.redis().and_then(Part::pid).ok_or("no Redis")?;
    let shards = Shards::new(SHARDS).ok_or("shards")?;
    let shared = Arc::new(Shared::default());
    let mut drivers = Vec::new();
    for number in 0..GATEWAYS {
        let mut links = Links::new(1).map_err(|error| error.to_string())?;
        let server_id = format!("gateway-{number}");
        let status = Arc::new(Status::new(&server_id, "io_uring", true, 1));
        let config = BusConfig {
            redis: Some(redis.clone().into()),
            shards,
            resume_window: Duration::from_mins(2),
            resume_bytes_max: 64 << 20,
            resume_scan_bytes_max: 0,
            trims: false,
            sends_per_second: 0,
            server_id,
            gateway_timeout: Duration::from_secs(15),
            comes_back_max: Duration::from_secs(30),
            wait: Duration::ZERO,
        };
        start(config, links.bus.clone(), links.cores.clone(), status).map_err(|error| error.to_string())?;
        let inbox = links.inboxes.pop().ok_or("no inbox")?;
        drivers.push(Driver::new(number, links.bus, inbox, Arc::clone(&shared))?);
    }
    for driver in &mut drivers {
        driver.join()?;
    }
    let clock = Monotonic::start();
    let before = (cpu_of_redis(redis_pid)?, cpu_of_buses()?);
    let threads: Vec<_> =
        drivers.into_iter().map(|driver| std::thread::spawn(move || driver.drive(shards))).collect();
    while clock.elapsed() < time {
        pause(Duration::from_millis(50));
    }
    shared.stop.store(true, Ordering::Release);
    for thread in threads {
        thread.join().map_err(|_| "a driver panicked")??;
    }
    let seconds = clock.elapsed().as_secs_f64();
    let messages = shared.published();
    let redis_ns = cpu_of_redis(redis_pid)? - before.0;
    let buses_ns = cpu_of_buses()? - before.1;
    let per_message = |ns: u64| float(ns) / 1e3 / float(messages);
    Ok(serde_json::json!({
        "mode": "bus",
        "messages": messages,
        "seconds": seconds,
        "messages_per_s": float(messages) / seconds,
        "redis_cpu_us_per_message": per_message(redis_ns),
        "messages_per_redis_core_s": float(messages) / (float(redis_ns) / 1e9),
        "gateway_cpu_us_per_message": per_message(buses_ns),
        "gateways": GATEWAYS,
        "lost": 0,
        "doubled": 0,
        "out_of_order": 0,
    })
    .to_string())
}

impl Driver {
    fn new(number: usize, bus: BusHandle, inbox: Inbox, shared: Arc<Shared>) -> Result<Self, String> {
        let rooms = usize::try_from(ROOMS).map_err(|error| error.to_string())?;
        Ok(Self {
            number,
            bus,
            inbox,
            shared,
            sent: 0,
            answered: 0,
            heard: 0,
            expected: HashMap::new(),
            next_of_room: vec![0; rooms],
        })
    }

    /// Subscribes to every room, and waits until that is done.
    fn join(&mut self) -> Result<(), String> {
        let rooms: Option<Vec<_>> =
            (1..=ROOMS).map(|room| Some(JoinAsk { room: RoomId::new(room)?, since: None })).collect();
        let waiter = Waiter { core: 0, ticket: 0 };
        let ask = Ask::Join { rooms: rooms.ok_or("a room")?, member: None, waiter };
        self.bus.ask(ask).map_err(|_| "the bus is full")?;
        self.bus.wake();
        let clock = Monotonic::start();
        while clock.elapsed() < ARRIVE_MAX {
            self.wait();
            while let Some(batch) = self.inbox.take() {
                if batch.tells.iter().any(|tell| matches!(tell, Tell::Answer(_, Answer::Joined(_)))) {
                    return Ok(());
                }
            }
        }
        Err("the rooms could not be joined".to_owned())
    }

    fn drive(mut self, shards: Shards) -> Result<(), String> {
        let mut quiet_since = Monotonic::start();
        loop {
            let stopping = self.shared.stop.load(Ordering::Acquire);
            if !stopping {
                while self.sent - self.answered < UNANSWERED_MAX {
                    self.publish(shards)?;
                }
                self.bus.wake();
            }
            let before = self.heard + self.answered;
            while let Some(batch) = self.inbox.take() {
                for tell in batch.tells {
                    self.take(tell)?;
                }
            }
            if self.heard + self.answered != before {
                quiet_since = Monotonic::start();
            } else if quiet_since.elapsed() > ARRIVE_MAX {
                let (sent, answered, heard) = (self.sent, self.answered, self.heard);
                return Err(format!(
                    "gateway {}: {sent} sent, {answered} answered, {heard} came",
                    self.number
                ));
            } else {
                self.wait();
            }
            if stopping && self.answered == self.sent && self.heard == self.shared.published() {
                return Ok(());
            }
        }
    }

    fn publish(&mut self, shards: Shards) -> Result<(), String> {
        let number = self.sent % ROOMS;
        let room = RoomId::new(number + 1).ok_or("a room")?;
        let next = self.next_of_room.get_mut(usize::try_from(number).unwrap_or(0)).ok_or("a room")?;
        let mut body = format!("#{:01x}{:016x}", self.number, *next);
        *next += 1;
        body.extend(std::iter::repeat_n('x', BODY_BYTES - body.len()));
        let record = Record::Message {
            room,
            from: UserId::new(self.number as u64 + 1).ok_or("a user")?,
            name: "driver".into(),
            kind: MessageKind::Text,
            body: body.into(),
            nonce: None,
            reply_to: None,
        };
        let waiter = Some(Waiter { core: 0, ticket: 1 });
        let ask = Ask::Publish {
            shard: shards.of(room),
            record: record.encode(),
            nonce: None,
            sender: None,
            waiter,
        };
        self.sent += 1;
        if let Some(published) = self.shared.published.get(self.number) {
            published.store(self.sent, Ordering::Release);
        }
        self.bus.ask(ask).map_err(|_| "the bus is full".to_owned())
    }

    fn take(&mut self, tell: Tell) -> Result<(), String> {
        match tell {
            Tell::Answer(_, Answer::Stored(_)) => self.answered += 1,
            Tell::Answer(_, answer) => return Err(format!("not stored: {answer:?}")),
            Tell::Event(event) => {
                self.heard += 1;
                self.check(&event)?;
            }
            Tell::Gap(_) => return Err("the bus was too slow for trimming".to_owned()),
            Tell::RoleChanged { .. }
            | Tell::RoleFound { .. }
            | Tell::CheckLogins
            | Tell::RoomDeleted(_)
            | Tell::Entered(_)
            | Tell::SessionsEnded(..)
            | Tell::Banned(_)
            | Tell::TellPresence(_)
            | Tell::Replace { .. }
            | Tell::Drain
            | Tell::Freeze(_)
            | Tell::Thaw
            | Tell::Give(..)
            | Tell::Adopt(_) => {}
        }
        Ok(())
    }

    /// The messages of one publisher to one room come in their order, each once.
    fn check(&mut self, event: &Event) -> Result<(), String> {
        let at = memchr::memchr(b'#', &event.frame).ok_or("a message without its mark")?;
        let text = event.frame.get(at + 1..at + 18).and_then(|text| std::str::from_utf8(text).ok());
        let (from, number) = text.and_then(|text| text.split_at_checked(1)).ok_or("a cut message")?;
        let parse = |text| u64::from_str_radix(text, 16).map_err(|error| error.to_string());
        let expected = self.expected.entry((event.room.get(), parse(from)?)).or_insert(0);
        if parse(number)? != *expected {
            return Err(format!("room {}: message {number} came where {expected} was due", event.room));
        }
        *expected += 1;
        Ok(())
    }

    /// Until the bus tells something, for a moment at most.
    fn wait(&self) {
        if let Ok(eventfd) = self.inbox.eventfd() {
            let mut descriptors = [PollFd::new(&eventfd, PollFlags::IN)];
            // A signal or a time-out: the caller looks again either way.
            let _ = poll(&mut descriptors, Some(&Timespec { tv_sec: 0, tv_nsec: 5_000_000 }));
            let mut count = [0; 8];
            if descriptors.iter().any(|descriptor| descriptor.revents().contains(PollFlags::IN)) {
                let _ = rustix::io::read(&eventfd, &mut count);
            }
        }
        self.inbox.about_to_drain();
    }
}

#[expect(clippy::disallowed_methods, reason = "the time of a measurement has to pass")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

fn cpu_of_redis(pid: u32) -> Result<u64, String> {
    cpu_ns(pid, |_| true)
}

/// The bus threads of this process.
fn cpu_of_buses() -> Result<u64, String> {
    cpu_ns(std::process::id(), |name| name == "bus")
}

/// CPU of a process's threads with such names, as the kernel's scheduler counts it.
fn cpu_ns(pid: u32, wanted: impl Fn(&str) -> bool) -> Result<u64, String> {
    let tasks = format!("/proc/{pid}/task");
    let mut sum = 0;
    for task in std::fs::read_dir(&tasks).map_err(|error| format!("{tasks}: {error}"))?.flatten() {
        let read = |file| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
        if wanted(read("comm").trim()) {
            sum += read("schedstat").split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    Ok(sum)
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn float(count: u64) -> f64 {
    count as f64
}
