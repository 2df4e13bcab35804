//! History, and messages sent by REST.

use std::borrow::Cow;

use hubbub_common::entry::Record;
use hubbub_common::ids::{MessageId, RoomId, UserId};
use hubbub_common::limits::NONCE_BYTES_MAX;
use hubbub_common::protocol::MessageKind;
use hubbub_common::traces::child;
use opentelemetry::trace::SpanKind;

use crate::app::App;
use crate::auth::Caller;
use crate::error::Error;
use crate::rate::{self, SEND_PER_USER};
use crate::rooms;
use crate::store::messages::{self, Message, Page};
use crate::uploads;

/// A message to send.
#[derive(Debug, Clone)]
pub struct Draft {
    /// What.
    pub body: String,
    /// Makes it idempotent.
    pub nonce: Option<String>,
    /// What it is.
    pub kind: MessageKind,
    /// The message that it answers.
    pub reply_to: Option<MessageId>,
}

/// A page of a room's history, newest last.
pub async fn history(
    app: &App,
    caller: &Caller,
    room: RoomId,
    page: Page,
    limit: i64,
) -> Result<Vec<Message>, Error> {
    rooms::role(app, caller, room).await?;
    let database = app.read_database().await?;
    messages::page(&database, room, page, limit).await
}

/// Sends a message through the room's stream.
pub async fn send(app: &App, caller: &Caller, room: RoomId, draft: Draft) -> Result<MessageId, Error> {
    check_body(app, &draft.body)?;
    if draft.nonce.as_ref().is_some_and(|nonce| nonce.contains('\0')) {
        return Err(Error::invalid("nonce", "U+0000 is not allowed"));
    }
    if draft.nonce.as_ref().is_some_and(|nonce| nonce.is_empty() || nonce.len() > NONCE_BYTES_MAX) {
        return Err(Error::invalid("nonce", format!("expected 1 to {NONCE_BYTES_MAX} bytes")));
    }
    if draft.kind == MessageKind::System {
        return Err(Error::invalid("kind", "expected text or image"));
    }
    let role = child(SpanKind::Internal, "rights", Vec::new, rooms::role(app, caller, room)).await?;
    if !role.may_send() {
        return Err(Error::Forbidden("you may not send to this room"));
    }
    rate::take(&app.redis, SEND_PER_USER, &caller.user.to_string()).await?;
    if draft.kind == MessageKind::Image {
        uploads::check_image(app, &draft.body).await?;
    }
    let record = Record::Message {
        room,
        from: caller.user,
        name: Cow::Borrowed(&caller.name),
        kind: draft.kind,
        body: draft.body.into(),
        nonce: draft.nonce.map(Cow::Owned),
        reply_to: draft.reply_to,
    };
    app.publisher.append(&app.redis, &record).await
}

/// Gives a message of the caller's a new body.
pub async fn edit(
    app: &App,
    caller: &Caller,
    room: RoomId,
    msg: MessageId,
    body: &str,
) -> Result<MessageId, Error> {
    check_body(app, body)?;
    if !rooms::role(app, caller, room).await?.may_send() {
        return Err(Error::Forbidden("you may not send to this room"));
    }
    if author(app, room, msg).await? != caller.user {
        return Err(Error::Forbidden("only who wrote a message may edit it"));
    }
    rate::take(&app.redis, SEND_PER_USER, &caller.user.to_string()).await?;
    let record = Record::Edited { room, from: caller.user, msg, body: body.into() };
    app.publisher.append(&app.redis, &record).await
}

/// Takes back a message of the caller's, or of anybody's in a room where they are an admin.
pub async fn delete(app: &App, caller: &Caller, room: RoomId, msg: MessageId) -> Result<MessageId, Error> {
    let role = rooms::role(app, caller, room).await?;
    if author(app, room, msg).await? != caller.user && !role.is_admin() {
        return Err(Error::Forbidden("only who wrote a message may delete it, or an admin of the room"));
    }
    rate::take(&app.redis, SEND_PER_USER, &caller.user.to_string()).await?;
    let record = Record::Deleted { room, from: caller.user, msg };
    app.publisher.append(&app.redis, &record).await
}

/// Who wrote a message: Postgres knows, or the stream while it is on its way there.
async fn author(app: &App, room: RoomId, msg: MessageId) -> Result<UserId, Error> {
    let database = app.database().await?;
    let persisted = messages::author(&**database, room, msg).await?;
    drop(database);
    let author = match persisted {
        Some((author, deleted)) => (!deleted).then_some(author),
        None => app.publisher.author(&app.redis, room, msg).await?,
    };
    author.ok_or(Error::NotFound("message"))
}

fn check_body(app: &App, body: &str) -> Result<(), Error> {
    let body_bytes_max = app.config.shared.body_bytes_max as usize;
    if body.is_empty() || body.len() > body_bytes_max {
        return Err(Error::invalid("body", format!("expected 1 to {body_bytes_max} bytes")));
    }
    if body.contains('\0') {
        return Err(Error::invalid("body", "U+0000 is not allowed"));
    }
    Ok(())
}

/// Notes how far the caller has read.
pub async fn read(app: &App, caller: &Caller, room: RoomId, msg: MessageId) -> Result<(), Error> {
    rooms::role(app, caller, room).await?;
    let record = Record::Read { room, from: caller.user, msg, connection: 0 };
    app.publisher.append(&app.redis, &record).await?;
    Ok(())
}
