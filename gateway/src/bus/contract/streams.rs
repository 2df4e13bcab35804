//! What the bus makes of streams that others have written, at times that they chose.

use bytes::Bytes;
use hubbub_benches::stack::{RedisShape, Stack};
use hubbub_common::clock::{Monotonic, now_ms};
use hubbub_common::entry::encode;
use hubbub_common::ids::{EntryId, MessageId, RoomId};
use hubbub_common::keys;
use hubbub_common::redis_url::RedisUrl;
use redis::{Cmd, cmd, pipe};

use super::{DEADLINE, FakeCore, WINDOW, message, redis as private_redis, room, shards};
use crate::bus::{Answer, Ask, JoinAsk, Links, Tell, Waiter};
use crate::ws::encode::payload;

const WINDOW_MS: u64 = WINDOW.as_secs() * 1_000;

/// Somebody else who writes.
struct Other {
    _stack: Stack,
    url: RedisUrl,
    connection: redis::Connection,
    seq: u64,
}

impl Other {
    fn start() -> Self {
        let (stack, url) = private_redis(RedisShape::Single);
        let client = redis::Client::open(stack.redis_url().unwrap()).unwrap();
        Self { connection: client.get_connection().unwrap(), _stack: stack, url, seq: 0 }
    }

    /// The command that stores a message at a time of one's own.
    fn add(&mut self, room: RoomId, at_ms: u64, body: &str, nonce: Option<&str>) -> (Cmd, MessageId) {
        self.seq += 1;
        let entry = encode(77, self.seq, &[message(room, body, nonce)]);
        let id = EntryId { ms: at_ms, seq: 0 };
        let mut add = cmd("XADD");
        add.arg(keys::bus(shards().of(room))).arg(id.to_string()).arg(keys::ENTRY_FIELD).arg(entry);
        (add, MessageId::pack(id, 0).unwrap())
    }

    fn store(&mut self, room: RoomId, at_ms: u64, body: &str, nonce: Option<&str>) -> MessageId {
        let (add, id) = self.add(room, at_ms, body, nonce);
        add.exec(&mut self.connection).unwrap();
        id
    }
}

impl FakeCore {
    /// That of the next message.
    fn next_body(&mut self) -> String {
        let clock = Monotonic::start();
        while clock.elapsed() < DEADLINE {
            if let Tell::Event(event) = self.next() {
                return body(&event.frame);
            }
        }
        panic!("no message within {DEADLINE:?}")
    }
}

fn body(frame: &Bytes) -> String {
    let event: serde_json::Value = serde_json::from_slice(payload(frame)).unwrap();
    event["body"].as_str().unwrap().to_owned()
}

#[test]
fn what_repeats_a_message_from_before_the_window_is_a_repeat_for_who_begins_now() {
    let mut other = Other::start();
    let now_ms = now_ms();
    other.store(room(1), now_ms - WINDOW_MS * 3 / 2, "first", Some("n"));
    let since = other.store(room(1), now_ms - WINDOW_MS * 4 / 5, "between", None);
    other.store(room(1), now_ms - WINDOW_MS * 3 / 5, "again", Some("n"));
    let last = other.store(room(1), now_ms - WINDOW_MS * 2 / 5, "new", Some("m"));
    let mut core = FakeCore::start(Some(other.url.clone()), "g1");
    let (told, replay) = core.join(1, room(1), Some(since));
    let bodies: Vec<String> = replay.unwrap().iter().map(body).collect();
    assert_eq!((told, bodies), (last, vec!["new".to_owned()]));
}

#[test]
fn a_nonce_of_data_that_is_gone_is_not_known_any_more() {
    let mut other = Other::start();
    let mut core = FakeCore::start(Some(other.url.clone()), "g1");
    core.join(1, room(1), None);
    other.store(room(1), now_ms(), "stored", Some("n"));
    assert_eq!(core.next_body(), "stored");
    // A server that comes back empty. Whoever sent the message repeats it.
    let mut at_once = pipe();
    at_once
        .atomic()
        .cmd("FLUSHALL")
        .cmd("CLIENT")
        .arg("KILL")
        .arg("TYPE")
        .arg("normal")
        .arg("SKIPME")
        .arg("yes");
    at_once.exec(&mut other.connection).unwrap();
    other.store(room(1), now_ms(), "repeated", Some("n"));
    assert_eq!(core.next_body(), "repeated");
}

#[test]
fn a_gap_is_told_before_what_comes_behind_it() {
    let mut other = Other::start();
    let start_ms = now_ms();
    other.store(room(1), start_ms - WINDOW_MS * 4 / 5, "before", None);
    let mut core = FakeCore::start(Some(other.url.clone()), "g1");
    core.join(1, room(1), None);
    // Old when they are read, as what is read late is. The reader is served when all three are done.
    let (missed, id_of_missed) = other.add(room(1), start_ms - WINDOW_MS * 7 / 10, "missed", None);
    let (behind, _) = other.add(room(1), start_ms - WINDOW_MS * 3 / 5, "behind", None);
    let mut trim = cmd("XTRIM");
    trim.arg(keys::bus(shards().of(room(1)))).arg("MAXLEN").arg(1);
    let mut at_once = pipe();
    at_once.atomic().add_command(missed).add_command(behind).add_command(trim);
    at_once.exec(&mut other.connection).unwrap();
    let (shard, to) = loop {
        let told = core.next();
        if let Tell::Gap(gaps) = told {
            break gaps[0];
        }
        assert!(!matches!(told, Tell::Event(_)), "{told:?} came first");
    };
    assert!(shard == shards().of(room(1)) && to >= id_of_missed);
    assert_eq!(core.next_body(), "behind");
}

#[test]
fn a_join_names_no_event_as_the_last_that_is_still_to_come() {
    let mut other = Other::start();
    // A core that is behind holds the reader up.
    let links = Links::bounded(1, 16, 1, usize::MAX).unwrap();
    let mut core = FakeCore::with(links, Some(other.url.clone()), "g1");
    core.join(1, room(1), None);
    let quiet = (2..99).map(room).find(|quiet| shards().of(*quiet) == shards().of(room(1))).unwrap();
    for n in 0..5 {
        other.store(room(1), now_ms() + n, "x", None);
    }
    // The batch writer was quicker.
    let told_of = other.store(quiet, now_ms() + 10, "told of", None);
    let mut tell = cmd("HSET");
    tell.arg(keys::last(shards().of(quiet))).arg(quiet.get()).arg(told_of.get());
    tell.arg(keys::LAST_TOLD_TO).arg(told_of.entry().to_string());
    tell.exec(&mut other.connection).unwrap();
    let rooms = vec![JoinAsk { room: quiet, since: None }];
    core.ask(Ask::Join { rooms, member: None, waiter: Waiter { core: 0, ticket: 2 } });
    let mut has_come = false;
    let outcome = loop {
        let told = core.next();
        if let Tell::Answer(_, Answer::Joined(mut rooms)) = told {
            break rooms.remove(0).outcome;
        }
        has_come |= matches!(told, Tell::Event(event) if body(&event.frame) == "told of");
    };
    assert!(has_come || outcome.is_err(), "{outcome:?} came first");
}
