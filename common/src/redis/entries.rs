//! `XREAD`, and its reply without the client library's maps: one pass, the entries' bytes moved out.

use std::time::Duration;

use bytes::Bytes;
use redis::{Cmd, Value, cmd};

use crate::ids::EntryId;
use crate::keys::{self, ENTRY_FIELD};
use crate::shard::Shard;

/// An entry as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadEntry {
    /// Its stream.
    pub shard: Shard,
    /// Its place in it.
    pub id: EntryId,
    /// Its encoded records.
    pub bytes: Bytes,
}

/// Reads what comes after the cursors, at most `count` entries of each stream, waiting for at most `wait` where
/// there is nothing yet.
pub fn xread(cursors: &[(Shard, EntryId)], count: usize, wait: Duration) -> Cmd {
    let mut command = cmd("XREAD");
    let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(1_000);
    command.arg("COUNT").arg(count).arg("BLOCK").arg(wait_ms).arg("STREAMS");
    for (shard, _) in cursors {
        command.arg(keys::bus(*shard));
    }
    for (_, cursor) in cursors {
        command.arg(cursor.to_string());
    }
    command
}

/// Entries of an `XREAD` reply, shard by shard; `None` where it is something else.
pub fn entries(reply: Value) -> Option<Vec<ReadEntry>> {
    let mut entries = Vec::new();
    if reply == Value::Nil {
        return Some(entries);
    }
    let Value::Array(streams) = reply else { return None };
    for stream in streams {
        let [key, of_stream] = pair(stream)?;
        let shard = keys::shard_of_bus(&bulk(key)?)?;
        entries.append(&mut range(of_stream, shard)?);
    }
    Some(entries)
}

/// Entries of an `XRANGE` or `XREVRANGE` reply.
pub fn range(reply: Value, shard: Shard) -> Option<Vec<ReadEntry>> {
    let Value::Array(of_stream) = reply else { return None };
    let mut entries = Vec::with_capacity(of_stream.len());
    for entry in of_stream {
        let [id, fields] = pair(entry)?;
        let id = entry_id(&bulk(id)?)?;
        // An entry deleted between two reads has no fields.
        let Value::Array(fields) = fields else { continue };
        entries.push(ReadEntry { shard, id, bytes: field(fields).unwrap_or_default() });
    }
    Some(entries)
}

/// An entry id, as Redis writes it.
pub fn entry_id(bytes: &[u8]) -> Option<EntryId> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

pub(super) fn pair(value: Value) -> Option<[Value; 2]> {
    let Value::Array(values) = value else { return None };
    values.try_into().ok()
}

pub(super) fn bulk(value: Value) -> Option<Vec<u8>> {
    let Value::BulkString(bytes) = value else { return None };
    Some(bytes)
}

fn field(fields: Vec<Value>) -> Option<Bytes> {
    let mut fields = fields.into_iter();
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        if bulk(name)? == ENTRY_FIELD.as_bytes() {
            return bulk(value).map(Bytes::from);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn a_reply_is_taken_apart_and_anything_else_refused() {
        let entry = |id, fields| Value::Array(vec![text(id), fields]);
        let fields = Value::Array(vec![text("other"), text("x"), text("e"), text("bytes")]);
        let reply = |key| {
            let of_stream = vec![entry("5-1", fields.clone()), entry("5-2", Value::Nil)];
            Value::Array(vec![Value::Array(vec![text(key), Value::Array(of_stream)])])
        };
        let expected = ReadEntry {
            shard: Shard::new(3),
            id: EntryId { ms: 5, seq: 1 },
            bytes: Bytes::from_static(b"bytes"),
        };
        assert_eq!(entries(reply("bus:{3}")).unwrap(), [expected]);
        assert_eq!(entries(reply("other")), None);
        assert_eq!(entries(Value::Nil).unwrap(), []);
        assert_eq!(entries(Value::Int(1)), None);
    }
}
