//! Reading `XREAD` replies without the client library's maps: one pass, the entry's bytes moved out.

use bytes::Bytes;
use hubbub_common::ids::EntryId;
use hubbub_common::keys::ENTRY_FIELD;
use hubbub_common::shard::Shard;
use redis::Value;

use crate::bus::backend::ReadEntry;

/// Entries of an `XREAD` reply, shard by shard; `shard_of` names the shard of a key.
pub(super) fn entries(reply: Value, shard_of: impl Fn(&[u8]) -> Option<Shard>) -> Option<Vec<ReadEntry>> {
    let mut entries = Vec::new();
    if reply == Value::Nil {
        return Some(entries);
    }
    let Value::Array(streams) = reply else { return None };
    for stream in streams {
        let [key, of_stream] = pair(stream)?;
        let shard = shard_of(&bulk(key)?)?;
        entries.append(&mut range(of_stream, shard)?);
    }
    Some(entries)
}

/// Entries of an `XRANGE` reply.
pub(super) fn range(reply: Value, shard: Shard) -> Option<Vec<ReadEntry>> {
    let Value::Array(of_stream) = reply else { return None };
    let mut entries = Vec::with_capacity(of_stream.len());
    for entry in of_stream {
        let [id, fields] = pair(entry)?;
        let id = parse_id(&bulk(id)?)?;
        // An entry deleted between two reads has no fields.
        let Value::Array(fields) = fields else { continue };
        entries.push(ReadEntry { shard, id, bytes: field(fields).unwrap_or_default() });
    }
    Some(entries)
}

/// The id of the only or first entry of an `XREVRANGE` reply.
pub(super) fn first_id(reply: Value) -> Option<EntryId> {
    let Value::Array(entries) = reply else { return None };
    match entries.into_iter().next() {
        None => Some(EntryId::ZERO),
        Some(entry) => parse_id(&bulk(pair(entry)?.into_iter().next()?)?),
    }
}

pub(super) fn parse_id(bytes: &[u8]) -> Option<EntryId> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

fn pair(value: Value) -> Option<[Value; 2]> {
    let Value::Array(values) = value else { return None };
    values.try_into().ok()
}

fn bulk(value: Value) -> Option<Vec<u8>> {
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
        let reply = Value::Array(vec![Value::Array(vec![
            text("bus:{3}"),
            Value::Array(vec![entry("5-1", fields), entry("5-2", Value::Nil)]),
        ])]);
        let shard_of = |key: &[u8]| (key == b"bus:{3}").then(|| Shard::new(3));
        let expected = ReadEntry {
            shard: Shard::new(3),
            id: EntryId { ms: 5, seq: 1 },
            bytes: Bytes::from_static(b"bytes"),
        };
        assert_eq!(entries(reply, shard_of).unwrap(), [expected]);
        assert_eq!(entries(Value::Nil, shard_of).unwrap(), []);
        assert_eq!(entries(Value::Int(1), shard_of), None);
        assert_eq!(first_id(Value::Array(vec![entry("7-0", Value::Nil)])), Some(EntryId { ms: 7, seq: 0 }));
        assert_eq!(first_id(Value::Array(vec![])), Some(EntryId::ZERO));
    }
}
