//! Identifiers: users, rooms, uploads, messages, stream entries.
//!
//! On the JSON wire every id is a decimal string of a positive 63-bit integer, because JSON numbers lose
//! precision past 2^53.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// What is wrong with an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a decimal string of a positive 63-bit integer")]
pub struct BadId;

/// Parses a canonical decimal: digits only, no sign, no leading zero, at most `i64::MAX`.
fn parse_decimal(text: &str) -> Result<u64, BadId> {
    let canonical = !text.is_empty()
        && text.len() <= 19
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && (text.len() == 1 || !text.starts_with('0'));
    if !canonical {
        return Err(BadId);
    }
    text.parse::<u64>().ok().filter(|value| i64::try_from(*value).is_ok()).ok_or(BadId)
}

macro_rules! decimal_id {
    ($(#[$doc:meta])* $name:ident, zero: $zero:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            /// The id with this value, when the value is allowed.
            pub fn new(value: u64) -> Option<Self> {
                let positive = value > 0 || $zero;
                (positive && i64::try_from(value).is_ok()).then_some(Self(value))
            }

            /// The integer value.
            pub fn get(self) -> u64 {
                self.0
            }

            /// The value as Postgres `bigint`.
            pub fn as_i64(self) -> i64 {
                self.0.cast_signed()
            }

            /// From a Postgres `bigint`.
            pub fn from_i64(value: i64) -> Option<Self> {
                u64::try_from(value).ok().and_then(Self::new)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<Self, BadId> {
                parse_decimal(text).ok().and_then(Self::new).ok_or(BadId)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(&self.0)
                } else {
                    serializer.serialize_u64(self.0)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Decimal;
                impl Visitor<'_> for Decimal {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("a decimal string of a positive 63-bit integer")
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                if deserializer.is_human_readable() {
                    deserializer.deserialize_str(Decimal)
                } else {
                    $name::new(u64::deserialize(deserializer)?).ok_or_else(|| de::Error::custom(BadId))
                }
            }
        }
    };
}

decimal_id!(
    /// A user.
    UserId, zero: false
);
decimal_id!(
    /// A durable room.
    RoomId, zero: false
);
decimal_id!(
    /// An uploaded file.
    UploadId, zero: false
);
decimal_id!(
    /// A message, or another stored event of a room: `(ms since 2024-01-01T00:00Z) << 22 | seq << 8 | index`.
    ///
    /// `ms` and `seq` are those of the stream entry's id, `index` is the place inside the entry. Strictly
    /// increasing within a room. Zero means "before everything".
    MessageId, zero: true
);

/// 2024-01-01T00:00:00Z in Unix milliseconds.
pub const MESSAGE_EPOCH_MS: u64 = 1_704_067_200_000;
/// Bits of the place inside an entry.
const INDEX_BITS: u32 = 8;
/// Bits of the sequence number inside a millisecond.
const SEQ_BITS: u32 = 14;
/// Entries of one millisecond that have message ids: the sequence number has 14 bits.
pub const ENTRIES_PER_MS_MAX: u64 = 1 << SEQ_BITS;
/// Records in one entry, at most: the index has 8 bits.
pub const ENTRY_RECORDS_MAX: usize = 1 << INDEX_BITS;

impl MessageId {
    /// Before every message.
    pub const ZERO: Self = Self(0);

    /// Packs an entry's id and a place in it. `None` when a part does not fit: a time before 2024 or past
    /// the year 2093, or more than 16,384 entries in one millisecond.
    pub fn pack(entry: EntryId, index: u8) -> Option<Self> {
        let ms = entry.ms.checked_sub(MESSAGE_EPOCH_MS)?;
        let fits = ms < 1 << (63 - SEQ_BITS - INDEX_BITS) && entry.seq < ENTRIES_PER_MS_MAX;
        fits.then(|| Self(ms << (SEQ_BITS + INDEX_BITS) | entry.seq << INDEX_BITS | u64::from(index)))
    }

    /// The entry that holds the message.
    pub fn entry(self) -> EntryId {
        EntryId {
            ms: (self.0 >> (SEQ_BITS + INDEX_BITS)) + MESSAGE_EPOCH_MS,
            seq: (self.0 >> INDEX_BITS) & (ENTRIES_PER_MS_MAX - 1),
        }
    }

    /// The greatest id that there can be.
    pub const MAX: Self = Self(i64::MAX as u64);

    /// Before every message of this entry and after every one of earlier entries.
    pub fn before(entry: EntryId) -> Self {
        Self(Self::saturating(entry, 0).0.saturating_sub(1))
    }

    /// At or after every message of this entry and before every one of later entries.
    pub fn through(entry: EntryId) -> Self {
        Self::saturating(entry, u8::MAX)
    }

    /// Like [`MessageId::pack`], with the nearest id where a part does not fit.
    fn saturating(entry: EntryId, index: u8) -> Self {
        if entry.ms < MESSAGE_EPOCH_MS {
            return Self::ZERO;
        }
        let seq = entry.seq.min(ENTRIES_PER_MS_MAX - 1);
        Self::pack(EntryId { ms: entry.ms, seq }, index).unwrap_or(Self::MAX)
    }

    /// Its place in that entry.
    pub fn index(self) -> u8 {
        u8::try_from(self.0 & u64::from(u8::MAX)).unwrap_or(0)
    }

    /// The `ts` of the message, in Unix milliseconds.
    pub fn ts(self) -> u64 {
        self.entry().ms
    }

    /// The smallest id that an entry of this millisecond can give; zero for times before 2024.
    pub fn floor_of_ms(ms: u64) -> Self {
        Self::pack(EntryId { ms, seq: 0 }, 0).unwrap_or(Self::ZERO)
    }
}

/// The id of an entry in a Redis stream: `ms-seq`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EntryId {
    /// Unix milliseconds on the Redis server.
    pub ms: u64,
    /// Place inside the millisecond.
    pub seq: u64,
}

impl EntryId {
    /// Before every entry.
    pub const ZERO: Self = Self { ms: 0, seq: 0 };
    /// After every entry.
    pub const MAX: Self = Self { ms: u64::MAX, seq: u64::MAX };
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

impl FromStr for EntryId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let (ms, seq) = text.split_once('-').ok_or(BadId)?;
        Ok(Self { ms: ms.parse().map_err(|_| BadId)?, seq: seq.parse().map_err(|_| BadId)? })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_are_canonical_decimal_strings() {
        for good in ["1", "42", "9223372036854775807"] {
            let id: RoomId = serde_json::from_str(&format!("\"{good}\"")).unwrap();
            assert_eq!(serde_json::to_string(&id).unwrap(), format!("\"{good}\""));
        }
        for bad in
            ["\"0\"", "\"\"", "\"01\"", "\"+1\"", "\"-1\"", "\" 1\"", "\"9223372036854775808\"", "1", "null"]
        {
            assert!(serde_json::from_str::<RoomId>(bad).is_err(), "{bad}");
        }
        assert_eq!(serde_json::from_str::<MessageId>("\"0\"").unwrap(), MessageId::ZERO);
    }

    #[test]
    fn a_message_id_is_laid_out_as_documented() {
        let id = MessageId::pack(EntryId { ms: MESSAGE_EPOCH_MS + 5, seq: 3 }, 7).unwrap();
        assert_eq!(id.get(), 5 << 22 | 3 << 8 | 7);
        assert_eq!(MessageId::pack(EntryId { ms: MESSAGE_EPOCH_MS - 1, seq: 0 }, 0), None);
        assert_eq!(MessageId::pack(EntryId { ms: MESSAGE_EPOCH_MS, seq: ENTRIES_PER_MS_MAX }, 0), None);
    }

    #[test]
    fn ids_around_an_entry() {
        let entry = |ms, seq| EntryId { ms, seq };
        let (early, late) = (entry(MESSAGE_EPOCH_MS + 5, 3), entry(MESSAGE_EPOCH_MS + 5, 4));
        let id = |entry, index| MessageId::pack(entry, index).unwrap();
        assert!(id(early, 255) <= MessageId::through(early) && MessageId::through(early) < id(late, 0));
        assert!(id(early, 255) <= MessageId::before(late) && MessageId::before(late) < id(late, 0));
        assert_eq!(MessageId::before(EntryId::ZERO), MessageId::ZERO);
        assert_eq!(MessageId::through(EntryId::ZERO), MessageId::ZERO);
        assert_eq!(MessageId::through(EntryId::MAX), MessageId::MAX);
        assert_eq!(
            MessageId::through(entry(MESSAGE_EPOCH_MS, u64::MAX)),
            id(entry(MESSAGE_EPOCH_MS, 16_383), 255)
        );
    }

    proptest! {
        #[test]
        fn packing_keeps_order_and_parts(
            a in (MESSAGE_EPOCH_MS..MESSAGE_EPOCH_MS + (1 << 41), 0u64..1 << 14, any::<u8>()),
            b in (MESSAGE_EPOCH_MS..MESSAGE_EPOCH_MS + (1 << 41), 0u64..1 << 14, any::<u8>()),
        ) {
            let pack = |(ms, seq, index)| MessageId::pack(EntryId { ms, seq }, index).unwrap();
            prop_assert_eq!(a.cmp(&b), pack(a).cmp(&pack(b)));
            prop_assert_eq!(pack(a).entry(), EntryId { ms: a.0, seq: a.1 });
            prop_assert_eq!(pack(a).ts(), a.0);
        }
    }
}
