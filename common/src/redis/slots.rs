//! Which key lives in which slot of a Cluster, and who owns the slot: the Redis Cluster specification, pure.

use redis::{Arg, Cmd, Value};

use crate::redis_url::Address;

/// Slots of a Cluster.
pub(super) const SLOTS: u16 = 16_384;

/// The slot of a key: of the part in the first pair of braces, where that is not empty.
pub(super) fn slot_of(key: &[u8]) -> u16 {
    let tag = || {
        let (_, rest) = key.split_at_checked(key.iter().position(|byte| *byte == b'{')? + 1)?;
        let (tag, _) = rest.split_at_checked(rest.iter().position(|byte| *byte == b'}')?)?;
        (!tag.is_empty()).then_some(tag)
    };
    crc16(tag().unwrap_or(key)) % SLOTS
}

/// CRC-16/XMODEM: polynomial 0x1021, from 0.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(
            crc ^ u16::from(*byte) << 8,
            |crc, _| {
                if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 }
            },
        )
    })
}

/// Where a command has to go.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// To whoever owns this slot.
    Slot(u16),
    /// Anybody does.
    Any,
    /// To every primary.
    All,
}

/// Where one of the commands that we use has to go.
pub(super) fn route(cmd: &Cmd) -> Route {
    let mut args =
        cmd.args_iter().filter_map(|arg| if let Arg::Simple(bytes) = arg { Some(bytes) } else { None });
    let name = args.next().unwrap_or_default().to_ascii_uppercase();
    let key = match name.as_slice() {
        b"PING" | b"PUBLISH" | b"TIME" | b"INFO" | b"CONFIG" | b"CLUSTER" | b"CLIENT" | b"WAIT" => None,
        b"SCRIPT" => return Route::All,
        // A word for what is asked comes first.
        b"XINFO" => args.nth(1),
        // The script, the number of keys, the keys.
        b"EVAL" | b"EVALSHA" => args.nth(2),
        b"XREAD" => args.skip_while(|arg| !arg.eq_ignore_ascii_case(b"STREAMS")).nth(1),
        _ => args.next(),
    };
    key.map_or(Route::Any, |key| Route::Slot(slot_of(key)))
}

/// Who owns which slots.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SlotMap {
    /// First and last slot, and their primary.
    ranges: Vec<(u16, u16, Address)>,
}

impl SlotMap {
    /// From the reply to `CLUSTER SLOTS`. A node that does not know its own address means the one asked.
    pub(super) fn parse(reply: &Value, asked: &Address) -> Option<Self> {
        let Value::Array(ranges) = reply else { return None };
        let range = |range: &Value| {
            let Value::Array(parts) = range else { return None };
            let [Value::Int(first), Value::Int(last), Value::Array(primary), ..] = parts.as_slice() else {
                return None;
            };
            let [host, Value::Int(port), ..] = primary.as_slice() else { return None };
            let host = if let Value::BulkString(host) = host
                && !host.is_empty()
                && host != b"?"
            {
                String::from_utf8(host.clone()).ok()?
            } else {
                asked.host.clone()
            };
            let address = Address { host, port: u16::try_from(*port).ok()? };
            Some((u16::try_from(*first).ok()?, u16::try_from(*last).ok()?, address))
        };
        Some(Self { ranges: ranges.iter().map(range).collect::<Option<_>>()? })
    }

    /// The primary of a slot.
    pub(super) fn owner(&self, slot: u16) -> Option<&Address> {
        self.ranges.iter().find(|(first, last, _)| (*first..=*last).contains(&slot)).map(|(.., owner)| owner)
    }

    /// Every primary, once.
    pub(super) fn primaries(&self) -> Vec<Address> {
        let mut primaries = Vec::new();
        for (.., owner) in &self.ranges {
            if !primaries.contains(owner) {
                primaries.push(owner.clone());
            }
        }
        primaries
    }

    /// How many slots have an owner.
    pub(super) fn covered(&self) -> u32 {
        self.ranges.iter().map(|(first, last, _)| u32::from(last.saturating_sub(*first)) + 1).sum()
    }
}

#[cfg(test)]
mod tests {
    use redis::cmd;

    use super::*;
    use crate::keys;
    use crate::shard::Shard;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(slot_of(b"123456789"), 0x31c3);
        assert_eq!(slot_of(b"{user1000}.following"), slot_of(b"{user1000}.followers"));
        assert_eq!(slot_of(b"foo{}{bar}"), crc16(b"foo{}{bar}") % SLOTS);
        assert_eq!(slot_of(b"foo{{bar}}zap"), slot_of(b"{bar"));
        // `CLUSTER KEYSLOT` of a real server.
        assert_eq!(slot_of(b"foo"), 12182);
    }

    #[test]
    fn the_keys_of_a_shard_live_together() {
        let shard = Shard::new(7);
        let slots =
            [keys::bus(shard), keys::last(shard), keys::live(shard)].map(|key| slot_of(key.as_bytes()));
        assert!(slots.iter().all(|slot| *slot == slots[0]));
    }

    #[test]
    fn commands_go_to_the_owner_of_their_key() {
        let to = |words: &str| {
            let mut words = words.split(' ');
            let mut command = cmd(words.next().unwrap());
            for word in words {
                command.arg(word);
            }
            route(&command)
        };
        let foo = Route::Slot(12182);
        for words in [
            "GET foo",
            "XADD foo * e x",
            "XINFO STREAM foo",
            "evalsha abc 2 foo bar",
            "XREAD COUNT 1 streams foo 0",
        ] {
            assert_eq!(to(words), foo, "{words}");
        }
        assert_eq!(
            (to("PING"), to("PUBLISH foo x"), to("SCRIPT LOAD x")),
            (Route::Any, Route::Any, Route::All)
        );
    }

    #[test]
    fn a_slot_map_is_read_and_asked() {
        let text = |text: &str| Value::BulkString(text.into());
        let node = |host: &str, port| Value::Array(vec![text(host), Value::Int(port), text("id")]);
        let range = |first, last, node| Value::Array(vec![Value::Int(first), Value::Int(last), node]);
        let reply = Value::Array(vec![
            range(0, 99, node("10.0.0.1", 1)),
            range(100, 199, node("", 2)),
            range(300, 16_383, node("10.0.0.1", 1)),
        ]);
        let address = |host: &str, port| Address { host: host.to_owned(), port };
        let map = SlotMap::parse(&reply, &address("seed", 9)).unwrap();
        assert_eq!(map.owner(99), Some(&address("10.0.0.1", 1)));
        assert_eq!(map.owner(100), Some(&address("seed", 2)));
        assert_eq!(map.owner(200), None);
        assert_eq!(map.primaries(), [address("10.0.0.1", 1), address("seed", 2)]);
        assert_eq!(map.covered(), 200 + 16_084);
        assert_eq!(SlotMap::parse(&Value::Int(1), &address("seed", 9)), None);
        assert_eq!(SlotMap::parse(&Value::Array(vec![Value::Int(1)]), &address("seed", 9)), None);
    }
}
