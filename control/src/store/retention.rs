//! Rooms that keep messages for less time than the others.

use hubbub_common::ids::{MessageId, RoomId};
use tokio_postgres::Error;

use super::sql::Sql;

/// Each with the days for which it keeps them.
pub async fn rooms(client: &impl Sql) -> Result<Vec<(RoomId, u32)>, Error> {
    let rows = client.rows("SELECT room, days FROM room_retention ORDER BY room", &[]).await?;
    let room = |row: &tokio_postgres::Row| {
        Some((RoomId::from_i64(row.get(0))?, u32::try_from(row.get::<_, i32>(1)).ok()?))
    };
    Ok(rows.iter().filter_map(room).collect())
}

/// Has a room keep messages for so many days, or with `None` as long as all others.
pub async fn set(client: &impl Sql, room: RoomId, days: Option<i32>) -> Result<(), Error> {
    match days {
        Some(days) => {
            let sql = "INSERT INTO room_retention (room, days) VALUES ($1, $2)
                       ON CONFLICT (room) DO UPDATE SET days = excluded.days";
            client.run(sql, &[&room.as_i64(), &days]).await?;
        }
        None => {
            client.run("DELETE FROM room_retention WHERE room = $1", &[&room.as_i64()]).await?;
        }
    }
    Ok(())
}

/// Removes some of a room's oldest messages before an id, with what refers to them; gives how many.
pub async fn remove_before(
    client: &impl Sql,
    room: RoomId,
    before: MessageId,
    limit: i64,
) -> Result<u64, Error> {
    let newest = "SELECT max(id) FROM (
                      SELECT id FROM messages WHERE room = $1 AND id < $2 ORDER BY id LIMIT $3) AS oldest";
    let newest = client.one_row(newest, &[&room.as_i64(), &before.as_i64(), &limit]).await?;
    let Some(newest) = newest.get::<_, Option<i64>>(0) else { return Ok(0) };
    for sql in [
        "DELETE FROM reactions WHERE room = $1 AND msg <= $2",
        "DELETE FROM upload_uses WHERE room = $1 AND msg <= $2",
    ] {
        client.run(sql, &[&room.as_i64(), &newest]).await?;
    }
    client.run("DELETE FROM messages WHERE room = $1 AND id <= $2", &[&room.as_i64(), &newest]).await
}
