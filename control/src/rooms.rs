//! Rooms and who is in them. Every change is in Postgres first, then in the cache, then on the streams.

use hubbub_common::clock::now_ms;
use hubbub_common::entry::Record;
use hubbub_common::ids::{RoomId, UserId};
use hubbub_common::protocol::{MemberState, Role, RoomChange};
use hubbub_common::token::RoomsClaim;

use crate::app::App;
use crate::auth::Caller;
use crate::changes;
use crate::error::Error;
use crate::purge;
use crate::store::rooms::{self, Kind, Member, Room};
use crate::store::sql::Sql;
use crate::store::{audit, users};

const NOT_AN_ADMIN: Error = Error::Forbidden("only an owner or admin of the room may do this");

/// Makes a room with the caller as its owner.
pub async fn create(app: &App, caller: &Caller, name: &str, kind: Kind, topic: &str) -> Result<Room, Error> {
    let (name, topic) = (name.trim(), topic.trim());
    check_name(name)?;
    check_topic(topic)?;
    if kind == Kind::Direct {
        return Err(Error::invalid("kind", "expected public or private; direct rooms are made by /dms"));
    }
    let mut database = app.database().await?;
    let transaction = database.transaction().await?;
    let room = rooms::insert(&*transaction, name, kind, topic).await?;
    let room = room.ok_or(Error::Conflict("a public room with this name exists"))?;
    rooms::add_member(&*transaction, room, caller.user, Role::Owner).await?;
    changes::note(&*transaction, room, &[caller.user], None).await?;
    transaction.commit().await?;
    drop(database);
    changes::carry_out(app, room).await;
    get(app, caller, room).await
}

/// A room that the caller may see: public, or one of their own.
pub async fn get(app: &App, caller: &Caller, room: RoomId) -> Result<Room, Error> {
    let database = app.database().await?;
    let room = rooms::get(&**database, room, caller.user).await?.ok_or(Error::NotFound("room"))?;
    match room.role {
        Some(Role::Banned) => Err(Error::NotFound("room")),
        None if room.kind != Kind::Public => Err(Error::NotFound("room")),
        _ => Ok(room),
    }
}

/// Makes the caller a member of a public room. Being one already changes nothing.
pub async fn join(app: &App, caller: &Caller, room: RoomId) -> Result<Room, Error> {
    let seen = get(app, caller, room).await?;
    if seen.role.is_some() {
        return Ok(seen);
    }
    let mut database = app.database().await?;
    let transaction = database.transaction().await?;
    if rooms::add_member(&*transaction, room, caller.user, Role::Member).await? {
        note_member(&*transaction, room, caller.user, MemberState::Joined, Some(Role::Member)).await?;
    }
    transaction.commit().await?;
    drop(database);
    changes::carry_out(app, room).await;
    get(app, caller, room).await
}

/// Ends the caller's membership.
pub async fn leave(app: &App, caller: &Caller, room: RoomId) -> Result<(), Error> {
    let seen = get(app, caller, room).await?;
    if seen.kind == Kind::Direct {
        return Err(Error::Forbidden("a direct room can't be left"));
    }
    let mut database = app.database().await?;
    let transaction = database.transaction().await?;
    rooms::lock(&*transaction, room).await?;
    let role = rooms::role_of(&*transaction, room, caller.user).await?.ok_or(Error::NotFound("room"))?;
    if role == Role::Owner && rooms::count_owners(&*transaction, room).await? <= 1 {
        return Err(Error::Conflict("the last owner can't leave the room"));
    }
    if rooms::remove_member(&*transaction, room, caller.user).await? {
        note_member(&*transaction, room, caller.user, MemberState::Left, None).await?;
    }
    transaction.commit().await?;
    drop(database);
    changes::carry_out(app, room).await;
    Ok(())
}

/// Gives a user a role in a room, or makes them a member.
pub async fn set_member(
    app: &App,
    caller: &Caller,
    room: RoomId,
    user: UserId,
    role: Role,
) -> Result<Member, Error> {
    manages_members(app, caller, room).await?;
    let mut database = app.database().await?;
    let transaction = database.transaction().await?;
    let own = still_manages(&*transaction, caller, room).await?;
    let target = users::by_id(&*transaction, user).await?.ok_or(Error::NotFound("user"))?;
    let before = rooms::role_of(&*transaction, room, user).await?;
    // Admins make and unmake what is below them; owners everything.
    if own != Role::Owner && (role.is_admin() || before.is_some_and(Role::is_admin)) {
        return Err(Error::Forbidden("only an owner makes or unmakes admins and owners"));
    }
    if before == Some(role) {
        return Ok(Member { user: target, role });
    }
    if before == Some(Role::Owner) && rooms::count_owners(&*transaction, room).await? <= 1 {
        return Err(Error::Conflict("the last owner can't become something else"));
    }
    rooms::set_role(&*transaction, room, user, role).await?;
    let detail = format!("room {room}, user {user}: {}", role.as_str());
    audit::add(&*transaction, Some(caller.user), "role", &detail, &caller.origin).await?;
    let state = match (before, role) {
        (_, Role::Banned) => MemberState::Banned,
        (None | Some(Role::Banned), _) => MemberState::Joined,
        (Some(_), _) => MemberState::Role,
    };
    note_member(&*transaction, room, user, state, Some(role)).await?;
    transaction.commit().await?;
    drop(database);
    changes::carry_out(app, room).await;
    Ok(Member { user: target, role })
}

/// Ends a user's membership, or their ban. Whoever is no admin may end their own membership only.
pub async fn remove_member(app: &App, caller: &Caller, room: RoomId, user: UserId) -> Result<(), Error> {
    if user == caller.user {
        return leave(app, caller, room).await;
    }
    manages_members(app, caller, room).await?;
    let mut database = app.database().await?;
    let transaction = database.transaction().await?;
    let own = still_manages(&*transaction, caller, room).await?;
    let before = rooms::role_of(&*transaction, room, user).await?.ok_or(Error::NotFound("member"))?;
    if own != Role::Owner && before.is_admin() {
        return Err(Error::Forbidden("only an owner removes admins and owners"));
    }
    if before == Role::Owner && rooms::count_owners(&*transaction, room).await? <= 1 {
        return Err(Error::Conflict("the last owner can't be removed"));
    }
    rooms::remove_role(&*transaction, room, user).await?;
    let action = if before == Role::Banned { "ban lifted" } else { "kicked" };
    audit::add(
        &*transaction,
        Some(caller.user),
        action,
        &format!("room {room}, user {user}"),
        &caller.origin,
    )
    .await?;
    let state = if before == Role::Banned { MemberState::Left } else { MemberState::Kicked };
    note_member(&*transaction, room, user, state, None).await?;
    transaction.commit().await?;
    drop(database);
    changes::carry_out(app, room).await;
    Ok(())
}

/// Changes name and topic of a room.
pub async fn update(
    app: &App,
    caller: &Caller,
    room: RoomId,
    name: Option<&str>,
    topic: Option<&str>,
) -> Result<Room, Error> {
    let (name, topic) = (name.map(str::trim), topic.map(str::trim));
    name.map_or(Ok(()), check_name)?;
    topic.map_or(Ok(()), check_topic)?;
    let (_, kind) = administered(app, caller, room).await?;
    if kind == Kind::Direct {
        return Err(Error::Forbidden("a direct room has no name or topic of its own"));
    }
    let mut database = app.database().await?;
    let transaction = database.transaction().await?;
    still_manages(&*transaction, caller, room).await?;
    if !rooms::update(&*transaction, room, name, topic).await? {
        return Err(Error::Conflict("a public room with this name exists"));
    }
    let record = Record::Room { room, state: RoomChange::Updated };
    changes::note(&*transaction, room, &[], Some(&record)).await?;
    transaction.commit().await?;
    drop(database);
    changes::carry_out(app, room).await;
    get(app, caller, room).await
}

/// Deletes a room with its memberships. What was said in it is not to be had any more, and is removed
/// in the background ([`purge`]).
pub async fn delete(app: &App, caller: &Caller, room: RoomId) -> Result<(), Error> {
    administered(app, caller, room).await?;
    let mut database = app.database().await?;
    let transaction = database.transaction().await?;
    if still_manages(&*transaction, caller, room).await? != Role::Owner {
        return Err(Error::Forbidden("only an owner deletes a room"));
    }
    let members = rooms::delete(&*transaction, room, purge::up_to(now_ms())).await?;
    audit::add(&*transaction, Some(caller.user), "room deleted", &format!("room {room}"), &caller.origin)
        .await?;
    let record = Record::Room { room, state: RoomChange::Deleted };
    changes::note(&*transaction, room, &members, Some(&record)).await?;
    transaction.commit().await?;
    drop(database);
    changes::carry_out(app, room).await;
    Ok(())
}

/// The caller's role in a room that they may change, and its kind.
async fn administered(app: &App, caller: &Caller, room: RoomId) -> Result<(Role, Kind), Error> {
    let seen = get(app, caller, room).await?;
    match seen.role {
        Some(role) if role.is_admin() => Ok((role, seen.kind)),
        _ => Err(NOT_AN_ADMIN),
    }
}

/// Whether the caller may change the members of a room.
async fn manages_members(app: &App, caller: &Caller, room: RoomId) -> Result<(), Error> {
    let (_, kind) = administered(app, caller, room).await?;
    if kind == Kind::Direct {
        return Err(Error::Forbidden("the members of a direct room can't be changed"));
    }
    Ok(())
}

/// The role of somebody who manages a room's members, which nobody takes from them until the transaction ends.
async fn still_manages(client: &impl Sql, caller: &Caller, room: RoomId) -> Result<Role, Error> {
    rooms::lock(client, room).await?;
    let own = rooms::role_of(client, room, caller.user).await?;
    own.filter(|role| role.is_admin()).ok_or(NOT_AN_ADMIN)
}

/// The direct room of the caller and another user, and whether it is new.
pub async fn direct(app: &App, caller: &Caller, other: UserId) -> Result<(Room, bool), Error> {
    if other == caller.user {
        return Err(Error::invalid("user", "expected another user than yourself"));
    }
    let mut database = app.database().await?;
    if users::by_id(&**database, other).await?.is_none() {
        return Err(Error::NotFound("user"));
    }
    if let Some(room) = rooms::direct(&**database, caller.user, other).await? {
        drop(database);
        return Ok((get(app, caller, room).await?, false));
    }
    let transaction = database.transaction().await?;
    let room = rooms::insert(&*transaction, "direct", Kind::Direct, "").await?;
    let room = room.ok_or_else(|| Error::Internal("a direct room was not made".to_owned()))?;
    if !rooms::set_direct(&*transaction, caller.user, other, room).await? {
        // Both asked at once, and the other request won.
        drop(transaction);
        let room = rooms::direct(&**database, caller.user, other).await?.ok_or(Error::NotFound("room"))?;
        drop(database);
        return Ok((get(app, caller, room).await?, false));
    }
    rooms::add_member(&*transaction, room, caller.user, Role::Owner).await?;
    rooms::add_member(&*transaction, room, other, Role::Owner).await?;
    changes::note(&*transaction, room, &[caller.user, other], None).await?;
    transaction.commit().await?;
    drop(database);
    changes::carry_out(app, room).await;
    Ok((get(app, caller, room).await?, true))
}

/// The members of a room, a page of them.
pub async fn members(
    app: &App,
    caller: &Caller,
    room: RoomId,
    after: i64,
    limit: i64,
) -> Result<Vec<Member>, Error> {
    let seen = get(app, caller, room).await?;
    if seen.role.is_none() {
        return Err(Error::Forbidden("only members see who is in a room"));
    }
    let database = app.database().await?;
    rooms::members(&**database, room, after, limit).await
}

/// The caller's role in a room: from their ticket, or as a member. What they may not see does not exist.
pub async fn role(app: &App, caller: &Caller, room: RoomId) -> Result<Role, Error> {
    match &caller.rooms {
        Some(RoomsClaim::Any(_)) => return Ok(Role::Member),
        Some(RoomsClaim::List(rooms)) if rooms.contains(&room) => return Ok(Role::Member),
        Some(RoomsClaim::List(_)) => return Err(Error::Forbidden("the ticket does not name this room")),
        None => {}
    }
    let seen = get(app, caller, room).await?;
    seen.role.ok_or(Error::Forbidden("only members may do this: join the room first"))
}

fn check_name(name: &str) -> Result<(), Error> {
    if name.is_empty() || name.chars().count() > 64 || name.chars().any(char::is_control) {
        return Err(Error::invalid("name", "expected 1 to 64 printable characters"));
    }
    Ok(())
}

fn check_topic(topic: &str) -> Result<(), Error> {
    if topic.chars().count() > 256 || topic.chars().any(char::is_control) {
        return Err(Error::invalid("topic", "expected at most 256 printable characters"));
    }
    Ok(())
}

async fn note_member(
    client: &impl Sql,
    room: RoomId,
    user: UserId,
    state: MemberState,
    role: Option<Role>,
) -> Result<(), Error> {
    changes::note(client, room, &[user], Some(&Record::Member { room, user, state, role })).await
}
