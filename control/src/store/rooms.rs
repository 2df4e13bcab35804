//! Rooms and memberships.

use hubbub_common::clock::now_ms;
use hubbub_common::ids::{MessageId, RoomId, UserId};
use hubbub_common::protocol::Role;
use serde::{Deserialize, Serialize};
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use utoipa::ToSchema;

use super::sql::Sql;
use super::users::{User, starting_with};
use crate::error::Error;

/// Who may see and enter a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = RoomKind)]
pub enum Kind {
    /// Anybody.
    Public,
    /// Who was let in.
    Private,
    /// Two users.
    Direct,
}

impl Kind {
    /// The word in the API and in Postgres.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Private => "private",
            Self::Direct => "direct",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::Public, Self::Private, Self::Direct].into_iter().find(|kind| kind.as_str() == word)
    }
}

/// A room as one user sees it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Room {
    /// Which.
    pub id: RoomId,
    /// Its name; in a direct room, the other user's.
    pub name: String,
    /// Who may enter.
    pub kind: Kind,
    /// What it is about.
    pub topic: String,
    /// The user's role, if any.
    #[schema(required)]
    pub role: Option<Role>,
    /// How many members it has.
    pub members: i64,
    /// Its newest persisted event, or zero.
    pub last: MessageId,
    /// How many of its messages the user has not read.
    pub unread: i64,
}

/// `$1` is the user who looks.
const SELECT: &str = "
    SELECT r.id, r.kind, r.topic, r.members, m.role,
           coalesce(other.display_name, r.name) AS name,
           coalesce(c.last_id, 0) AS last,
           CASE WHEN m.role IS NULL THEN 0 ELSE greatest(coalesce(c.messages, 0) - m.read_n, 0) END AS unread
    FROM rooms r
    LEFT JOIN room_members m ON m.room = r.id AND m.user_id = $1
    LEFT JOIN room_counters c ON c.room = r.id
    LEFT JOIN direct_rooms d ON r.kind = 'direct' AND d.room = r.id
    LEFT JOIN users other ON other.id = CASE WHEN d.lower_user = $1 THEN d.higher_user ELSE d.lower_user END";

fn room(row: &Row) -> Option<Room> {
    Some(Room {
        id: RoomId::from_i64(row.get("id"))?,
        name: row.get("name"),
        kind: Kind::parse(row.get("kind"))?,
        topic: row.get("topic"),
        role: row.get::<_, Option<&str>>("role").and_then(Role::parse),
        members: row.get("members"),
        last: MessageId::from_i64(row.get("last"))?,
        unread: row.get("unread"),
    })
}

/// A room as a user sees it, whether they may or not.
pub async fn get(client: &impl Sql, id: RoomId, viewer: UserId) -> Result<Option<Room>, Error> {
    let sql = format!("{SELECT} WHERE r.id = $2");
    Ok(client.maybe_row(&sql, &[&viewer.as_i64(), &id.as_i64()]).await?.as_ref().and_then(room))
}

/// The rooms of a user, by id, after one.
pub async fn of_user(client: &impl Sql, user: UserId, after: i64, limit: i64) -> Result<Vec<Room>, Error> {
    let sql = format!(
        "{SELECT} WHERE m.role IS NOT NULL AND m.role <> 'banned' AND r.id > $2 ORDER BY r.id LIMIT $3"
    );
    let rows = client.rows(&sql, &[&user.as_i64(), &after, &limit]).await?;
    Ok(rows.iter().filter_map(room).collect())
}

/// Public rooms whose name begins so, by id, after one.
pub async fn public(
    client: &impl Sql,
    viewer: UserId,
    prefix: &str,
    after: i64,
    limit: i64,
) -> Result<Vec<Room>, Error> {
    let sql = format!(
        "{SELECT} WHERE r.kind = 'public' AND lower(r.name) LIKE $2 AND r.id > $3
         AND m.role IS DISTINCT FROM 'banned' ORDER BY r.id LIMIT $4"
    );
    let rows = client.rows(&sql, &[&viewer.as_i64(), &starting_with(prefix), &after, &limit]).await?;
    Ok(rows.iter().filter_map(room).collect())
}

/// Adds a room; `None` when it is public and its name is taken.
pub async fn insert(client: &impl Sql, name: &str, kind: Kind, topic: &str) -> Result<Option<RoomId>, Error> {
    let sql = "INSERT INTO rooms (name, kind, topic, created_at) VALUES ($1, $2, $3, $4)
               ON CONFLICT (lower(name)) WHERE kind = 'public' DO NOTHING RETURNING id";
    let row = client.maybe_row(sql, &[&name, &kind.as_str(), &topic, &now_ms().cast_signed()]).await?;
    Ok(row.and_then(|row| RoomId::from_i64(row.get(0))))
}

/// Makes a user a member; false when they have a role already. What was said before counts as read.
pub async fn add_member(client: &impl Sql, room: RoomId, user: UserId, role: Role) -> Result<bool, Error> {
    let sql = "WITH added AS (
                   INSERT INTO room_members (room, user_id, role, joined_at, read_up_to, read_n)
                   SELECT $1, $2, $3, $4, coalesce(max(last_id), 0), coalesce(max(messages), 0)
                   FROM room_counters WHERE room = $1
                   ON CONFLICT DO NOTHING RETURNING room)
               UPDATE rooms SET members = members + 1 FROM added WHERE id = added.room";
    let params = (room.as_i64(), user.as_i64(), role.as_str(), now_ms().cast_signed());
    Ok(client.run(sql, &[&params.0, &params.1, &params.2, &params.3]).await? == 1)
}

/// Ends a membership that is not a ban.
pub async fn remove_member(client: &impl Sql, room: RoomId, user: UserId) -> Result<bool, Error> {
    let sql = "WITH gone AS (
                   DELETE FROM room_members WHERE room = $1 AND user_id = $2 AND role <> 'banned' RETURNING room)
               UPDATE rooms SET members = members - 1 FROM gone WHERE id = gone.room";
    Ok(client.run(sql, &[&room.as_i64(), &user.as_i64()]).await? == 1)
}

/// Keeps every other change of roles in a room out until the transaction ends.
pub async fn lock(client: &impl Sql, room: RoomId) -> Result<(), Error> {
    client.run("SELECT 1 FROM rooms WHERE id = $1 FOR UPDATE", &[&room.as_i64()]).await?;
    Ok(())
}

/// A user's role in a room.
pub async fn role_of(client: &impl Sql, room: RoomId, user: UserId) -> Result<Option<Role>, Error> {
    let sql = "SELECT role FROM room_members WHERE room = $1 AND user_id = $2";
    let row = client.maybe_row(sql, &[&room.as_i64(), &user.as_i64()]).await?;
    Ok(row.and_then(|row| Role::parse(row.get(0))))
}

/// Gives a user a role, whether they had one or not. Who is banned is no member.
pub async fn set_role(client: &impl Sql, room: RoomId, user: UserId, role: Role) -> Result<(), Error> {
    if add_member(client, room, user, role).await? {
        if role == Role::Banned {
            count_members(client, room, -1).await?;
        }
        return Ok(());
    }
    let sql = "UPDATE room_members m SET role = $3 FROM room_members past
               WHERE m.room = $1 AND m.user_id = $2 AND past.room = $1 AND past.user_id = $2
               RETURNING past.role = 'banned' AS was_banned";
    let row = client.maybe_row(sql, &[&room.as_i64(), &user.as_i64(), &role.as_str()]).await?;
    let was_banned = row.is_some_and(|row| row.get("was_banned"));
    match (was_banned, role == Role::Banned) {
        (false, true) => count_members(client, room, -1).await,
        (true, false) => count_members(client, room, 1).await,
        (true, true) | (false, false) => Ok(()),
    }
}

async fn count_members(client: &impl Sql, room: RoomId, more: i64) -> Result<(), Error> {
    let sql = "UPDATE rooms SET members = members + $2 WHERE id = $1";
    client.run(sql, &[&room.as_i64(), &more]).await?;
    Ok(())
}

/// Takes a user's role away, a ban too.
pub async fn remove_role(client: &impl Sql, room: RoomId, user: UserId) -> Result<(), Error> {
    let sql = "WITH gone AS (
                   DELETE FROM room_members WHERE room = $1 AND user_id = $2 RETURNING room, role)
               UPDATE rooms SET members = members - 1 FROM gone
               WHERE id = gone.room AND gone.role <> 'banned'";
    client.run(sql, &[&room.as_i64(), &user.as_i64()]).await?;
    Ok(())
}

/// Changes what is given; false when the name is taken.
pub async fn update(
    client: &impl Sql,
    room: RoomId,
    name: Option<&str>,
    topic: Option<&str>,
) -> Result<bool, Error> {
    let sql = "UPDATE rooms SET name = coalesce($2, name), topic = coalesce($3, topic) WHERE id = $1";
    match client.run(sql, &[&room.as_i64(), &name, &topic]).await {
        Ok(_) => Ok(true),
        Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Deletes a room with its memberships; gives those who had a role in it. Its messages up to an id are noted to be removed.
pub async fn delete(client: &impl Sql, room: RoomId, up_to: MessageId) -> Result<Vec<UserId>, Error> {
    let sql = "DELETE FROM room_members WHERE room = $1 RETURNING user_id";
    let members = client.rows(sql, &[&room.as_i64()]).await?;
    client.run("DELETE FROM rooms WHERE id = $1", &[&room.as_i64()]).await?;
    let sql = "INSERT INTO deleted_rooms (room, up_to) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    client.run(sql, &[&room.as_i64(), &up_to.as_i64()]).await?;
    Ok(members.iter().filter_map(|row| UserId::from_i64(row.get(0))).collect())
}

/// Deleted rooms, and up to which id their messages are to be removed.
pub async fn deleted(client: &impl Sql) -> Result<Vec<(RoomId, MessageId)>, Error> {
    let rows = client.rows("SELECT room, up_to FROM deleted_rooms ORDER BY up_to", &[]).await?;
    let deleted = |row: &Row| Some((RoomId::from_i64(row.get(0))?, MessageId::from_i64(row.get(1))?));
    Ok(rows.iter().filter_map(deleted).collect())
}

/// Removes a room's messages up to an id with all that belongs to them, at most so many; gives how many that was.
pub async fn remove_messages(
    client: &impl Sql,
    room: RoomId,
    up_to: MessageId,
    limit: i64,
) -> Result<i64, Error> {
    let (room, up_to) = (room.as_i64(), up_to.as_i64());
    let sql = "WITH old AS (SELECT id FROM messages WHERE room = $1 AND id <= $2 ORDER BY id LIMIT $3),
                    reacted AS (DELETE FROM reactions WHERE room = $1 AND msg IN (SELECT id FROM old)),
                    named AS (DELETE FROM upload_uses WHERE room = $1 AND msg IN (SELECT id FROM old))
               DELETE FROM messages WHERE room = $1 AND id IN (SELECT id FROM old)";
    let removed = client.run(sql, &[&room, &up_to, &limit]).await?;
    if removed == 0 {
        // What was persisted behind its message.
        for sql in [
            "DELETE FROM reactions WHERE room = $1 AND msg <= $2",
            "DELETE FROM upload_uses WHERE room = $1 AND msg <= $2",
        ] {
            client.run(sql, &[&room, &up_to]).await?;
        }
        // Where nothing came since, the room is as if it had never been.
        let sql = "DELETE FROM room_counters WHERE room = $1 AND last_id <= $2";
        client.run(sql, &[&room, &up_to]).await?;
    }
    Ok(i64::try_from(removed).unwrap_or(limit))
}

/// Forgets that a room was deleted.
pub async fn forget_deleted(client: &impl Sql, room: RoomId) -> Result<(), Error> {
    client.run("DELETE FROM deleted_rooms WHERE room = $1", &[&room.as_i64()]).await?;
    Ok(())
}

/// How many owners a room has; locks the room, so that the answer holds until the transaction ends.
pub async fn count_owners(client: &impl Sql, room: RoomId) -> Result<i64, Error> {
    let sql = "SELECT count(*) FROM room_members WHERE room = $1 AND role = 'owner'";
    Ok(client.one_row(sql, &[&room.as_i64()]).await?.get(0))
}

/// Every room in which a user has a role.
pub async fn roles_of(client: &impl Sql, user: UserId) -> Result<Vec<(RoomId, Role)>, Error> {
    let rows =
        client.rows("SELECT room, role FROM room_members WHERE user_id = $1", &[&user.as_i64()]).await?;
    Ok(rows
        .iter()
        .filter_map(|row| Some((RoomId::from_i64(row.get(0))?, Role::parse(row.get(1))?)))
        .collect())
}

/// Users with a role anywhere, after one.
pub async fn users_with_roles(client: &impl Sql, after: i64, limit: i64) -> Result<Vec<UserId>, Error> {
    let sql = "SELECT DISTINCT user_id FROM room_members WHERE user_id > $1 ORDER BY user_id LIMIT $2";
    let rows = client.rows(sql, &[&after, &limit]).await?;
    Ok(rows.iter().filter_map(|row| UserId::from_i64(row.get(0))).collect())
}

/// A member of a room.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Member {
    /// Who.
    pub user: User,
    /// What they may do.
    pub role: Role,
}

/// The members of a room, by user id, after one.
pub async fn members(client: &impl Sql, room: RoomId, after: i64, limit: i64) -> Result<Vec<Member>, Error> {
    let sql = "SELECT u.id, u.username, u.display_name, u.created_at, m.role
               FROM room_members m JOIN users u ON u.id = m.user_id
               WHERE m.room = $1 AND m.user_id > $2 ORDER BY m.user_id LIMIT $3";
    let rows = client.rows(sql, &[&room.as_i64(), &after, &limit]).await?;
    let member = |row: &Row| {
        let user = User {
            id: UserId::from_i64(row.get("id"))?,
            username: row.get("username"),
            display_name: row.get("display_name"),
            created_at: row.get("created_at"),
            operator: None,
        };
        Some(Member { user, role: Role::parse(row.get("role"))? })
    };
    Ok(rows.iter().filter_map(member).collect())
}

/// The direct room of two users.
pub async fn direct(client: &impl Sql, one: UserId, other: UserId) -> Result<Option<RoomId>, Error> {
    let (lower, higher) = (one.min(other).as_i64(), one.max(other).as_i64());
    let sql = "SELECT room FROM direct_rooms WHERE lower_user = $1 AND higher_user = $2";
    let row = client.maybe_row(sql, &[&lower, &higher]).await?;
    Ok(row.and_then(|row| RoomId::from_i64(row.get(0))))
}

/// Makes a room the direct room of two users; false when they have one.
pub async fn set_direct(client: &impl Sql, one: UserId, other: UserId, room: RoomId) -> Result<bool, Error> {
    let (lower, higher) = (one.min(other).as_i64(), one.max(other).as_i64());
    let sql =
        "INSERT INTO direct_rooms (lower_user, higher_user, room) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    Ok(client.run(sql, &[&lower, &higher, &room.as_i64()]).await? == 1)
}
