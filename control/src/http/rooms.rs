//! `/rooms` and `/dms`.

use axum::extract::State;
use axum::http::StatusCode;
use hubbub_common::ids::{RoomId, UserId};
use hubbub_common::protocol::Role;
use serde::Deserialize;
use serde_json::json;

use super::extract::{Json, ListQuery, LoggedIn, Path, Query, list};
use super::problem::Problem;
use crate::app::App;
use crate::store::rooms::{self as store, Kind, Room};
use crate::{presence, rooms};

#[derive(Deserialize)]
pub(super) struct Create {
    name: String,
    kind: Kind,
    #[serde(default)]
    topic: String,
}

pub(super) async fn create(
    State(app): State<App>,
    LoggedIn(caller): LoggedIn,
    Json(body): Json<Create>,
) -> Result<(StatusCode, axum::Json<Room>), Problem> {
    let room = rooms::create(&app, &caller, &body.name, body.kind, &body.topic).await?;
    Ok((StatusCode::CREATED, axum::Json(room)))
}

pub(super) async fn mine(
    State(app): State<App>,
    LoggedIn(caller): LoggedIn,
    Query(query): Query<ListQuery>,
) -> Result<axum::Json<serde_json::Value>, Problem> {
    let (limit, after) = (query.limit()?, query.after_id()?);
    let database = app.database().await?;
    let rooms = store::of_user(&**database, caller.user, after, limit).await?;
    Ok(list(&rooms, limit, |room| room.id.to_string()))
}

pub(super) async fn public(
    State(app): State<App>,
    LoggedIn(caller): LoggedIn,
    Query(query): Query<ListQuery>,
) -> Result<axum::Json<serde_json::Value>, Problem> {
    let (limit, after) = (query.limit()?, query.after_id()?);
    let prefix = query.query.as_deref().unwrap_or_default();
    let database = app.database().await?;
    let rooms = store::public(&**database, caller.user, prefix, after, limit).await?;
    Ok(list(&rooms, limit, |room| room.id.to_string()))
}

pub(super) async fn get(
    State(app): State<App>,
    LoggedIn(caller): LoggedIn,
    Path(id): Path<RoomId>,
) -> Result<axum::Json<Room>, Problem> {
    Ok(axum::Json(rooms::get(&app, &caller, id).await?))
}

pub(super) async fn join(
    State(app): State<App>,
    LoggedIn(caller): LoggedIn,
    Path(id): Path<RoomId>,
) -> Result<axum::Json<Room>, Problem> {
    Ok(axum::Json(rooms::join(&app, &caller, id).await?))
}

pub(super) async fn leave(
    State(app): State<App>,
    LoggedIn(caller): LoggedIn,
    Path(id): Path<RoomId>,
) -> Result<StatusCode, Problem> {
    rooms::leave(&app, &caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn members(
    State(app): State<App>,
    LoggedIn(caller): LoggedIn,
    Path(id): Path<RoomId>,
    Query(query): Query<ListQuery>,
) -> Result<axum::Json<serde_json::Value>, Problem> {
    let (limit, after) = (query.limit()?, query.after_id()?);
    let members = rooms::members(&app, &caller, id, after, limit).await?;
    Ok(list(&members, limit, |member| member.user.id.to_string()))
}

pub(super) async fn presence(
    State(app): State<App>,
    LoggedIn(caller): LoggedIn,
    Path(id): Path<RoomId>,
) -> Result<axum::Json<serde_json::Value>, Problem> {
    let (online, count) = presence::online(&app, &caller, id).await?;
    Ok(axum::Json(json!({ "online": online, "count": count })))
}

#[derive(Deserialize)]
pub(super) struct Update {
    name: Option<String>,
    topic: Option<String>,
}

pub(super) async fn update(
    State(app): State<App>,
    LoggedIn(caller): LoggedIn,
    Path(id): Path<RoomId>,
    Json(body): Json<Update>,
) -> Result<axum::Json<Room>, Problem> {
    let room = rooms::update(&app, &caller, id, body.name.as_deref(), body.topic.as_deref()).await?;
    Ok(axum::Json(room))
}

pub(super) async fn delete(
    State(app): State<App>,
    LoggedIn(caller): LoggedIn,
    Path(id): Path<RoomId>,
) -> Result<StatusCode, Problem> {
    rooms::delete(&app, &caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
pub(super) struct SetMember {
    role: Role,
}

pub(super) async fn set_member(
    State(app): State<App>,
    LoggedIn(caller): LoggedIn,
    Path((id, user)): Path<(RoomId, UserId)>,
    Json(body): Json<SetMember>,
) -> Result<axum::Json<store::Member>, Problem> {
    Ok(axum::Json(rooms::set_member(&app, &caller, id, user, body.role).await?))
}

pub(super) async fn remove_member(
    State(app): State<App>,
    LoggedIn(caller): LoggedIn,
    Path((id, user)): Path<(RoomId, UserId)>,
) -> Result<StatusCode, Problem> {
    rooms::remove_member(&app, &caller, id, user).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
pub(super) struct Direct {
    user: UserId,
}

pub(super) async fn direct(
    State(app): State<App>,
    LoggedIn(caller): LoggedIn,
    Json(body): Json<Direct>,
) -> Result<(StatusCode, axum::Json<Room>), Problem> {
    let (room, is_new) = rooms::direct(&app, &caller, body.user).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, axum::Json(room)))
}
