//! Persisted messages, with edits, deletions and reactions folded in.

use std::collections::{BTreeMap, HashMap};

use hubbub_common::ids::{MessageId, RoomId, UserId};
use serde::Serialize;
use tokio_postgres::{Client, Row};
use utoipa::ToSchema;

use super::sql::{Sql, rows_in_time};
use crate::error::Error;

/// A message as history shows it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Message {
    /// Where.
    pub room: RoomId,
    /// Which.
    pub id: MessageId,
    /// When, in Unix milliseconds.
    pub ts: u64,
    /// Who.
    pub from: UserId,
    /// The name they had.
    pub name: String,
    /// `text`, `image` or `system`.
    pub kind: String,
    /// What; empty once deleted.
    pub body: String,
    /// What made the send idempotent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    /// The message that it answers.
    #[schema(required)]
    pub reply_to: Option<MessageId>,
    /// When it was last edited, in Unix milliseconds.
    #[schema(required)]
    pub edited_at: Option<i64>,
    /// Whether it was deleted.
    pub deleted: bool,
    /// Who reacted how.
    pub reactions: BTreeMap<String, Vec<UserId>>,
}

/// Which messages of a room.
#[derive(Debug, Clone, Copy)]
pub enum Page {
    /// The newest ones.
    Newest,
    /// The newest ones before this id.
    Before(MessageId),
    /// The oldest ones after this id.
    After(MessageId),
    /// The oldest ones between the two.
    Between(MessageId, MessageId),
}

/// What [`complete`] needs of each.
pub(super) const COLUMNS: &str = "id, author, name, kind, body, nonce, reply_to, edited_at, deleted";

/// A page of history, newest last.
pub async fn page(client: &Client, room: RoomId, page: Page, limit: i64) -> Result<Vec<Message>, Error> {
    let (after, before, order) = match page {
        Page::Newest => (0, i64::MAX, "DESC"),
        Page::Before(before) => (0, before.as_i64(), "DESC"),
        Page::After(after) => (after.as_i64(), i64::MAX, "ASC"),
        Page::Between(after, before) => (after.as_i64(), before.as_i64(), "ASC"),
    };
    let sql = format!(
        "SELECT {COLUMNS} FROM messages WHERE room = $1 AND id > $2 AND id < $3 ORDER BY id {order} LIMIT $4"
    );
    let rows = rows_in_time(client, &sql, &[&room.as_i64(), &after, &before, &limit]).await?;
    let mut messages = complete(client, room, &rows).await?;
    if order == "DESC" {
        messages.reverse();
    }
    Ok(messages)
}

/// Messages of a room, from rows with [`COLUMNS`].
pub(super) async fn complete(client: &Client, room: RoomId, rows: &[Row]) -> Result<Vec<Message>, Error> {
    let mut messages: Vec<Message> = rows.iter().filter_map(|row| message(room, row)).collect();
    add_reactions(client, room, &mut messages).await?;
    Ok(messages)
}

/// Who wrote a message, and whether it is deleted.
pub async fn author(client: &impl Sql, room: RoomId, id: MessageId) -> Result<Option<(UserId, bool)>, Error> {
    let sql = "SELECT author, deleted FROM messages WHERE room = $1 AND id = $2";
    let row = client.maybe_row(sql, &[&room.as_i64(), &id.as_i64()]).await?;
    Ok(row.and_then(|row| Some((UserId::from_i64(row.get(0))?, row.get(1)))))
}

fn message(room: RoomId, row: &Row) -> Option<Message> {
    let id = MessageId::from_i64(row.get("id"))?;
    Some(Message {
        room,
        id,
        ts: id.ts(),
        from: UserId::from_i64(row.get("author"))?,
        name: row.get("name"),
        kind: row.get("kind"),
        body: row.get("body"),
        nonce: row.get("nonce"),
        reply_to: row.get::<_, Option<i64>>("reply_to").and_then(MessageId::from_i64),
        edited_at: row.get("edited_at"),
        deleted: row.get("deleted"),
        reactions: BTreeMap::new(),
    })
}

async fn add_reactions(client: &impl Sql, room: RoomId, messages: &mut [Message]) -> Result<(), Error> {
    if messages.is_empty() {
        return Ok(());
    }
    let ids: Vec<i64> = messages.iter().map(|message| message.id.as_i64()).collect();
    let sql = "SELECT msg, emoji, user_id FROM reactions WHERE room = $1 AND msg = ANY($2) ORDER BY msg, emoji, user_id";
    let rows = client.rows(sql, &[&room.as_i64(), &ids]).await?;
    let mut of: HashMap<i64, BTreeMap<String, Vec<UserId>>> = HashMap::new();
    for row in &rows {
        if let Some(user) = UserId::from_i64(row.get("user_id")) {
            of.entry(row.get("msg")).or_default().entry(row.get("emoji")).or_default().push(user);
        }
    }
    for message in messages {
        message.reactions = of.remove(&message.id.as_i64()).unwrap_or_default();
    }
    Ok(())
}
