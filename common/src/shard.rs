//! Which stream a room lives in.

use std::fmt;
use std::str::FromStr;

use crate::ids::RoomId;

/// Shards of a cluster, at most.
pub const SHARDS_MAX: u16 = 4096;

/// One Redis stream, holding the rooms that hash to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard(u16);

impl Shard {
    /// The stream without rooms, in which the control plane tells every gateway what concerns connections
    /// ([`crate::entry::Notice`]). It is read like a shard.
    pub const CONTROL: Self = Self(u16::MAX);

    /// The shard with this number.
    pub fn new(number: u16) -> Self {
        Self(number)
    }

    /// The shard's number, from zero.
    pub fn number(self) -> u16 {
        self.0
    }

    /// The number as an index into per-shard tables.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::CONTROL { f.write_str("control") } else { self.0.fmt(f) }
    }
}

/// Not the name of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected the number of a shard, or control")]
pub struct BadShard;

impl FromStr for Shard {
    type Err = BadShard;

    fn from_str(name: &str) -> Result<Self, BadShard> {
        if name == "control" {
            return Ok(Self::CONTROL);
        }
        name.parse().ok().filter(|number| *number < SHARDS_MAX).map(Self).ok_or(BadShard)
    }
}

/// How many shards the cluster has; fixed at its first start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shards(u16);

impl Shards {
    /// 1 to [`SHARDS_MAX`].
    pub fn new(count: u16) -> Option<Self> {
        (1..=SHARDS_MAX).contains(&count).then_some(Self(count))
    }

    /// How many.
    pub fn count(self) -> u16 {
        self.0
    }

    /// The shard of a room. Part of the stored format: it must give the same answer for ever.
    ///
    /// The mixing is the finaliser of `SplitMix64` (Steele, Lea, Flood 2014), so that rooms with
    /// consecutive ids spread evenly.
    pub fn of(self, room: RoomId) -> Shard {
        let mut x = room.get();
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^= x >> 31;
        Shard(u16::try_from(x % u64::from(self.0)).unwrap_or(0))
    }

    /// Every shard, in order.
    pub fn all(self) -> impl Iterator<Item = Shard> + use<> {
        (0..self.0).map(Shard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shard_of_a_room_never_changes() {
        let shards = Shards::new(64).unwrap();
        let of = |id| shards.of(RoomId::new(id).unwrap()).number();
        assert_eq!([of(1), of(2), of(3), of(1000), of(i64::MAX as u64)], EXPECTED);
    }
    const EXPECTED: [u16; 5] = [37, 10, 48, 23, 61];

    #[test]
    fn consecutive_rooms_spread_evenly() {
        let shards = Shards::new(64).unwrap();
        let mut rooms = vec![0u32; 64];
        for id in 1..=64_000 {
            rooms[shards.of(RoomId::new(id).unwrap()).index()] += 1;
        }
        assert!(rooms.iter().all(|n| (800..1200).contains(n)), "{rooms:?}");
    }
}
