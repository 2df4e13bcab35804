//! `/rooms/{id}/messages` and `/rooms/{id}/read`.

use axum::extract::State;
use axum::http::StatusCode;
use hubbub_common::ids::{MessageId, RoomId};
use hubbub_common::protocol::MessageKind;
use serde::Deserialize;
use serde_json::json;

use super::extract::{Json, LoggedIn, Path, Query, limit, list};
use super::problem::Problem;
use crate::app::App;
use crate::messages::{self, Draft};
use crate::store::messages::Page;

#[derive(Deserialize)]
pub(super) struct HistoryQuery {
    before: Option<MessageId>,
    after: Option<MessageId>,
    limit: Option<i64>,
}

pub(super) async fn history(
    State(app): State<App>,
    LoggedIn(caller): LoggedIn,
    Path(room): Path<RoomId>,
    Query(query): Query<HistoryQuery>,
) -> Result<axum::Json<serde_json::Value>, Problem> {
    let limit = limit(query.limit)?;
    let page = match (query.after, query.before) {
        (None, None) => Page::Newest,
        (None, Some(before)) => Page::Before(before),
        (Some(after), None) => Page::After(after),
        (Some(after), Some(before)) => Page::Between(after, before),
    };
    let items = messages::history(&app, &caller, room, page, limit).await?;
    // The id from which to go on in the same direction, where there may be more.
    let full = i64::try_from(items.len()).is_ok_and(|len| len >= limit);
    let edge = match page {
        Page::Newest | Page::Before(_) => items.first(),
        Page::After(_) | Page::Between(..) => items.last(),
    };
    let next = edge.filter(|_| full).map(|message| message.id);
    Ok(axum::Json(json!({ "items": items, "next": next })))
}

#[derive(Deserialize)]
pub(super) struct SearchQuery {
    q: String,
    limit: Option<i64>,
    cursor: Option<MessageId>,
}

pub(super) async fn search(
    State(app): State<App>,
    LoggedIn(caller): LoggedIn,
    Path(room): Path<RoomId>,
    Query(query): Query<SearchQuery>,
) -> Result<axum::Json<serde_json::Value>, Problem> {
    let limit = limit(query.limit)?;
    let found = messages::search(&app, &caller, room, &query.q, query.cursor, limit).await?;
    Ok(list(&found, limit, |message| message.id.to_string()))
}

#[derive(Deserialize)]
pub(super) struct Send {
    body: String,
    nonce: Option<String>,
    #[serde(default)]
    kind: MessageKind,
    reply_to: Option<MessageId>,
}

pub(super) async fn send(
    State(app): State<App>,
    LoggedIn(caller): LoggedIn,
    Path(room): Path<RoomId>,
    Json(body): Json<Send>,
) -> Result<(StatusCode, axum::Json<serde_json::Value>), Problem> {
    let draft = Draft { body: body.body, nonce: body.nonce, kind: body.kind, reply_to: body.reply_to };
    let id = messages::send(&app, &caller, room, draft).await?;
    Ok((StatusCode::CREATED, axum::Json(json!({ "id": id, "ts": id.ts() }))))
}

#[derive(Deserialize)]
pub(super) struct Edit {
    body: String,
}

pub(super) async fn edit(
    State(app): State<App>,
    LoggedIn(caller): LoggedIn,
    Path((room, msg)): Path<(RoomId, MessageId)>,
    Json(body): Json<Edit>,
) -> Result<axum::Json<serde_json::Value>, Problem> {
    let id = messages::edit(&app, &caller, room, msg, &body.body).await?;
    Ok(axum::Json(json!({ "id": id, "ts": id.ts() })))
}

pub(super) async fn delete(
    State(app): State<App>,
    LoggedIn(caller): LoggedIn,
    Path((room, msg)): Path<(RoomId, MessageId)>,
) -> Result<axum::Json<serde_json::Value>, Problem> {
    let id = messages::delete(&app, &caller, room, msg).await?;
    Ok(axum::Json(json!({ "id": id, "ts": id.ts() })))
}

#[derive(Deserialize)]
pub(super) struct Read {
    id: MessageId,
}

pub(super) async fn read(
    State(app): State<App>,
    LoggedIn(caller): LoggedIn,
    Path(room): Path<RoomId>,
    Json(body): Json<Read>,
) -> Result<StatusCode, Problem> {
    messages::read(&app, &caller, room, body.id).await?;
    Ok(StatusCode::NO_CONTENT)
}
