//! Who is online: the same answers from every backend, and on Redis whatever becomes of the gateways.

use std::time::Duration;

use hubbub_benches::stack::RedisShape;
use hubbub_common::clock::Monotonic;
use hubbub_common::ids::{RoomId, UserId};

use super::{DEADLINE, block_on, redis, room, shards, user};
use crate::bus::backend::{Presence, PresenceChange, PresenceOutcome};
use crate::bus::redis::RedisBackend;

/// Looks until a silent run is dead, the first one included.
const LOOKS: usize = 4;
/// How long a claim holds.
const CLAIM: Duration = Duration::from_mins(1);

fn came(n: u64, core: u16) -> PresenceChange {
    PresenceChange { user: user(n), core, online: true }
}
fn went(n: u64, core: u16) -> PresenceChange {
    PresenceChange { user: user(n), core, online: false }
}

/// What everybody sees of it.
async fn set(backend: &impl Presence, room: RoomId, changes: &[PresenceChange]) -> Vec<(UserId, bool)> {
    backend.note_rooms(&[room]).await.unwrap();
    backend.set_presence(room, changes).await.unwrap().changes
}

async fn present(backend: &impl Presence, room: RoomId) -> (Vec<UserId>, u64) {
    let (mut users, count) = backend.present(room).await.unwrap();
    users.sort();
    (users, count)
}

pub(super) async fn check(backend: &impl Presence) {
    let set = async |changes: &[PresenceChange]| set(backend, room(1), changes).await;
    assert_eq!(set(&[came(1, 0)]).await, [(user(1), true)]);
    assert_eq!(set(&[came(1, 0)]).await, []);
    // "1" is a prefix of "12", but another user.
    assert_eq!(set(&[came(1, 1), came(12, 0)]).await, [(user(12), true)]);
    assert_eq!(present(backend, room(1)).await, (vec![user(1), user(12)], 2));
    // From one core to another is no change, nor is the first of two to go.
    assert_eq!(set(&[went(12, 0), came(12, 1)]).await, []);
    assert_eq!(set(&[went(1, 0)]).await, []);
    assert_eq!(set(&[went(1, 1), came(3, 0)]).await, [(user(1), false), (user(3), true)]);
    assert_eq!(set(&[went(1, 1)]).await, []);
    assert_eq!(present(backend, room(1)).await, (vec![user(3), user(12)], 2));
    assert_eq!(present(backend, room(2)).await, (vec![], 0));
    // Users are counted, not their entries, where a room is about as large as changes are told in.
    for core in 0..2 {
        let crowd: Vec<_> = (100..500).map(|n| came(n, core)).collect();
        let PresenceOutcome { changes, count } = backend.set_presence(room(2), &crowd).await.unwrap();
        assert_eq!((changes.len(), count), (if core == 0 { 400 } else { 0 }, 400));
    }
    assert_eq!(present(backend, room(2)).await.1, 400);
    let more: Vec<_> = (500..700).map(|n| came(n, 0)).collect();
    assert_eq!(backend.set_presence(room(2), &more).await.unwrap().count, 600);
    backend.forget_rooms(&[room(1), room(2)]).await.unwrap();
}

async fn gateway(url: &hubbub_common::redis_url::RedisUrl, server_id: &str) -> RedisBackend {
    RedisBackend::start(&url.clone().into(), shards(), server_id, false, Duration::ZERO).await.unwrap()
}

/// Looks until somebody is dead; gives the orphans.
async fn look(backend: &RedisBackend) -> Vec<String> {
    let mut orphans = Vec::new();
    for _ in 0..LOOKS {
        orphans = backend.call_roll().await.unwrap().orphans;
    }
    orphans
}

/// Removes what an orphan left; gives who went offline, by room.
async fn reap(backend: &RedisBackend, orphan: &str) -> Vec<(RoomId, Vec<(UserId, bool)>)> {
    let mut gone = Vec::new();
    loop {
        assert!(backend.claim(orphan, CLAIM).await.unwrap());
        let rooms = backend.rooms_of(orphan).await.unwrap();
        if rooms.is_empty() {
            backend.removed(orphan).await.unwrap();
            gone.sort();
            return gone;
        }
        for room in rooms {
            gone.push((room, backend.remove(orphan, room).await.unwrap().changes));
        }
    }
}

#[test]
fn users_of_a_dead_gateway_go_offline_once() {
    let (_stack, url) = redis(RedisShape::Single);
    block_on(async {
        let [dead, living, other] =
            [gateway(&url, "dead").await, gateway(&url, "living").await, gateway(&url, "other").await];
        // Many, with some who are also elsewhere, or come there before anybody knows.
        let crowd: Vec<_> = (1..=1_500).flat_map(|n| [came(n, 0), came(n, 1)]).collect();
        assert_eq!(set(&dead, room(1), &crowd).await.len(), 1_500);
        set(&dead, room(2), &[came(1, 0), came(2, 0), came(3, 0)]).await;
        assert_eq!(set(&living, room(2), &[came(2, 0)]).await, []);
        assert_eq!(set(&living, room(2), &[came(3, 0)]).await, []);
        assert_eq!(set(&living, room(2), &[went(3, 0)]).await, []);
        for _ in 1..LOOKS {
            assert_eq!(living.call_roll().await.unwrap().orphans, [""; 0]);
            other.call_roll().await.unwrap();
        }
        let orphans = living.call_roll().await.unwrap().orphans;
        assert!(orphans.len() == 1 && orphans[0].starts_with("dead#"), "{orphans:?}");
        assert_eq!(other.call_roll().await.unwrap().orphans, orphans);
        assert_eq!(present(&living, room(2)).await, (vec![user(2)], 1));
        // One of the two does it.
        assert!(living.claim(&orphans[0], CLAIM).await.unwrap());
        assert!(!other.claim(&orphans[0], CLAIM).await.unwrap());
        let gone = reap(&living, &orphans[0]).await;
        assert_eq!(gone[0].1.len(), 1_500);
        assert_eq!(gone[1], (room(2), vec![(user(1), false), (user(3), false)]));
        assert!(living.call_roll().await.unwrap().orphans.is_empty());
        assert_eq!(present(&other, room(1)).await, (vec![], 0));
        // Whoever comes back now is seen to come.
        assert_eq!(set(&other, room(2), &[came(1, 0)]).await, [(user(1), true)]);
        // The one taken for dead finds out, and begins anew.
        assert!(dead.call_roll().await.unwrap().forgotten);
        dead.end_run(&[room(2)]).await.unwrap();
        dead.begin_run().await.unwrap();
        assert!(!dead.call_roll().await.unwrap().forgotten);
        assert_eq!(set(&dead, room(2), &[came(1, 0), came(3, 0)]).await, [(user(3), true)]);
    });
}

#[test]
fn a_user_of_two_dead_gateways_goes_offline_with_the_second() {
    let (_stack, url) = redis(RedisShape::Single);
    block_on(async {
        let [one, two, living] =
            [gateway(&url, "a").await, gateway(&url, "b").await, gateway(&url, "c").await];
        set(&one, room(1), &[came(1, 0)]).await;
        set(&two, room(1), &[came(1, 0)]).await;
        let orphans = look(&living).await;
        assert_eq!(orphans.len(), 2);
        assert_eq!(reap(&living, &orphans[0]).await, [(room(1), vec![])]);
        assert_eq!(reap(&living, &orphans[1]).await, [(room(1), vec![(user(1), false)])]);
    });
}

#[test]
fn what_one_leaves_half_done_another_finishes() {
    let (_stack, url) = redis(RedisShape::Single);
    block_on(async {
        let [dead, first, second] =
            [gateway(&url, "a").await, gateway(&url, "b").await, gateway(&url, "c").await];
        for n in 1..=3 {
            set(&dead, room(n), &[came(n, 0)]).await;
        }
        let orphan = look(&first).await.remove(0);
        assert!(first.claim(&orphan, Duration::from_millis(50)).await.unwrap());
        assert_eq!(first.remove(&orphan, room(2)).await.unwrap().changes, [(user(2), false)]);
        // The first one dies here; its claim lapses.
        second.call_roll().await.unwrap();
        let waiting = Monotonic::start();
        while !second.claim(&orphan, CLAIM).await.unwrap() {
            assert!(waiting.elapsed() < DEADLINE);
        }
        assert!(!first.claim(&orphan, CLAIM).await.unwrap());
        let gone = reap(&second, &orphan).await;
        assert_eq!(gone, [(room(1), vec![(user(1), false)]), (room(3), vec![(user(3), false)])]);
    });
}

#[test]
fn entries_of_nobody_count_for_nothing() {
    let (_stack, url) = redis(RedisShape::Single);
    block_on(async {
        let [dead, living] = [gateway(&url, "a").await, gateway(&url, "b").await];
        set(&living, room(1), &[came(2, 0)]).await;
        let orphan = look(&living).await.remove(0);
        reap(&living, &orphan).await;
        // It stood still in the middle of this, and went on after it was removed.
        dead.set_presence(room(1), &[came(1, 0)]).await.unwrap();
        assert_eq!(present(&living, room(1)).await, (vec![user(2)], 1));
        assert_eq!(set(&living, room(1), &[came(1, 0)]).await, [(user(1), true)]);
        assert_eq!(set(&living, room(1), &[went(1, 0)]).await, [(user(1), false)]);
        // A gateway that nobody has looked at yet is not nobody.
        let new = gateway(&url, "c").await;
        set(&new, room(1), &[came(5, 0)]).await;
        assert_eq!(set(&living, room(1), &[came(5, 0)]).await, []);
        assert_eq!(present(&living, room(1)).await.0, [user(2), user(5)]);
    });
}
