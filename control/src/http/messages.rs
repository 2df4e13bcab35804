//! `/rooms/{id}/messages` and `/rooms/{id}/read`.

use axum::extract::State;
use axum::http::StatusCode;
use hubbub_common::ids::{MessageId, RoomId};
use hubbub_common::protocol::MessageKind;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::{Json, Known, Path, Query};
use super::page::{HistoryQuery, Page, SearchQuery, is_full, limit};
use super::problem::Problem;
use crate::app::App;
use crate::messages::{self, Draft};
use crate::search;
use crate::store::messages::{Message, Page as Part};

/// History, newest last
///
/// Without `before` and `after`, the newest messages. `next` is what to send as `before`, or as `after` where that was
/// sent, to go on in the same direction. Edits, deletions and reactions are folded in.
#[utoipa::path(
    get,
    path = "/rooms/{id}/messages",
    tag = "messages",
    params(("id" = RoomId, Path), HistoryQuery),
    responses((status = 200, body = Page<Message>)),
)]
pub(super) async fn history(
    State(app): State<App>,
    Known(caller): Known,
    Path(id): Path<RoomId>,
    Query(query): Query<HistoryQuery>,
) -> Result<axum::Json<Page<Message>>, Problem> {
    let limit = limit(query.limit)?;
    let part = match (query.after, query.before) {
        (None, None) => Part::Newest,
        (None, Some(before)) => Part::Before(before),
        (Some(after), None) => Part::After(after),
        (Some(after), Some(before)) => Part::Between(after, before),
    };
    let items = messages::history(&app, &caller, id, part, limit).await?;
    // The id from which to go on in the same direction, where there may be more.
    let edge = match part {
        Part::Newest | Part::Before(_) => items.first(),
        Part::After(_) | Part::Between(..) => items.last(),
    };
    let next = edge.filter(|_| is_full(&items, limit)).map(|message| message.id.to_string());
    Ok(axum::Json(Page { items, next }))
}

/// Find messages by their words, newest first
///
/// In a room so large that it takes longer than `HUBBUB_SEARCH_MS`, an answer has what was found by then, perhaps
/// nothing, and a `next` to go on from.
#[utoipa::path(
    get,
    path = "/rooms/{id}/search",
    operation_id = "search_messages",
    tag = "messages",
    params(("id" = RoomId, Path), SearchQuery),
    responses((status = 200, body = Page<Message>)),
)]
pub(super) async fn search(
    State(app): State<App>,
    Known(caller): Known,
    Path(id): Path<RoomId>,
    Query(query): Query<SearchQuery>,
) -> Result<axum::Json<Page<Message>>, Problem> {
    let limit = usize::try_from(limit(query.limit)?).unwrap_or_default();
    let found = search::search(&app, &caller, id, &query.q, query.cursor, limit).await?;
    Ok(axum::Json(Page { items: found.messages, next: found.next.map(|id| id.to_string()) }))
}

#[derive(Deserialize, ToSchema)]
#[schema(as = MessageDraft)]
pub(super) struct Send {
    /// Text, or of an image: the URL of an upload or any `https` URL. At most `HUBBUB_BODY_BYTES_MAX` bytes (4,096).
    #[schema(min_length = 1)]
    body: String,
    /// Chosen by the client, at most 64 bytes: the same one again within the resume window stores nothing, and answers the
    /// first message.
    #[schema(min_length = 1, max_length = 64)]
    nonce: Option<String>,
    /// `text` unless said otherwise; `system` is refused.
    #[serde(default)]
    kind: MessageKind,
    /// The message that this one answers.
    reply_to: Option<MessageId>,
}

/// An event that is stored in the room's stream.
#[derive(Serialize, ToSchema)]
pub(super) struct Stored {
    id: MessageId,
    /// Unix milliseconds.
    ts: u64,
}

impl Stored {
    fn event(id: MessageId) -> axum::Json<Self> {
        axum::Json(Self { id, ts: id.ts() })
    }
}

/// Send a message without a WebSocket
///
/// It takes the same way as one that comes by WebSocket. An answer of 503 means that it was not stored; after a 500, or no
/// answer at all, send it again with the same `nonce`.
#[utoipa::path(
    post,
    path = "/rooms/{id}/messages",
    operation_id = "send_message",
    tag = "messages",
    params(("id" = RoomId, Path)),
    request_body = Send,
    responses((status = 201, body = Stored)),
)]
pub(super) async fn send(
    State(app): State<App>,
    Known(caller): Known,
    Path(id): Path<RoomId>,
    Json(body): Json<Send>,
) -> Result<(StatusCode, axum::Json<Stored>), Problem> {
    let draft = Draft { body: body.body, nonce: body.nonce, kind: body.kind, reply_to: body.reply_to };
    let id = messages::send(&app, &caller, id, draft).await?;
    Ok((StatusCode::CREATED, Stored::event(id)))
}

#[derive(Deserialize, ToSchema)]
#[schema(as = MessageChange)]
pub(super) struct Edit {
    /// At most `HUBBUB_BODY_BYTES_MAX` bytes (4,096).
    #[schema(min_length = 1)]
    body: String,
}

/// Edit an own message
///
/// Answers the id of the edit, an event of its own.
#[utoipa::path(
    patch,
    path = "/rooms/{id}/messages/{msg}",
    operation_id = "edit_message",
    tag = "messages",
    params(("id" = RoomId, Path), ("msg" = MessageId, Path)),
    request_body = Edit,
    responses((status = 200, body = Stored)),
)]
pub(super) async fn edit(
    State(app): State<App>,
    Known(caller): Known,
    Path((id, msg)): Path<(RoomId, MessageId)>,
    Json(body): Json<Edit>,
) -> Result<axum::Json<Stored>, Problem> {
    Ok(Stored::event(messages::edit(&app, &caller, id, msg, &body.body).await?))
}

/// Delete a message: by its author, or an owner or admin of the room
#[utoipa::path(
    delete,
    path = "/rooms/{id}/messages/{msg}",
    operation_id = "delete_message",
    tag = "messages",
    params(("id" = RoomId, Path), ("msg" = MessageId, Path)),
    responses((status = 200, body = Stored)),
)]
pub(super) async fn delete(
    State(app): State<App>,
    Known(caller): Known,
    Path((id, msg)): Path<(RoomId, MessageId)>,
) -> Result<axum::Json<Stored>, Problem> {
    Ok(Stored::event(messages::delete(&app, &caller, id, msg).await?))
}

#[derive(Deserialize, ToSchema)]
#[schema(as = ReadPosition)]
pub(super) struct Read {
    /// The newest event that was read.
    id: MessageId,
}

/// Note how far the room is read
///
/// An older position than the one known changes nothing.
#[utoipa::path(
    put,
    path = "/rooms/{id}/read",
    operation_id = "note_read",
    tag = "messages",
    params(("id" = RoomId, Path)),
    request_body = Read,
    responses((status = 204, description = "It is noted")),
)]
pub(super) async fn read(
    State(app): State<App>,
    Known(caller): Known,
    Path(id): Path<RoomId>,
    Json(body): Json<Read>,
) -> Result<StatusCode, Problem> {
    messages::read(&app, &caller, id, body.id).await?;
    Ok(StatusCode::NO_CONTENT)
}
