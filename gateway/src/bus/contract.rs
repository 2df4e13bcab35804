//! One suite that every backend passes, and one that the whole bus passes on each of them.

use std::time::Duration;

use bytes::Bytes;
use hubbub_benches::stack::{RedisShape, Stack};
use hubbub_common::clock::Monotonic;
use hubbub_common::entry::{Record, encode};
use hubbub_common::ids::{EntryId, MessageId, RoomId, UserId};
use hubbub_common::protocol::MessageKind;
use hubbub_common::redis::Extent;
use hubbub_common::redis_url::RedisUrl;
use hubbub_common::shard::{Shard, Shards};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::sync::Arc;
use tokio::task::LocalSet;

use super::backend::{Directory, Footing, ReadEntry, RoomsLast, Streams};
use super::memory::MemoryBackend;
use super::redis::RedisBackend;
use super::{Answer, Ask, BusConfig, Inbox, JoinAsk, Links, Tell, Waiter, start};
use crate::status::Status;

mod presence;
mod servers;
mod streams;

const DEADLINE: Duration = Duration::from_secs(20);
const WINDOW: Duration = Duration::from_mins(1);

fn shards() -> Shards {
    Shards::new(4).unwrap()
}
fn room(n: u64) -> RoomId {
    RoomId::new(n).unwrap()
}
fn user(n: u64) -> UserId {
    UserId::new(n).unwrap()
}

fn message(room: RoomId, body: &str, nonce: Option<&str>) -> Vec<u8> {
    let (name, body, kind) = ("ada".into(), body.into(), MessageKind::Text);
    let nonce = nonce.map(Into::into);
    Record::Message { room, from: user(7), name, kind, body, nonce, reply_to: None }.encode()
}

/// A private Redis alone.
fn redis(shape: RedisShape) -> (Stack, RedisUrl) {
    let builder = Stack::builder().gateways(0).controls(0).without_haproxy().redis_shape(shape);
    let stack = builder.start().unwrap();
    let url = stack.redis_url().unwrap().parse().unwrap();
    (stack, url)
}

async fn backend(url: &RedisUrl) -> RedisBackend {
    RedisBackend::start(&url.clone().into(), shards(), "g1", false, Duration::ZERO).await.unwrap()
}

fn block_on(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new()
        .block_on(&runtime, async { tokio::time::timeout(DEADLINE, test).await.expect("in time") });
}

async fn read_until(backend: &impl Streams, cursor: (Shard, EntryId), count: usize) -> Vec<ReadEntry> {
    let mut cursor = cursor;
    let mut entries = Vec::new();
    while entries.len() < count {
        entries.extend(backend.read(&[cursor]).await.unwrap());
        if let Some(last) = entries.last() {
            cursor.1 = last.id;
        }
    }
    entries
}

async fn check_streams(backend: &impl Streams) {
    let shard = Shard::new(1);
    let before = backend.extent(shard).await.unwrap().last;
    let mut ids = Vec::new();
    for n in 0..50u64 {
        let entry = Bytes::from(encode(9, n, &[message(room(1), &n.to_string(), None)]));
        ids.push(backend.append(shard, entry).await.unwrap());
    }
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "{ids:?}");
    let entries = read_until(backend, (shard, before), ids.len()).await;
    let read: Vec<EntryId> = entries.iter().map(|entry| entry.id).collect();
    assert_eq!(read, ids);
    assert!(entries.iter().all(|entry| entry.shard == shard));
    // Nothing more comes, and a read that waits can be cut short.
    let interrupt = async {
        tokio::task::yield_now().await;
        backend.interrupt_read().await;
    };
    let (more, ()) = tokio::join!(async { backend.read(&[(shard, ids[49])]).await.unwrap() }, interrupt);
    assert_eq!(more, []);
    backend.heartbeat().await.unwrap();
}

/// What a reader needs that was away, or wants to look back. `keeps` says whether entries stay when they were read.
async fn check_looking_back(backend: &impl Streams, keeps: bool) {
    let (shard, other) = (Shard::new(2), Shard::new(3));
    assert_eq!(backend.extent(shard).await.unwrap(), Extent::default());
    let mut ids = Vec::new();
    for n in 0..300u64 {
        let entry = Bytes::from(encode(8, n, &[message(room(1), &n.to_string(), None)]));
        ids.push(backend.append(shard, entry).await.unwrap());
    }
    let epoch = backend.heartbeat().await.unwrap();
    if !keeps {
        assert_eq!(backend.range(shard, EntryId::ZERO, EntryId::MAX, 1).await.unwrap(), []);
        assert_eq!(backend.extent(shard).await.unwrap().trimmed(), 0);
        let survey = backend.survey(&[(shard, ids[299])]).await.unwrap();
        let has_cursor: Vec<_> = survey.footings.iter().map(|footing| footing.unwrap().has_cursor).collect();
        assert_eq!((survey.epoch, has_cursor), (epoch, vec![true]));
        return;
    }
    let whole = Extent { ends: Some((ids[0], ids[299])), last: ids[299], added: 300, length: 300 };
    assert_eq!(backend.extent(shard).await.unwrap(), whole);
    let range = async |from, to, count| -> Vec<EntryId> {
        let entries: Vec<ReadEntry> = backend.range(shard, from, to, count).await.unwrap();
        assert!(entries.iter().all(|entry| entry.shard == shard && !entry.bytes.is_empty()));
        entries.iter().map(|entry| entry.id).collect()
    };
    assert_eq!(range(ids[2], ids[7], 3).await, [ids[7], ids[6], ids[5]]);
    assert_eq!(range(ids[6], ids[7], 3).await, [ids[7], ids[6]]);
    assert_eq!(range(EntryId::ZERO, EntryId::MAX, 1_000).await.len(), 300);
    backend.trim(&[shard, other], ids[250]).await.unwrap();
    let trimmed = backend.extent(shard).await.unwrap();
    let first = trimmed.ends.unwrap().0;
    assert!(
        trimmed.trimmed() >= 100
            && first <= ids[250]
            && ids[usize::try_from(trimmed.trimmed()).unwrap()] == first
    );
    assert_eq!(Extent { length: 300, ends: whole.ends, ..trimmed }, whole);
    assert_eq!(range(EntryId::ZERO, first, 10).await, [first]);
    let cursors = [(shard, ids[299]), (shard, ids[0]), (other, EntryId::ZERO)];
    let survey = backend.survey(&cursors).await.unwrap();
    let footing = |extent, has_cursor| Some(Footing { extent, has_cursor });
    let expected = [footing(trimmed, true), footing(trimmed, false), footing(Extent::default(), false)];
    assert_eq!((survey.epoch, survey.footings.as_slice()), (epoch, expected.as_slice()));
    let unknown = backend.rooms_last(shard, &[room(1), room(2)]).await.unwrap();
    assert_eq!(unknown, RoomsLast { told_to: EntryId::ZERO, last: vec![MessageId::ZERO; 2] });
}

async fn check_live_channel(backend: &impl Streams) {
    // Hearing begins with the first call, so what was said before it may be missed.
    backend.hear().await.unwrap();
    let said = Bytes::from(encode(9, 1, &[Record::Typing { room: room(1), from: user(7) }.encode()]));
    backend.say(Shard::new(2), said.clone()).await.unwrap();
    let mut heard = Vec::new();
    while heard.is_empty() {
        heard = backend.hear().await.unwrap();
    }
    assert_eq!(heard, [said]);
}

async fn check_directory(backend: &impl Directory) {
    assert_eq!(backend.roles(user(1), &[room(1), room(2)]).await.unwrap(), [None, None]);
    assert_eq!(backend.login_session("nothing").await.unwrap(), None);
}

async fn check_backend(backend: impl Streams + Directory, keeps: bool) {
    check_streams(&backend).await;
    check_looking_back(&backend, keeps).await;
    check_live_channel(&backend).await;
    check_directory(&backend).await;
    presence::check(&backend).await;
}

#[test]
fn the_memory_backend_keeps_the_contract() {
    block_on(check_backend(MemoryBackend::default(), false));
}

fn check_redis(shape: RedisShape) {
    let (_stack, url) = redis(shape);
    block_on(async {
        check_backend(backend(&url).await, true).await;
    });
}

#[test]
fn the_redis_backend_keeps_the_contract() {
    check_redis(RedisShape::Single);
}

#[test]
fn the_redis_backend_keeps_the_contract_in_a_cluster() {
    check_redis(RedisShape::Cluster);
}

/// A core that asks and listens, without sockets.
struct FakeCore {
    links: Links,
    told: Vec<Tell>,
}

impl FakeCore {
    fn start(redis: Option<RedisUrl>, server_id: &str) -> Self {
        Self::with(Links::new(1).unwrap(), redis, server_id)
    }

    fn with(links: Links, redis: Option<RedisUrl>, server_id: &str) -> Self {
        let status = Arc::new(Status::new(server_id, "none", redis.is_some(), 1));
        let config = BusConfig {
            redis: redis.map(Into::into),
            shards: shards(),
            resume_window: WINDOW,
            resume_bytes_max: 1 << 20,
            resume_scan_bytes_max: 1 << 20,
            trims: false,
            sends_per_second: 0,
            server_id: server_id.to_owned(),
            gateway_timeout: Duration::from_secs(15),
            comes_back_max: Duration::from_secs(30),
            wait: Duration::ZERO,
        };
        start(config, links.bus.clone(), links.cores.clone(), status).unwrap();
        Self { links, told: Vec::new() }
    }

    fn inbox(&self) -> &Inbox {
        &self.links.inboxes[0]
    }

    fn ask(&self, ask: Ask) {
        assert!(self.links.bus.ask(ask).is_ok());
        self.links.bus.wake();
    }

    /// The next thing told.
    fn next(&mut self) -> Tell {
        let waiting = Monotonic::start();
        while self.told.is_empty() {
            let left = DEADLINE.checked_sub(waiting.elapsed()).expect("told in time");
            let eventfd = self.inbox().eventfd().unwrap();
            let mut wanted = [PollFd::new(&eventfd, PollFlags::IN)];
            poll(&mut wanted, Some(&Timespec::try_from(left).unwrap())).unwrap();
            rustix::io::read(&eventfd, &mut [0u8; 8]).unwrap();
            self.inbox().about_to_drain();
            while let Some(batch) = self.inbox().take() {
                self.told.extend(batch.tells);
            }
        }
        self.told.remove(0)
    }

    fn answer(&mut self, ticket: u32) -> Answer {
        loop {
            if let Tell::Answer(waiter, answer) = self.next()
                && waiter.ticket == ticket
            {
                return answer;
            }
        }
    }

    fn publish(&mut self, ticket: u32, room: RoomId, body: &str, nonce: Option<&str>) -> MessageId {
        let record = message(room, body, nonce);
        let nonce = nonce.map(|nonce| (user(7), nonce.into()));
        let waiter = Some(Waiter { core: 0, ticket });
        self.ask(Ask::Publish { shard: shards().of(room), record, nonce, sender: Some(user(7)), waiter });
        let answer = self.answer(ticket);
        let Answer::Stored(id) = answer else { panic!("{answer:?}") };
        id
    }

    /// Joins; gives the room's newest event and the replay.
    fn join(
        &mut self,
        ticket: u32,
        room: RoomId,
        since: Option<MessageId>,
    ) -> (MessageId, Option<Vec<Bytes>>) {
        let waiter = Waiter { core: 0, ticket };
        self.ask(Ask::Join { rooms: vec![JoinAsk { room, since }], member: None, waiter });
        let Answer::Joined(mut rooms) = self.answer(ticket) else { panic!("not joined") };
        let subscribed = rooms.remove(0).outcome.unwrap();
        (subscribed.last, subscribed.replay)
    }
}

fn check_bus(mut sender: FakeCore, mut receiver: Option<FakeCore>) {
    sender.join(0, room(1), None);
    let ids: Vec<MessageId> = (1..=20).map(|n| sender.publish(n, room(1), &format!("m{n}"), None)).collect();
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
    // A repeat gets the first one's id, and is not delivered again.
    let first = sender.publish(100, room(1), "once", Some("n"));
    assert_eq!(sender.publish(101, room(1), "once", Some("n")), first);
    // Another gateway sees the same, and replays exactly what followed.
    let reader = receiver.as_mut().unwrap_or(&mut sender);
    let (last, replay) = reader.join(200, room(1), Some(ids[17]));
    assert_eq!(last, first);
    let bodies: Vec<String> =
        replay.unwrap().iter().map(|frame| String::from_utf8_lossy(frame).into_owned()).collect();
    assert_eq!(bodies.len(), 3);
    assert!(bodies[0].contains("\"m19\"") && bodies[1].contains("\"m20\"") && bodies[2].contains("\"once\""));
    assert_eq!(reader.join(201, room(1), Some(first)), (first, Some(vec![])));
    // Membership is asked for where a token does not vouch.
    let waiter = Waiter { core: 0, ticket: 202 };
    let rooms = vec![JoinAsk { room: room(1), since: None }];
    reader.ask(Ask::Join { rooms, member: Some(user(7)), waiter });
    let Answer::Joined(rooms) = reader.answer(202) else { panic!("not answered") };
    assert!(rooms[0].outcome.is_err());
}

#[test]
fn the_bus_in_memory_keeps_order_and_drops_repeats() {
    check_bus(FakeCore::start(None, "g1"), None);
}

#[test]
fn the_bus_on_redis_keeps_order_and_drops_repeats_between_gateways() {
    let (_stack, url) = redis(RedisShape::Single);
    check_bus(FakeCore::start(Some(url.clone()), "g1"), Some(FakeCore::start(Some(url), "g2")));
}
