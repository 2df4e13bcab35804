//! One transaction a batch: rooms' counters, then messages by binary COPY, then everything else, then the offsets.

use std::collections::HashMap;
use std::ops::Range;
use std::pin::pin;

use hubbub_common::ids::{EntryId, MessageId, RoomId, UploadId};
use hubbub_common::shard::Shards;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Transaction};

use super::Stopped;
use super::batch::Batch;
use crate::store::partitions;
use crate::store::sql::Sql as _;
use crate::uploads::mentions::mentions;

/// The stored offset of every shard, zero where there is none.
pub(super) async fn offsets(client: &Client, shards: Shards) -> Result<Vec<EntryId>, Stopped> {
    let mut offsets = vec![EntryId::ZERO; usize::from(shards.count())];
    for row in client.rows("SELECT shard, ms, seq FROM shard_offsets", &[]).await? {
        let (shard, ms, seq): (i32, i64, i64) = (row.get(0), row.get(1), row.get(2));
        let place = usize::try_from(shard).ok().and_then(|shard| offsets.get_mut(shard));
        if let Some(place) = place {
            *place = EntryId { ms: ms.cast_unsigned(), seq: seq.cast_unsigned() };
        }
    }
    Ok(offsets)
}

/// Writes batches over the connection that holds the leader's lock.
#[derive(Default)]
pub(super) struct Writer {
    /// Ids that have a partition.
    months: Vec<Range<i64>>,
}

impl Writer {
    pub(super) async fn commit(&mut self, client: &mut Client, batch: &Batch) -> Result<(), Stopped> {
        for message in &batch.messages {
            self.ensure_month(client, message.id).await?;
        }
        let transaction = client.transaction().await?;
        let counted = count(&transaction, batch).await?;
        if !batch.messages.is_empty() {
            copy(&transaction, batch, counted).await?;
        }
        add_uses(&transaction, &batch.uses).await?;
        edit(&transaction, batch).await?;
        delete(&transaction, batch).await?;
        react(&transaction, batch).await?;
        note_reads(&transaction, batch).await?;
        move_offsets(&transaction, batch).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Makes the partition of a message's month where nobody has made it ahead.
    async fn ensure_month(&mut self, client: &mut Client, id: MessageId) -> Result<(), Stopped> {
        if self.months.iter().any(|ids| ids.contains(&id.as_i64())) {
            return Ok(());
        }
        let month = partitions::month_of(client, id.ts(), 0).await?;
        partitions::ensure(client, &month).await?;
        self.months.push(month.ids);
        Ok(())
    }
}

/// Counts the messages of each room on, and notes its newest event. Gives how many messages each had before.
async fn count(transaction: &Transaction<'_>, batch: &Batch) -> Result<HashMap<i64, i64>, Stopped> {
    if batch.last.is_empty() {
        return Ok(HashMap::new());
    }
    let mut new: HashMap<i64, i64> = HashMap::new();
    for message in &batch.messages {
        *new.entry(message.room.as_i64()).or_insert(0) += 1;
    }
    let rooms: Vec<i64> = batch.last.keys().map(|room| room.as_i64()).collect();
    let counts: Vec<i64> = rooms.iter().map(|room| new.get(room).copied().unwrap_or(0)).collect();
    let last: Vec<i64> = batch.last.values().map(|id| id.as_i64()).collect();
    let sql = "INSERT INTO room_counters AS c (room, messages, last_id)
               SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[])
               ON CONFLICT (room) DO UPDATE
               SET messages = c.messages + excluded.messages, last_id = greatest(c.last_id, excluded.last_id)
               RETURNING room, messages";
    let after = transaction.rows(sql, &[&rooms, &counts, &last]).await?;
    let before = after.iter().map(|row| {
        let (room, messages): (i64, i64) = (row.get(0), row.get(1));
        (room, messages - new.get(&room).copied().unwrap_or(0))
    });
    Ok(before.collect())
}

/// Adds the messages, each with its number in its room. `counted` are the messages that each room has.
async fn copy(
    transaction: &Transaction<'_>,
    batch: &Batch,
    mut counted: HashMap<i64, i64>,
) -> Result<(), Stopped> {
    const TYPES: [Type; 9] = [
        Type::INT8,
        Type::INT8,
        Type::INT8,
        Type::INT8,
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
        Type::TEXT,
        Type::INT8,
    ];
    let copy = "COPY messages (room, id, n, author, name, kind, body, nonce, reply_to) FROM STDIN BINARY";
    let sink = transaction.copy_in(copy).await?;
    let mut writer = pin!(BinaryCopyInWriter::new(sink, &TYPES));
    for message in &batch.messages {
        let room = message.room.as_i64();
        // A room is in one shard, so a batch has its messages in order.
        let n = counted.entry(room).or_insert(0);
        *n += 1;
        let reply_to = message.reply_to.map(MessageId::as_i64);
        writer
            .as_mut()
            .write(&[
                &room,
                &message.id.as_i64(),
                n,
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
    transaction.run(sql, &[&uploads, &rooms, &ids]).await?;
    Ok(())
}

/// Forgets which uploads some messages name.
async fn forget_uses(transaction: &Transaction<'_>, rooms: &Vec<i64>, ids: &Vec<i64>) -> Result<(), Stopped> {
    let sql = "DELETE FROM upload_uses u USING unnest($1::bigint[], $2::bigint[]) AS gone (room, msg)
               WHERE u.room = gone.room AND u.msg = gone.msg";
    transaction.run(sql, &[rooms, ids]).await?;
    Ok(())
}

async fn edit(transaction: &Transaction<'_>, batch: &Batch) -> Result<(), Stopped> {
    if batch.edits.is_empty() {
        return Ok(());
    }
    let rooms: Vec<i64> = batch.edits.keys().map(|(room, _)| room.as_i64()).collect();
    let ids: Vec<i64> = batch.edits.keys().map(|(_, msg)| msg.as_i64()).collect();
    let authors: Vec<i64> = batch.edits.values().map(|(author, ..)| author.as_i64()).collect();
    let bodies: Vec<&str> = batch.edits.values().map(|(_, body, _)| body.as_str()).collect();
    let times: Vec<i64> = batch.edits.values().map(|(.., at_ms)| at_ms.cast_signed()).collect();
    let sql = "UPDATE messages AS m SET body = e.body, edited_at = e.at
               FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::bigint[])
                    AS e (room, id, author, body, at)
               WHERE m.room = e.room AND m.id = e.id AND m.author = e.author AND NOT m.deleted
               AND NOT EXISTS (SELECT FROM erasures w WHERE w.user_id = m.author AND m.id <= w.up_to)
               RETURNING m.room, m.id, m.body";
    let (mut rooms_edited, mut ids_edited, mut uses) = (Vec::new(), Vec::new(), Vec::new());
    for row in transaction.rows(sql, &[&rooms, &ids, &authors, &bodies, &times]).await? {
        let (room, id, body): (i64, i64, &str) = (row.get(0), row.get(1), row.get(2));
        rooms_edited.push(room);
        ids_edited.push(id);
        if let Some((room, id)) = RoomId::from_i64(room).zip(MessageId::from_i64(id)) {
            uses.extend(mentions(body).map(|upload| (upload, room, id)));
        }
    }
    forget_uses(transaction, &rooms_edited, &ids_edited).await?;
    add_uses(transaction, &uses).await
}

async fn delete(transaction: &Transaction<'_>, batch: &Batch) -> Result<(), Stopped> {
    if batch.deletions.is_empty() {
        return Ok(());
    }
    let rooms: Vec<i64> = batch.deletions.iter().map(|(room, _)| room.as_i64()).collect();
    let ids: Vec<i64> = batch.deletions.iter().map(|(_, msg)| msg.as_i64()).collect();
    let sql = "UPDATE messages AS m SET body = '', deleted = true
               FROM unnest($1::bigint[], $2::bigint[]) AS d (room, id) WHERE m.room = d.room AND m.id = d.id";
    transaction.run(sql, &[&rooms, &ids]).await?;
    forget_uses(transaction, &rooms, &ids).await
}

/// Sets and takes back reactions, to messages that there are.
async fn react(transaction: &Transaction<'_>, batch: &Batch) -> Result<(), Stopped> {
    const SET: &str = "INSERT INTO reactions (room, msg, user_id, emoji)
         SELECT r.* FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[]) AS r (room, msg, user_id, emoji)
         WHERE EXISTS (SELECT FROM messages m WHERE m.room = r.room AND m.id = r.msg) ON CONFLICT DO NOTHING";
    const UNSET: &str = "DELETE FROM reactions AS gone
         USING unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[]) AS r (room, msg, user_id, emoji)
         WHERE gone.room = r.room AND gone.msg = r.msg AND gone.user_id = r.user_id AND gone.emoji = r.emoji";
    for (stands, sql) in [(true, SET), (false, UNSET)] {
        let of_kind =
            || batch.reactions.iter().filter(|(_, on)| **on == stands).map(|(reaction, _)| reaction);
        let rooms: Vec<i64> = of_kind().map(|(room, ..)| room.as_i64()).collect();
        if rooms.is_empty() {
            continue;
        }
        let ids: Vec<i64> = of_kind().map(|(_, msg, ..)| msg.as_i64()).collect();
        let users: Vec<i64> = of_kind().map(|(_, _, user, _)| user.as_i64()).collect();
        let emojis: Vec<&str> = of_kind().map(|(.., emoji)| emoji.as_str()).collect();
        transaction.run(sql, &[&rooms, &ids, &users, &emojis]).await?;
    }
    Ok(())
}

async fn note_reads(transaction: &Transaction<'_>, batch: &Batch) -> Result<(), Stopped> {
    if batch.reads.is_empty() {
        return Ok(());
    }
    let rooms: Vec<i64> = batch.reads.keys().map(|(room, _)| room.as_i64()).collect();
    let users: Vec<i64> = batch.reads.keys().map(|(_, user)| user.as_i64()).collect();
    let ids: Vec<i64> = batch.reads.values().map(|id| id.as_i64()).collect();
    // The number of the newest message that is not after what was read.
    let sql = "UPDATE room_members AS m SET read_up_to = r.id, read_n = greatest(m.read_n, coalesce(
                   (SELECT n FROM messages x WHERE x.room = r.room AND x.id <= r.id ORDER BY x.id DESC LIMIT 1), 0))
               FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS r (room, user_id, id)
               WHERE m.room = r.room AND m.user_id = r.user_id AND m.read_up_to < r.id";
    transaction.run(sql, &[&rooms, &users, &ids]).await?;
    Ok(())
}

async fn move_offsets(transaction: &Transaction<'_>, batch: &Batch) -> Result<(), Stopped> {
    let upsert = "INSERT INTO shard_offsets (shard, ms, seq) SELECT * FROM unnest($1::int[], $2::bigint[], $3::bigint[])
                  ON CONFLICT (shard) DO UPDATE SET ms = excluded.ms, seq = excluded.seq";
    let numbers: Vec<i32> = batch.offsets.keys().map(|shard| i32::from(shard.number())).collect();
    let ms: Vec<i64> = batch.offsets.values().map(|offset| offset.ms.cast_signed()).collect();
    let seqs: Vec<i64> = batch.offsets.values().map(|offset| offset.seq.cast_signed()).collect();
    transaction.run(upsert, &[&numbers, &ms, &seqs]).await?;
    Ok(())
}
