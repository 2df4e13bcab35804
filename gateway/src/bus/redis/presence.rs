//! Who is online, in Redis: a sorted set for each room ([`hubbub_common::presence`]), the roll of gateways, and for
//! each run the set of rooms in which it has users.
//!
//! Whether somebody came or went is decided in the transaction that notes it, so two gateways that note the same user
//! at once agree on which was first. Entries of runs that nobody knows any more count for nothing; those of runs that
//! have ended count until they are removed, because that is when it is told. No command has keys of two slots.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hubbub_common::clock::now_ms;
use hubbub_common::entry::new_origin;
use hubbub_common::ids::{RoomId, UserId};
use hubbub_common::keys;
use hubbub_common::limits::{PRESENCE_PUSH_MEMBERS_MAX, PRESENCE_USERS_MAX};
use hubbub_common::presence::{PresenceEntry, users};
use redis::{FromRedisValue, Value, cmd, from_redis_value, pipe};

use super::{RedisBackend, bus_error};
use crate::bus::backend::{BusError, Presence, PresenceChange, PresenceOutcome, Roll};

/// Entries that one question who is online looks at; beyond them the number of users is an estimate.
const ENTRIES_MAX: usize = 20_000;
/// Changes in one transaction.
const CHANGES_MAX: usize = 256;
/// Entries looked at in one step when those of a run are removed.
const PAGE_ENTRIES: usize = 1_000;
/// Rooms of a run that are cleaned under one claim, and noted in one command.
const ROOMS_MAX: usize = 256;
/// Entries up to which users are counted one by one to tell whether a room is small: nobody has this many times more
/// entries than one.
const COUNTED_ENTRIES_MAX: usize = 4 * PRESENCE_PUSH_MEMBERS_MAX;

/// Entries that come and go in one transaction.
#[derive(Debug, Default)]
struct Moves {
    users: BTreeSet<UserId>,
    come: Vec<String>,
    go: BTreeSet<String>,
}

/// What a transaction found.
struct Moved {
    /// The entries of each user before it.
    before: BTreeMap<UserId, Vec<String>>,
    /// Entries of the room after it.
    entries: usize,
}

impl Presence for RedisBackend {
    async fn set_presence(
        &self,
        room: RoomId,
        changes: &[PresenceChange],
    ) -> Result<PresenceOutcome, BusError> {
        let run = self.run.borrow().clone();
        let mut outcome = PresenceOutcome::default();
        let mut entries = 0;
        for some in changes.chunks(CHANGES_MAX) {
            let mut moves = Moves::default();
            for PresenceChange { user, core, online } in some {
                let entry = PresenceEntry { user: *user, run: &run, core: *core }.to_string();
                moves.users.insert(*user);
                if *online {
                    moves.come.push(entry);
                } else {
                    moves.go.insert(entry);
                }
            }
            let moved = self.carry_out(room, &moves).await?;
            entries = moved.entries;
            outcome.changes.extend(self.who_changed(&moved, &moves));
        }
        outcome.count = self.count(room, entries).await?;
        Ok(outcome)
    }

    async fn present(&self, room: RoomId) -> Result<(Vec<UserId>, u64), BusError> {
        let key = keys::presence(room);
        let mut pipeline = pipe();
        pipeline.cmd("ZRANGE").arg(&key).arg(0).arg(ENTRIES_MAX - 1);
        pipeline.cmd("ZCARD").arg(&key);
        let (entries, all): (Vec<String>, usize) =
            pipeline.query_async(&mut self.commands()).await.map_err(bus_error)?;
        self.meet(&entries).await?;
        let known = self.known.borrow();
        let own = self.run.borrow();
        let mut users = users(entries.iter().map(String::as_str), |run| run == *own || known.lives(run));
        let seen = entries.len().max(1);
        let count = if all > seen { users.len() * all / seen } else { users.len() };
        users.truncate(PRESENCE_USERS_MAX);
        Ok((users, count as u64))
    }

    async fn note_rooms(&self, rooms: &[RoomId]) -> Result<(), BusError> {
        let key = keys::presence_rooms(&self.run.borrow());
        self.with_rooms("SADD", &key, rooms).await
    }

    async fn forget_rooms(&self, rooms: &[RoomId]) -> Result<(), BusError> {
        let key = keys::presence_rooms(&self.run.borrow());
        self.with_rooms("SREM", &key, rooms).await
    }

    async fn call_roll(&self) -> Result<Roll, BusError> {
        let run = self.run.borrow().clone();
        // Rises also where the clock does not: otherwise the same number would look like a run that is not there.
        let heartbeat = now_ms().max(self.heartbeat_ms.get() + 1);
        self.heartbeat_ms.set(heartbeat);
        let mut pipeline = pipe();
        pipeline.cmd("ZADD").arg(keys::GATEWAYS).arg("XX").arg("CH").arg(heartbeat).arg(&run);
        pipeline.cmd("ZRANGE").arg(keys::GATEWAYS).arg(0).arg(-1).arg("WITHSCORES");
        pipeline.cmd("ZRANGE").arg(keys::GATEWAYS_GONE).arg(0).arg(-1);
        let (known, runs, gone): (u64, Vec<(String, String)>, Vec<String>) =
            pipeline.query_async(&mut self.commands()).await.map_err(bus_error)?;
        let mut orphans = gone.clone();
        let silent = self.known.borrow_mut().look(&run, runs, gone);
        for silent in silent {
            self.strike_off(&silent).await?;
            orphans.push(silent);
        }
        orphans.retain(|orphan| *orphan != run);
        Ok(Roll { forgotten: known == 0, orphans })
    }

    async fn begin_run(&self) -> Result<(), BusError> {
        let run = format!("{}#{:08x}", self.server_id, new_origin() >> 32);
        let heartbeat = now_ms();
        let mut command = cmd("ZADD");
        command
            .arg(keys::GATEWAYS)
            .arg(heartbeat)
            .arg(&run)
            .query_async::<u64>(&mut self.commands())
            .await
            .map_err(bus_error)?;
        self.heartbeat_ms.set(heartbeat);
        self.run.replace(run);
        Ok(())
    }

    async fn end_run(&self, rooms: &[RoomId]) -> Result<(), BusError> {
        let run = self.run.borrow().clone();
        self.with_rooms("SADD", &keys::presence_rooms(&run), rooms).await?;
        self.strike_off(&run).await
    }

    async fn claim(&self, orphan: &str, time: Duration) -> Result<bool, BusError> {
        let (key, own) = (keys::presence_reaper(orphan), self.run.borrow().clone());
        let time_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let mut command = cmd("SET");
        command.arg(&key).arg(&own).arg("NX").arg("GET").arg("PX").arg(time_ms);
        let holder: Option<String> = command.query_async(&mut self.commands()).await.map_err(bus_error)?;
        match holder {
            None => Ok(true),
            Some(holder) if holder == own => cmd("PEXPIRE")
                .arg(&key)
                .arg(time_ms)
                .query_async(&mut self.commands())
                .await
                .map_err(bus_error),
            Some(_) => Ok(false),
        }
    }

    async fn rooms_of(&self, orphan: &str) -> Result<Vec<RoomId>, BusError> {
        let key = keys::presence_rooms(orphan);
        let rooms: Vec<String> = cmd("SRANDMEMBER")
            .arg(&key)
            .arg(ROOMS_MAX)
            .query_async(&mut self.commands())
            .await
            .map_err(bus_error)?;
        Ok(rooms.iter().filter_map(|room| room.parse().ok()).collect())
    }

    async fn remove(&self, orphan: &str, room: RoomId) -> Result<PresenceOutcome, BusError> {
        let key = keys::presence(room);
        let mut outcome = PresenceOutcome::default();
        let (mut from, mut left) = ("-".to_owned(), 0);
        loop {
            let mut command = cmd("ZRANGEBYLEX");
            command.arg(&key).arg(&from).arg("+").arg("LIMIT").arg(0).arg(PAGE_ENTRIES);
            let page: Vec<String> = command.query_async(&mut self.commands()).await.map_err(bus_error)?;
            let Some(last) = page.last() else { break };
            from = format!("({last}");
            let parsed = page.iter().filter_map(|entry| Some((entry, PresenceEntry::parse(entry)?)));
            let of_orphan: Vec<_> = parsed.filter(|(_, parsed)| parsed.run == orphan).collect();
            for some in of_orphan.chunks(CHANGES_MAX) {
                let users = some.iter().map(|(_, parsed)| parsed.user).collect();
                let go = some.iter().map(|(entry, _)| (*entry).clone()).collect();
                let moves = Moves { users, come: Vec::new(), go };
                let moved = self.carry_out(room, &moves).await?;
                left = moved.entries;
                outcome.changes.extend(self.who_changed(&moved, &moves));
            }
        }
        self.with_rooms("SREM", &keys::presence_rooms(orphan), &[room]).await?;
        outcome.count = self.count(room, left).await?;
        Ok(outcome)
    }

    async fn removed(&self, orphan: &str) -> Result<(), BusError> {
        cmd("ZREM")
            .arg(keys::GATEWAYS_GONE)
            .arg(orphan)
            .query_async::<u64>(&mut self.commands())
            .await
            .map_err(bus_error)?;
        self.known.borrow_mut().forget(orphan);
        Ok(())
    }
}

impl RedisBackend {
    /// From the roll to the list of those whose presence is to be removed: first onto the list, so that whatever
    /// happens in between it stands somewhere.
    async fn strike_off(&self, run: &str) -> Result<(), BusError> {
        let now_ms = now_ms();
        let mut transaction = pipe();
        transaction.atomic();
        transaction.cmd("ZADD").arg(keys::GATEWAYS_GONE).arg(now_ms).arg(run).ignore();
        transaction.cmd("ZREM").arg(keys::GATEWAYS).arg(run).ignore();
        transaction.query_async::<()>(&mut self.commands()).await.map_err(bus_error)?;
        Ok(())
    }

    async fn with_rooms(&self, name: &str, key: &str, rooms: &[RoomId]) -> Result<(), BusError> {
        for some in rooms.chunks(ROOMS_MAX) {
            let mut command = cmd(name);
            command.arg(key);
            for room in some {
                command.arg(room.get());
            }
            command.query_async::<u64>(&mut self.commands()).await.map_err(bus_error)?;
        }
        Ok(())
    }

    /// Lets entries of a room come and go, all at once.
    async fn carry_out(&self, room: RoomId, moves: &Moves) -> Result<Moved, BusError> {
        let key = keys::presence(room);
        let mut transaction = pipe();
        transaction.atomic();
        for user in &moves.users {
            let [first, end] = PresenceEntry::range_of(*user);
            transaction.cmd("ZRANGEBYLEX").arg(&key).arg(first).arg(end);
        }
        if !moves.come.is_empty() {
            transaction.cmd("ZADD").arg(&key).ignore();
            for entry in &moves.come {
                transaction.arg(0).arg(entry);
            }
        }
        if !moves.go.is_empty() {
            transaction.cmd("ZREM").arg(&key).ignore();
            for entry in &moves.go {
                transaction.arg(entry);
            }
        }
        transaction.cmd("ZCARD").arg(&key);
        let replies: Vec<Value> = transaction.query_async(&mut self.commands()).await.map_err(bus_error)?;
        let mut replies = replies.into_iter();
        let mut before: BTreeMap<UserId, Vec<String>> = BTreeMap::new();
        for user in &moves.users {
            before.insert(*user, from_reply(replies.next())?);
        }
        let entries = from_reply(replies.next())?;
        for entries in before.values() {
            self.meet(entries).await?;
        }
        Ok(Moved { before, entries })
    }

    /// Who came or went by what a transaction did.
    fn who_changed(&self, moved: &Moved, moves: &Moves) -> Vec<(UserId, bool)> {
        let (known, own) = (self.known.borrow(), self.run.borrow());
        let counts = |entry: &str| {
            let run = PresenceEntry::parse(entry).map(|entry| entry.run);
            run.is_some_and(|run| run == *own || known.has(run) == Some(true))
        };
        let come: BTreeSet<UserId> =
            moves.come.iter().filter_map(|entry| Some(PresenceEntry::parse(entry)?.user)).collect();
        let changed = moved.before.iter().filter_map(|(user, before)| {
            let was_online = before.iter().any(|entry| counts(entry));
            let stays = before.iter().any(|entry| !moves.go.contains(entry) && counts(entry));
            let is_online = stays || come.contains(user);
            (was_online != is_online).then_some((*user, is_online))
        });
        changed.collect()
    }

    /// How many users the entries of a room are, as exactly as it matters.
    async fn count(&self, room: RoomId, entries: usize) -> Result<u64, BusError> {
        if entries <= PRESENCE_PUSH_MEMBERS_MAX || entries > COUNTED_ENTRIES_MAX {
            return Ok(entries as u64);
        }
        let key = keys::presence(room);
        let entries: Vec<String> = cmd("ZRANGE")
            .arg(&key)
            .arg(0)
            .arg(-1)
            .query_async(&mut self.commands())
            .await
            .map_err(bus_error)?;
        self.meet(&entries).await?;
        let (known, own) = (self.known.borrow(), self.run.borrow());
        let counts = |run: &str| run == *own || known.has(run) == Some(true);
        Ok(users(entries.iter().map(String::as_str), counts).len() as u64)
    }

    /// Makes sure that every run that has one of these entries is known, or known to be dead.
    async fn meet(&self, entries: &[String]) -> Result<(), BusError> {
        let strangers: BTreeSet<String> = {
            let (known, own) = (self.known.borrow(), self.run.borrow());
            let runs = entries.iter().filter_map(|entry| Some(PresenceEntry::parse(entry)?.run));
            let strange = runs.filter(|run| *run != *own && known.has(run).is_none());
            strange.map(str::to_owned).collect()
        };
        if strangers.is_empty() {
            return Ok(());
        }
        let mut pipeline = pipe();
        pipeline.cmd("ZRANGE").arg(keys::GATEWAYS).arg(0).arg(-1).arg("WITHSCORES");
        pipeline.cmd("ZRANGE").arg(keys::GATEWAYS_GONE).arg(0).arg(-1);
        let (runs, gone): (Vec<(String, String)>, Vec<String>) =
            pipeline.query_async(&mut self.commands()).await.map_err(bus_error)?;
        self.known.borrow_mut().look_for(strangers.into_iter().collect(), runs, gone);
        Ok(())
    }
}

fn from_reply<T: FromRedisValue>(reply: Option<Value>) -> Result<T, BusError> {
    from_redis_value(reply.unwrap_or(Value::Nil))
        .map_err(|error| BusError(format!("Redis answered something else than presence: {error}")))
}
