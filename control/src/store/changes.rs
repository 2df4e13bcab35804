//! Changes in rooms that Redis has yet to hear of.

use hubbub_common::ids::{RoomId, UserId};

use tokio_postgres::Row;

use super::sql::Sql;
use crate::error::Error;

/// A change that was noted.
#[derive(Debug)]
pub struct Pending {
    /// Rises.
    pub id: i64,
    /// Whose memberships changed.
    pub users: Vec<UserId>,
    /// What the room is told, as an entry of a stream.
    pub entry: Option<Vec<u8>>,
}

/// Notes a change.
pub async fn note(
    client: &impl Sql,
    room: RoomId,
    users: &[UserId],
    entry: Option<Vec<u8>>,
) -> Result<(), Error> {
    let users: Vec<i64> = users.iter().map(|user| user.as_i64()).collect();
    let insert = "INSERT INTO pending_changes (room, users, entry) VALUES ($1, $2, $3)";
    client.run(insert, &[&room.as_i64(), &users, &entry]).await?;
    Ok(())
}

/// The first of what is noted of a room, in the order in which it was.
pub async fn pending(client: &impl Sql, room: RoomId, at_most: i64) -> Result<Vec<Pending>, Error> {
    let select = "SELECT id, users, entry FROM pending_changes WHERE room = $1 ORDER BY id LIMIT $2";
    let rows = client.rows(select, &[&room.as_i64(), &at_most]).await?;
    Ok(rows.iter().map(Pending::of).collect())
}

/// What is noted up to one change; nobody else gets it until the transaction ends.
pub async fn take(client: &impl Sql, room: RoomId, up_to: i64) -> Result<Vec<Pending>, Error> {
    let select =
        "SELECT id, users, entry FROM pending_changes WHERE room = $1 AND id <= $2 ORDER BY id FOR UPDATE";
    let rows = client.rows(select, &[&room.as_i64(), &up_to]).await?;
    Ok(rows.iter().map(Pending::of).collect())
}

impl Pending {
    fn of(row: &Row) -> Self {
        let users: Vec<i64> = row.get(1);
        Self {
            id: row.get(0),
            users: users.into_iter().filter_map(UserId::from_i64).collect(),
            entry: row.get(2),
        }
    }
}

/// They are carried out.
pub async fn forget(client: &impl Sql, ids: Vec<i64>) -> Result<(), Error> {
    client.run("DELETE FROM pending_changes WHERE id = ANY($1)", &[&ids]).await?;
    Ok(())
}

/// Rooms with changes that should have been carried out by now.
pub async fn late(client: &impl Sql, at_most: i64) -> Result<Vec<RoomId>, Error> {
    let select = "SELECT DISTINCT room FROM pending_changes WHERE noted_at < now() - interval '2 s' LIMIT $1";
    let rows = client.rows(select, &[&at_most]).await?;
    Ok(rows.iter().filter_map(|row| RoomId::from_i64(row.get(0))).collect())
}
