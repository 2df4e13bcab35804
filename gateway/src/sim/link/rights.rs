//! What gateways ask about users, command by command as the real backend does, so that each may be lost.

use std::time::Duration;

use hubbub_common::clock::now_ms;
use hubbub_common::entry::new_origin;
use hubbub_common::ids::{MessageId, RoomId, UserId};
use hubbub_common::protocol::Role;
use hubbub_common::token::{LoginMark, LoginSession};

use super::{Link, SimBackend};
use crate::bus::backend::{BusError, Directory, Presence, PresenceChange, PresenceOutcome, Roll};
use crate::sim::online::OnlineEntry;
use crate::sim::redis::Redis;

impl Directory for SimBackend {
    async fn login_session(&self, _: &str) -> Result<Option<LoginSession>, BusError> {
        // Clients come in behind their handshakes.
        self.0.command(|_| None).await
    }

    async fn logins(&self, user: UserId) -> Result<Vec<LoginMark>, BusError> {
        let living = |redis: &Redis| {
            let rights = redis.rights.borrow();
            let of_user = rights.logins.iter().filter(|(of, _)| *of == user);
            of_user.map(|(_, id)| LoginMark::of(id)).collect()
        };
        self.0.command(living).await
    }

    async fn knows_members(&self) -> Result<bool, BusError> {
        self.0.command(|redis| redis.rights.borrow().knows_members).await
    }

    async fn roles(&self, user: UserId, rooms: &[RoomId]) -> Result<Vec<Option<Role>>, BusError> {
        let roles = |redis: &Redis| {
            let rights = redis.rights.borrow();
            let role = |room: &RoomId| rights.roles.get(&(user, *room)).copied();
            rooms.iter().map(|room| role(room).filter(|_| rights.knows_members)).collect()
        };
        self.0.command(roles).await
    }

    async fn author(&self, room: RoomId, msg: MessageId) -> Result<Option<UserId>, BusError> {
        self.0.command(|redis| redis.author(room, msg)).await
    }
}

impl Presence for SimBackend {
    async fn set_presence(
        &self,
        room: RoomId,
        changes: &[PresenceChange],
    ) -> Result<PresenceOutcome, BusError> {
        let run = self.0.run.borrow().clone();
        let entries = |online: bool| -> Vec<OnlineEntry> {
            let some = changes.iter().filter(|change| change.online == online);
            some.map(|change| (change.user, run.clone(), change.core)).collect()
        };
        self.0.move_entries(room, &entries(true), &entries(false)).await
    }

    async fn present(&self, room: RoomId) -> Result<(Vec<UserId>, u64), BusError> {
        let entries = self.0.command(|redis| redis.online.borrow().entries(room)).await?;
        self.0.meet(&entries).await?;
        let (known, own) = (self.0.known.borrow(), self.0.run.borrow());
        let online = entries.iter().filter(|(_, run, _)| *run == *own || known.lives(run));
        let mut users: Vec<UserId> = online.map(|(user, ..)| *user).collect();
        users.dedup();
        let count = users.len() as u64;
        Ok((users, count))
    }

    async fn note_rooms(&self, rooms: &[RoomId]) -> Result<(), BusError> {
        let run = self.0.run.borrow().clone();
        self.0.command(|redis| redis.online.borrow_mut().noted.entry(run).or_default().extend(rooms)).await
    }

    async fn forget_rooms(&self, rooms: &[RoomId]) -> Result<(), BusError> {
        let run = self.0.run.borrow().clone();
        self.0.forget_noted(&run, rooms).await
    }

    async fn call_roll(&self) -> Result<Roll, BusError> {
        let link = &self.0;
        let run = link.run.borrow().clone();
        let heartbeat = now_ms().max(link.heartbeat_ms.get() + 1);
        link.heartbeat_ms.set(heartbeat);
        let say_and_look = |redis: &Redis| {
            let is_on_roll = redis.online.borrow_mut().say_alive(&run, heartbeat);
            (is_on_roll, roll_of(redis))
        };
        let (is_on_roll, (runs, gone)) = link.command(say_and_look).await?;
        let mut orphans = gone.clone();
        let silent = link.known.borrow_mut().look(&run, runs, gone);
        for silent in silent {
            link.command(|redis| redis.online.borrow_mut().strike_off(&silent)).await?;
            orphans.push(silent);
        }
        orphans.retain(|orphan| *orphan != run);
        Ok(Roll { forgotten: !is_on_roll, orphans })
    }

    async fn begin_run(&self) -> Result<(), BusError> {
        let run = format!("{}#{:08x}", self.0.server_id, new_origin() >> 32);
        let heartbeat = now_ms();
        self.0.command(|redis| redis.online.borrow_mut().roll.insert(run.clone(), heartbeat)).await?;
        self.0.heartbeat_ms.set(heartbeat);
        self.0.run.replace(run);
        Ok(())
    }

    async fn end_run(&self, rooms: &[RoomId]) -> Result<(), BusError> {
        self.note_rooms(rooms).await?;
        let run = self.0.run.borrow().clone();
        self.0.command(|redis| redis.online.borrow_mut().strike_off(&run)).await
    }

    async fn claim(&self, orphan: &str, time: Duration) -> Result<bool, BusError> {
        let own = self.0.run.borrow().clone();
        let now_ms = self.0.scene.now_ms();
        let until_ms = now_ms + u64::try_from(time.as_millis()).unwrap_or(0);
        self.0.command(|redis| redis.online.borrow_mut().claim(orphan, &own, now_ms, until_ms)).await
    }

    async fn rooms_of(&self, orphan: &str) -> Result<Vec<RoomId>, BusError> {
        let noted = |redis: &Redis| {
            let online = redis.online.borrow();
            online.noted.get(orphan).into_iter().flatten().copied().collect()
        };
        self.0.command(noted).await
    }

    async fn remove(&self, orphan: &str, room: RoomId) -> Result<PresenceOutcome, BusError> {
        let mut entries = self.0.command(|redis| redis.online.borrow().entries(room)).await?;
        entries.retain(|(_, run, _)| run == orphan);
        let outcome = self.0.move_entries(room, &[], &entries).await?;
        self.0.forget_noted(orphan, &[room]).await?;
        Ok(outcome)
    }

    async fn removed(&self, orphan: &str) -> Result<(), BusError> {
        self.0.command(|redis| redis.online.borrow_mut().gone.remove(orphan)).await?;
        self.0.known.borrow_mut().forget(orphan);
        Ok(())
    }
}

/// Runs with their heartbeats, and those that have ended.
fn roll_of(redis: &Redis) -> (Vec<(String, String)>, Vec<String>) {
    let online = redis.online.borrow();
    let runs = online.roll.iter().map(|(run, heartbeat)| (run.clone(), heartbeat.to_string())).collect();
    (runs, online.gone.iter().cloned().collect())
}

impl Link {
    async fn forget_noted(&self, run: &str, rooms: &[RoomId]) -> Result<(), BusError> {
        let forget = |redis: &Redis| {
            if let Some(noted) = redis.online.borrow_mut().noted.get_mut(run) {
                noted.retain(|room| !rooms.contains(room));
            }
        };
        self.command(forget).await
    }

    /// Lets entries of a room come and go, all at once; tells who came or went by that.
    async fn move_entries(
        &self,
        room: RoomId,
        come: &[OnlineEntry],
        go: &[OnlineEntry],
    ) -> Result<PresenceOutcome, BusError> {
        let (before, left) =
            self.command(|redis| redis.online.borrow_mut().carry_out(room, come, go)).await?;
        self.meet(&before).await?;
        let (known, own) = (self.known.borrow(), self.run.borrow());
        let counts = |run: &str| run == *own || known.has(run) == Some(true);
        let mut users: Vec<UserId> = come.iter().chain(go).map(|(user, ..)| *user).collect();
        users.sort_unstable();
        users.dedup();
        let changed = users.into_iter().filter_map(|user| {
            let had = || before.iter().filter(|(of, run, _)| *of == user && counts(run));
            let was_online = had().next().is_some();
            let stays = had().any(|entry| !go.contains(entry));
            let is_online = stays || come.iter().any(|(of, ..)| *of == user);
            (was_online != is_online).then_some((user, is_online))
        });
        Ok(PresenceOutcome { changes: changed.collect(), count: left as u64 })
    }

    /// Makes sure that every run that has one of these entries is known, or known to be dead.
    async fn meet(&self, entries: &[OnlineEntry]) -> Result<(), BusError> {
        let strangers: Vec<String> = {
            let (known, own) = (self.known.borrow(), self.run.borrow());
            let runs = entries.iter().map(|(_, run, _)| run);
            runs.filter(|run| **run != *own && known.has(run).is_none()).cloned().collect()
        };
        if !strangers.is_empty() {
            let (runs, gone) = self.command(roll_of).await?;
            self.known.borrow_mut().look_for(strangers, runs, gone);
        }
        Ok(())
    }
}
