//! `/rooms` and `/dms`.

use axum::extract::State;
use axum::http::StatusCode;
use hubbub_common::ids::{RoomId, UserId};
use hubbub_common::protocol::Role;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::{Json, Known, LoggedIn, Path, Query};
use super::page::{FindQuery, Page, PageQuery};
use super::problem::Problem;
use crate::app::App;
use crate::store::rooms::{self as store, Kind, Member, Room};
use crate::{presence, rooms};

#[derive(Deserialize, ToSchema)]
#[schema(as = RoomDraft)]
pub(super) struct Create {
    /// Unique among public rooms, without regard to case.
    #[schema(min_length = 1, max_length = 64)]
    name: String,
    /// `direct` is refused: such rooms are made by `/dms`.
    kind: Kind,
    #[serde(default)]
    #[schema(max_length = 256)]
    topic: String,
}

/// Make a room
///
/// The caller is its owner.
#[utoipa::path(
    post,
    path = "/rooms",
    operation_id = "make_room",
    tag = "rooms",
    request_body = Create,
    responses((status = 201, body = Room), (status = 409, description = "A public room with this name exists")),
)]
pub(super) async fn create(
    State(app): State<App>,
    LoggedIn(caller): LoggedIn,
    Json(body): Json<Create>,
) -> Result<(StatusCode, axum::Json<Room>), Problem> {
    let room = rooms::create(&app, &caller, &body.name, body.kind, &body.topic).await?;
    Ok((StatusCode::CREATED, axum::Json(room)))
}

/// The own rooms, with `last` and `unread`
#[utoipa::path(
    get,
    path = "/rooms",
    operation_id = "own_rooms",
    tag = "rooms",
    params(PageQuery),
    responses((status = 200, body = Page<Room>)),
)]
pub(super) async fn mine(
    State(app): State<App>,
    LoggedIn(caller): LoggedIn,
    Query(query): Query<PageQuery>,
) -> Result<axum::Json<Page<Room>>, Problem> {
    let (limit, after) = (query.limit()?, query.after_id()?);
    let database = app.database().await?;
    let rooms = store::of_user(&**database, caller.user, after, limit).await?;
    Ok(Page::of(rooms, limit, |room| room.id.to_string()))
}

/// Find public rooms by the beginning of their names
#[utoipa::path(
    get,
    path = "/rooms/public",
    operation_id = "public_rooms",
    tag = "rooms",
    params(FindQuery, PageQuery),
    responses((status = 200, body = Page<Room>)),
)]
pub(super) async fn public(
    State(app): State<App>,
    LoggedIn(caller): LoggedIn,
    Query(find): Query<FindQuery>,
    Query(page): Query<PageQuery>,
) -> Result<axum::Json<Page<Room>>, Problem> {
    let (limit, after) = (page.limit()?, page.after_id()?);
    let database = app.database().await?;
    let rooms = store::public(&**database, caller.user, find.prefix(), after, limit).await?;
    Ok(Page::of(rooms, limit, |room| room.id.to_string()))
}

/// A room: a public one, or one of the own
#[utoipa::path(
    get,
    path = "/rooms/{id}",
    operation_id = "get_room",
    tag = "rooms",
    params(("id" = RoomId, Path)),
    responses((status = 200, body = Room)),
)]
pub(super) async fn room(
    State(app): State<App>,
    LoggedIn(caller): LoggedIn,
    Path(id): Path<RoomId>,
) -> Result<axum::Json<Room>, Problem> {
    Ok(axum::Json(rooms::get(&app, &caller, id).await?))
}

/// Become a member of a public room
///
/// Changes nothing for somebody who is one.
#[utoipa::path(
    post,
    path = "/rooms/{id}/join",
    operation_id = "join_room",
    tag = "members",
    params(("id" = RoomId, Path)),
    responses((status = 200, body = Room)),
)]
pub(super) async fn join(
    State(app): State<App>,
    LoggedIn(caller): LoggedIn,
    Path(id): Path<RoomId>,
) -> Result<axum::Json<Room>, Problem> {
    Ok(axum::Json(rooms::join(&app, &caller, id).await?))
}

/// End the own membership
#[utoipa::path(
    post,
    path = "/rooms/{id}/leave",
    operation_id = "leave_room",
    tag = "members",
    params(("id" = RoomId, Path)),
    responses(
        (status = 204, description = "It has ended"),
        (status = 409, description = "The last owner can't leave"),
    ),
)]
pub(super) async fn leave(
    State(app): State<App>,
    LoggedIn(caller): LoggedIn,
    Path(id): Path<RoomId>,
) -> Result<StatusCode, Problem> {
    rooms::leave(&app, &caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Who is in a room, by id
#[utoipa::path(
    get,
    path = "/rooms/{id}/members",
    operation_id = "room_members",
    tag = "members",
    params(("id" = RoomId, Path), PageQuery),
    responses((status = 200, body = Page<Member>)),
)]
pub(super) async fn members(
    State(app): State<App>,
    LoggedIn(caller): LoggedIn,
    Path(id): Path<RoomId>,
    Query(query): Query<PageQuery>,
) -> Result<axum::Json<Page<Member>>, Problem> {
    let (limit, after) = (query.limit()?, query.after_id()?);
    let members = rooms::members(&app, &caller, id, after, limit).await?;
    Ok(Page::of(members, limit, |member| member.user.id.to_string()))
}

/// Who is online.
#[derive(Serialize, ToSchema)]
pub(super) struct Presence {
    /// At most 1,000 of them.
    #[schema(max_items = 1000)]
    online: Vec<UserId>,
    /// All of them.
    count: usize,
}

/// Who is online in a room
#[utoipa::path(
    get,
    path = "/rooms/{id}/presence",
    operation_id = "room_presence",
    tag = "members",
    params(("id" = RoomId, Path)),
    responses((status = 200, body = Presence)),
)]
pub(super) async fn presence(
    State(app): State<App>,
    Known(caller): Known,
    Path(id): Path<RoomId>,
) -> Result<axum::Json<Presence>, Problem> {
    let (online, count) = presence::online(&app, &caller, id).await?;
    Ok(axum::Json(Presence { online, count }))
}

#[derive(Deserialize, ToSchema)]
#[schema(as = RoomChange)]
pub(super) struct Update {
    /// Stays as it is where absent.
    #[schema(min_length = 1, max_length = 64)]
    name: Option<String>,
    /// Stays as it is where absent.
    #[schema(max_length = 256)]
    topic: Option<String>,
}

/// Change a room: by an owner or admin
#[utoipa::path(
    patch,
    path = "/rooms/{id}",
    operation_id = "update_room",
    tag = "rooms",
    params(("id" = RoomId, Path)),
    request_body = Update,
    responses((status = 200, body = Room), (status = 409, description = "A public room with this name exists")),
)]
pub(super) async fn update(
    State(app): State<App>,
    LoggedIn(caller): LoggedIn,
    Path(id): Path<RoomId>,
    Json(body): Json<Update>,
) -> Result<axum::Json<Room>, Problem> {
    let room = rooms::update(&app, &caller, id, body.name.as_deref(), body.topic.as_deref()).await?;
    Ok(axum::Json(room))
}

/// Delete a room: by an owner
///
/// What was said in it is not to be had any more at once; messages and files are removed a while later.
#[utoipa::path(
    delete,
    path = "/rooms/{id}",
    operation_id = "delete_room",
    tag = "rooms",
    params(("id" = RoomId, Path)),
    responses((status = 204, description = "It is deleted")),
)]
pub(super) async fn delete(
    State(app): State<App>,
    LoggedIn(caller): LoggedIn,
    Path(id): Path<RoomId>,
) -> Result<StatusCode, Problem> {
    rooms::delete(&app, &caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, ToSchema)]
#[schema(as = MemberChange)]
pub(super) struct SetMember {
    role: Role,
}

/// Invite somebody, or change what they may do: by an owner or admin
///
/// Only owners make and unmake admins and owners. Open connections follow within a second.
#[utoipa::path(
    put,
    path = "/rooms/{id}/members/{user}",
    tag = "members",
    params(("id" = RoomId, Path), ("user" = UserId, Path)),
    request_body = SetMember,
    responses(
        (status = 200, body = Member),
        (status = 409, description = "The last owner can't become something else"),
    ),
)]
pub(super) async fn set_member(
    State(app): State<App>,
    LoggedIn(caller): LoggedIn,
    Path((id, user)): Path<(RoomId, UserId)>,
    Json(body): Json<SetMember>,
) -> Result<axum::Json<Member>, Problem> {
    Ok(axum::Json(rooms::set_member(&app, &caller, id, user, body.role).await?))
}

/// Kick somebody, or lift a ban: by an owner or admin
#[utoipa::path(
    delete,
    path = "/rooms/{id}/members/{user}",
    tag = "members",
    params(("id" = RoomId, Path), ("user" = UserId, Path)),
    responses(
        (status = 204, description = "They are out, or may come again"),
        (status = 409, description = "The last owner can't be removed"),
    ),
)]
pub(super) async fn remove_member(
    State(app): State<App>,
    LoggedIn(caller): LoggedIn,
    Path((id, user)): Path<(RoomId, UserId)>,
) -> Result<StatusCode, Problem> {
    rooms::remove_member(&app, &caller, id, user).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, ToSchema)]
#[schema(as = DirectRoom)]
pub(super) struct Direct {
    /// The other one.
    user: UserId,
}

/// The direct room with another user: the same one every time
#[utoipa::path(
    post,
    path = "/dms",
    operation_id = "direct_room",
    tag = "rooms",
    request_body = Direct,
    responses(
        (status = 200, body = Room, description = "It was there"),
        (status = 201, body = Room, description = "It is new"),
        (status = 404, description = "No such user"),
    ),
)]
pub(super) async fn direct(
    State(app): State<App>,
    LoggedIn(caller): LoggedIn,
    Json(body): Json<Direct>,
) -> Result<(StatusCode, axum::Json<Room>), Problem> {
    let (room, is_new) = rooms::direct(&app, &caller, body.user).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, axum::Json(room)))
}
