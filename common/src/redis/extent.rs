//! How much of a stream there is: `XINFO STREAM`, which tells it since Redis 7.0.

use std::collections::HashMap;

use redis::aio::ConnectionLike;
use redis::{ErrorKind, RedisResult, Value, cmd};

use super::entries::{bulk, entry_id, pair};
use crate::ids::EntryId;
use crate::keys;
use crate::shard::Shard;

/// What Redis says of a stream that does not exist.
const NO_SUCH_KEY: &str = "no such key";

/// See the module's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extent {
    /// The oldest and the newest entry that it holds, if it holds any.
    pub ends: Option<(EntryId, EntryId)>,
    /// The newest id that it ever gave; zero where it never gave one.
    pub last: EntryId,
    /// Entries ever appended.
    pub added: u64,
    /// Entries that it holds. Only the oldest ones are ever removed.
    pub length: u64,
}

impl Extent {
    /// Looks it up.
    pub async fn of(connection: &mut impl ConnectionLike, shard: Shard) -> RedisResult<Self> {
        let mut command = cmd("XINFO");
        command.arg("STREAM").arg(keys::bus(shard));
        match command.query_async::<HashMap<String, Value>>(connection).await {
            Ok(reply) => Self::parse(reply).ok_or_else(|| {
                (ErrorKind::Parse, "XINFO STREAM answered something else than Redis 7.0 does").into()
            }),
            Err(error) if error.detail() == Some(NO_SUCH_KEY) => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Entries removed from its beginning.
    pub fn trimmed(&self) -> u64 {
        self.added.saturating_sub(self.length)
    }

    fn parse(mut reply: HashMap<String, Value>) -> Option<Self> {
        let mut take = |name: &str| reply.remove(name);
        let (first, newest) = (take("first-entry")?, take("last-entry")?);
        let end = |entry: Value| entry_id(&bulk(pair(entry)?.into_iter().next()?)?);
        let ends = if first == Value::Nil { None } else { Some((end(first)?, end(newest)?)) };
        let last = entry_id(&bulk(take("last-generated-id")?)?)?;
        let (added, length) = (count(&take("entries-added")?)?, count(&take("length")?)?);
        Some(Self { ends, last, added, length })
    }
}

fn count(value: &Value) -> Option<u64> {
    let Value::Int(count) = value else { return None };
    u64::try_from(*count).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extent_of_a_stream() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let info = |first: Value, newest: Value| {
            let fields = [
                ("length", Value::Int(2)),
                ("last-generated-id", text("9-1")),
                ("entries-added", Value::Int(5)),
                ("first-entry", first),
                ("last-entry", newest),
                ("groups", Value::Int(0)),
            ];
            fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
        };
        let entry = |id| Value::Array(vec![text(id), Value::Array(vec![])]);
        let id = |ms, seq| EntryId { ms, seq };
        let expected = Extent { ends: Some((id(5, 0), id(9, 0))), last: id(9, 1), added: 5, length: 2 };
        assert_eq!(Extent::parse(info(entry("5-0"), entry("9-0"))), Some(expected));
        assert_eq!(expected.trimmed(), 3);
        assert_eq!(Extent::parse(info(Value::Nil, Value::Nil)), Some(Extent { ends: None, ..expected }));
        assert_eq!(Extent::parse(HashMap::new()), None);
    }
}
