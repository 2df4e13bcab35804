//! One transaction a batch: messages by binary COPY, then everything else, then the offsets.

use std::pin::pin;

use hubbub_common::ids::{EntryId, MessageId, RoomId, UploadId};
use hubbub_common::shard::{Shard, Shards};
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Transaction};

use super::Stopped;
use super::batch::Batch;
use crate::uploads::mentions::mentions;

/// The stored offset of every shard, zero where there is none.
pub(super) async fn offsets(client: &Client, shards: Shards) -> Result<Vec<EntryId>, Stopped> {
    let mut offsets = vec![EntryId::ZERO; usize::from(shards.count())];
    for row in client.query("SELECT shard, ms, seq FROM shard_offsets", &[]).await? {
        let (shard, ms, seq): (i32, i64, i64) = (row.get(0), row.get(1), row.get(2));
        let place = usize::try_from(shard).ok().and_then(|shard| offsets.get_mut(shard));
        if let Some(place) = place {
            *place = EntryId { ms: ms.cast_unsigned(), seq: seq.cast_unsigned() };
        }
    }
    Ok(offsets)
}

/// Writes batches over the connection that holds the leader's lock.
pub(super) struct Writer {
    /// Ids that have a partition, as ranges.
    partitions: Vec<std::ops::Range<i64>>,
}

impl Writer {
    pub(super) async fn new(client: &Client) -> Result<Self, Stopped> {
        client
            .batch_execute(
                "CREATE TEMP TABLE batch (room bigint, id bigint, author bigint, name text, kind text, body text,
                                          nonce text, reply_to bigint) ON COMMIT DELETE ROWS",
            )
            .await?;
        Ok(Self { partitions: Vec::new() })
    }

    pub(super) async fn commit(&mut self, client: &mut Client, batch: &Batch) -> Result<(), Stopped> {
        for message in &batch.messages {
            self.ensure_partition(client, message.id).await?;
        }
        let transaction = client.transaction().await?;
        if !batch.messages.is_empty() {
            copy(&transaction, batch).await?;
            insert(&transaction).await?;
        }
        apply(&transaction, batch).await?;
        let upsert = "INSERT INTO shard_offsets (shard, ms, seq) SELECT * FROM unnest($1::int[], $2::bigint[], $3::bigint[])
                      ON CONFLICT (shard) DO UPDATE SET ms = excluded.ms, seq = excluded.seq";
        let numbers: Vec<i32> = batch.offsets.keys().copied().map(number).collect();
        let ms: Vec<i64> = batch.offsets.values().map(|offset| offset.ms.cast_signed()).collect();
        let seqs: Vec<i64> = batch.offsets.values().map(|offset| offset.seq.cast_signed()).collect();
        transaction.execute(upsert, &[&numbers, &ms, &seqs]).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Makes the partition of a message's month, if there is none.
    async fn ensure_partition(&mut self, client: &Client, id: MessageId) -> Result<(), Stopped> {
        if self.partitions.iter().any(|range| range.contains(&id.as_i64())) {
            return Ok(());
        }
        let row = client
            .query_one(
                "SELECT to_char(month, 'YYYY_MM'), extract(epoch FROM month)::bigint * 1000,
                        extract(epoch FROM month + interval '1 month')::bigint * 1000
                 FROM date_trunc('month', to_timestamp($1::bigint / 1000) AT TIME ZONE 'UTC') AS month",
                &[&id.ts().cast_signed()],
            )
            .await?;
        let (month, start_ms, end_ms): (String, i64, i64) = (row.get(0), row.get(1), row.get(2));
        let bound = |ms: i64| MessageId::floor_of_ms(ms.cast_unsigned()).as_i64();
        let range = bound(start_ms)..bound(end_ms);
        // The values come from the database itself and from numbers: nothing to escape.
        let sql = format!(
            "CREATE TABLE IF NOT EXISTS messages_{month} PARTITION OF messages FOR VALUES FROM ({}) TO ({})",
            range.start, range.end
        );
        client.batch_execute(&sql).await?;
        self.partitions.push(range);
        Ok(())
    }
}

fn number(shard: Shard) -> i32 {
    i32::from(shard.number())
}

async fn copy(transaction: &Transaction<'_>, batch: &Batch) -> Result<(), Stopped> {
    const TYPES: [Type; 8] =
        [Type::INT8, Type::INT8, Type::INT8, Type::TEXT, Type::TEXT, Type::TEXT, Type::TEXT, Type::INT8];
    let sink = transaction.copy_in("COPY batch FROM STDIN BINARY").await?;
    let mut writer = pin!(BinaryCopyInWriter::new(sink, &TYPES));
    for message in &batch.messages {
        let reply_to = message.reply_to.map(MessageId::as_i64);
        writer
            .as_mut()
            .write(&[
                &message.room.as_i64(),
                &message.id.as_i64(),
                &message.author.as_i64(),
                &message.name,
                &message.kind,
                &message.body,
                &message.nonce,
                &reply_to,
            ])
            .await?;
    }
    writer.finish().await?;
    Ok(())
}

/// Counts the messages of each room on, and gives each message its number in the room.
async fn insert(transaction: &Transaction<'_>) -> Result<(), Stopped> {
    transaction
        .batch_execute(
            "INSERT INTO room_counters AS c (room, messages, last_id)
             SELECT room, count(*), max(id) FROM batch GROUP BY room
             ON CONFLICT (room) DO UPDATE
             SET messages = c.messages + excluded.messages, last_id = greatest(c.last_id, excluded.last_id);
             INSERT INTO messages (room, id, n, author, name, kind, body, nonce, reply_to)
             SELECT b.room, b.id,
                    c.messages - count(*) OVER (PARTITION BY b.room)
                        + row_number() OVER (PARTITION BY b.room ORDER BY b.id),
                    b.author, b.name, b.kind, b.body, b.nonce, b.reply_to
             FROM batch b JOIN room_counters c USING (room)",
        )
        .await?;
    Ok(())
}

/// Notes which messages name which uploads.
async fn add_uses(
    transaction: &Transaction<'_>,
    uses: &[(UploadId, RoomId, MessageId)],
) -> Result<(), Stopped> {
    if uses.is_empty() {
        return Ok(());
    }
    let uploads: Vec<i64> = uses.iter().map(|(upload, ..)| upload.as_i64()).collect();
    let rooms: Vec<i64> = uses.iter().map(|(_, room, _)| room.as_i64()).collect();
    let ids: Vec<i64> = uses.iter().map(|(.., msg)| msg.as_i64()).collect();
    // A text can name any number; only uploads count.
    let sql = "INSERT INTO upload_uses (upload, room, msg)
               SELECT u.id, named.room, named.msg
               FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS named (upload, room, msg)
               JOIN uploads u ON u.id = named.upload ON CONFLICT DO NOTHING";
    transaction.execute(sql, &[&uploads, &rooms, &ids]).await?;
    Ok(())
}

async fn forget_uses(transaction: &Transaction<'_>, room: RoomId, msg: MessageId) -> Result<(), Stopped> {
    let sql = "DELETE FROM upload_uses WHERE room = $1 AND msg = $2";
    transaction.execute(sql, &[&room.as_i64(), &msg.as_i64()]).await?;
    Ok(())
}

/// Everything but new messages.
async fn apply(transaction: &Transaction<'_>, batch: &Batch) -> Result<(), Stopped> {
    add_uses(transaction, &batch.uses).await?;
    for ((room, msg), (author, body, at_ms)) in &batch.edits {
        let edit = "UPDATE messages SET body = $4, edited_at = $5
                    WHERE room = $1 AND id = $2 AND author = $3 AND NOT deleted";
        let params = (room.as_i64(), msg.as_i64(), author.as_i64(), at_ms.cast_signed());
        let edited = transaction.execute(edit, &[&params.0, &params.1, &params.2, body, &params.3]).await?;
        if edited > 0 {
            forget_uses(transaction, *room, *msg).await?;
            let uses: Vec<_> = mentions(body).map(|upload| (upload, *room, *msg)).collect();
            add_uses(transaction, &uses).await?;
        }
    }
    for (room, msg) in &batch.deletions {
        let delete = "UPDATE messages SET body = '', deleted = true WHERE room = $1 AND id = $2";
        transaction.execute(delete, &[&room.as_i64(), &msg.as_i64()]).await?;
        forget_uses(transaction, *room, *msg).await?;
    }
    for ((room, msg, user, emoji), on) in &batch.reactions {
        let sql = if *on {
            "INSERT INTO reactions (room, msg, user_id, emoji) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING"
        } else {
            "DELETE FROM reactions WHERE room = $1 AND msg = $2 AND user_id = $3 AND emoji = $4"
        };
        transaction.execute(sql, &[&room.as_i64(), &msg.as_i64(), &user.as_i64(), emoji]).await?;
    }
    if !batch.last.is_empty() {
        let rooms: Vec<i64> = batch.last.keys().map(|room| room.as_i64()).collect();
        let ids: Vec<i64> = batch.last.values().map(|id| id.as_i64()).collect();
        let sql =
            "INSERT INTO room_counters AS c (room, last_id) SELECT * FROM unnest($1::bigint[], $2::bigint[])
                   ON CONFLICT (room) DO UPDATE SET last_id = greatest(c.last_id, excluded.last_id)";
        transaction.execute(sql, &[&rooms, &ids]).await?;
    }
    if !batch.reads.is_empty() {
        let rooms: Vec<i64> = batch.reads.keys().map(|(room, _)| room.as_i64()).collect();
        let users: Vec<i64> = batch.reads.keys().map(|(_, user)| user.as_i64()).collect();
        let ids: Vec<i64> = batch.reads.values().map(|id| id.as_i64()).collect();
        // The number of the newest message that is not after what was read.
        let sql = "UPDATE room_members AS m SET read_up_to = r.id, read_n = greatest(m.read_n, coalesce(
                       (SELECT n FROM messages x WHERE x.room = r.room AND x.id <= r.id ORDER BY x.id DESC LIMIT 1), 0))
                   FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS r (room, user_id, id)
                   WHERE m.room = r.room AND m.user_id = r.user_id AND m.read_up_to < r.id";
        transaction.execute(sql, &[&rooms, &users, &ids]).await?;
    }
    Ok(())
}
