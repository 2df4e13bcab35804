//! Rooms and who is in them. Every change is in Postgres first, then in the cache, then on the streams.

use hubbub_common::entry::Record;
use hubbub_common::ids::{RoomId, UserId};
use hubbub_common::protocol::{MemberState, Role};
use hubbub_common::token::RoomsClaim;

use crate::app::App;
use crate::auth::Caller;
use crate::error::Error;
use crate::membership;
use crate::store::rooms::{self, Kind, Member, Room};
use crate::store::users;

/// Makes a room with the caller as its owner.
pub async fn create(app: &App, caller: &Caller, name: &str, kind: Kind, topic: &str) -> Result<Room, Error> {
    let (name, topic) = (name.trim(), topic.trim());
    if name.is_empty() || name.chars().count() > 64 || name.chars().any(char::is_control) {
        return Err(Error::invalid("name", "expected 1 to 64 printable characters"));
    }
    if topic.chars().count() > 256 || topic.chars().any(char::is_control) {
        return Err(Error::invalid("topic", "expected at most 256 printable characters"));
    }
    if kind == Kind::Direct {
        return Err(Error::invalid("kind", "expected public or private; direct rooms are made by /dms"));
    }
    let mut database = app.database().await?;
    let transaction = database.transaction().await?;
    let room = rooms::insert(&*transaction, name, kind, topic).await?;
    let room = room.ok_or(Error::Conflict("a public room with this name exists"))?;
    rooms::add_member(&*transaction, room, caller.user, Role::Owner).await?;
    transaction.commit().await?;
    drop(database);
    membership::refresh(app, caller.user).await?;
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
    let database = app.database().await?;
    let added = rooms::add_member(&**database, room, caller.user, Role::Member).await?;
    drop(database);
    membership::refresh(app, caller.user).await?;
    if added {
        tell_member(app, room, caller.user, MemberState::Joined, Some(Role::Member)).await?;
    }
    get(app, caller, room).await
}

/// Ends the caller's membership.
pub async fn leave(app: &App, caller: &Caller, room: RoomId) -> Result<(), Error> {
    let seen = get(app, caller, room).await?;
    let role = seen.role.ok_or(Error::NotFound("room"))?;
    if seen.kind == Kind::Direct {
        return Err(Error::Forbidden("a direct room can't be left"));
    }
    let mut database = app.database().await?;
    let transaction = database.transaction().await?;
    if role == Role::Owner && rooms::count_owners(&*transaction, room).await? <= 1 {
        return Err(Error::Conflict("the last owner can't leave the room"));
    }
    let removed = rooms::remove_member(&*transaction, room, caller.user).await?;
    transaction.commit().await?;
    drop(database);
    membership::refresh(app, caller.user).await?;
    if removed {
        tell_member(app, room, caller.user, MemberState::Left, None).await?;
    }
    Ok(())
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
    transaction.commit().await?;
    drop(database);
    membership::refresh(app, caller.user).await?;
    membership::refresh(app, other).await?;
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

async fn tell_member(
    app: &App,
    room: RoomId,
    user: UserId,
    state: MemberState,
    role: Option<Role>,
) -> Result<(), Error> {
    app.publisher.append(&app.redis, &Record::Member { room, user, state, role }).await?;
    Ok(())
}
