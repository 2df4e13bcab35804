//! Presence in the Redis of a simulated world: the roll of gateways, and sorted sets that are as plain here as they
//! are there. What it all means is the gateways' business.

use std::collections::{BTreeMap, BTreeSet};

use hubbub_common::ids::{RoomId, UserId};

/// A user on a core of a run of a gateway.
pub(super) type OnlineEntry = (UserId, String, u16);

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Online {
    /// Runs and their last heartbeats.
    pub(super) roll: BTreeMap<String, u64>,
    /// Runs that have ended and are to be removed.
    pub(super) gone: BTreeSet<String>,
    /// Where runs have users, or had.
    pub(super) noted: BTreeMap<String, BTreeSet<RoomId>>,
    /// By orphan: who removes it, and until when.
    reapers: BTreeMap<String, (String, u64)>,
    entries: BTreeMap<RoomId, BTreeSet<OnlineEntry>>,
}

impl Online {
    /// `ZRANGE presence:{room}`.
    pub(super) fn entries(&self, room: RoomId) -> Vec<OnlineEntry> {
        self.entries.get(&room).into_iter().flatten().cloned().collect()
    }

    /// A transaction: gives the entries that the users of these had before it, and how many there are after it.
    pub(super) fn carry_out(
        &mut self,
        room: RoomId,
        come: &[OnlineEntry],
        go: &[OnlineEntry],
    ) -> (Vec<OnlineEntry>, usize) {
        let users: BTreeSet<UserId> = come.iter().chain(go).map(|(user, ..)| *user).collect();
        let entries = self.entries.entry(room).or_default();
        let before = entries.iter().filter(|(user, ..)| users.contains(user)).cloned().collect();
        entries.extend(come.iter().cloned());
        for entry in go {
            entries.remove(entry);
        }
        (before, entries.len())
    }

    /// `ZADD XX CH`: whether the run is on the roll.
    pub(super) fn say_alive(&mut self, run: &str, heartbeat: u64) -> bool {
        self.roll.get_mut(run).map(|last| *last = heartbeat).is_some()
    }

    pub(super) fn strike_off(&mut self, run: &str) {
        self.gone.insert(run.to_owned());
        self.roll.remove(run);
    }

    /// `SET NX PX`, or `PEXPIRE` for who holds it.
    pub(super) fn claim(&mut self, orphan: &str, own: &str, now_ms: u64, until_ms: u64) -> bool {
        let is_anothers = |(holder, ends_ms): &(String, u64)| holder != own && now_ms < *ends_ms;
        if self.reapers.get(orphan).is_some_and(is_anothers) {
            return false;
        }
        self.reapers.insert(orphan.to_owned(), (own.to_owned(), until_ms));
        true
    }
}
