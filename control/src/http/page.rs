//! Lists, a page at a time: `limit` and `cursor` of a request, `items` and `next` of its answer.

use axum::Json;
use hubbub_common::ids::{MessageId, UserId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::error::Error;

/// Items on a page, at most and unless asked otherwise.
const LIMIT_MAX: i64 = 200;
const LIMIT: i64 = 50;

/// A part of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    /// What to send as `cursor` for the part after this one; null at the end.
    #[schema(required)]
    pub(super) next: Option<String>,
}

impl<T> Page<T> {
    /// All that there is.
    pub(super) fn whole(items: Vec<T>) -> Json<Self> {
        Json(Self { items, next: None })
    }

    /// What was found, going on behind the last one where the page is full.
    pub(super) fn of(items: Vec<T>, limit: i64, cursor: impl Fn(&T) -> String) -> Json<Self> {
        let next = items.last().filter(|_| is_full(&items, limit)).map(cursor);
        Json(Self { items, next })
    }
}

/// Whether there may be more than was found.
pub(super) fn is_full<T>(items: &[T], limit: i64) -> bool {
    i64::try_from(items.len()).is_ok_and(|len| len >= limit)
}

/// `limit`, checked.
pub(super) fn limit(asked: Option<i64>) -> Result<i64, Error> {
    match asked {
        None => Ok(LIMIT),
        Some(limit @ 1..=LIMIT_MAX) => Ok(limit),
        Some(_) => Err(Error::invalid("limit", format!("expected 1 to {LIMIT_MAX}"))),
    }
}

/// Which part of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// How many, 50 unless asked otherwise.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<i64>,
    /// The `next` of the page before.
    pub(super) cursor: Option<String>,
}

impl PageQuery {
    pub(super) fn limit(&self) -> Result<i64, Error> {
        limit(self.limit)
    }

    /// A cursor that is an id; the beginning where there is none.
    pub(super) fn after_id(&self) -> Result<i64, Error> {
        after_id(self.cursor.as_ref())
    }
}

/// Of what, beside a [`PageQuery`].
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct FindQuery {
    /// Only what is named so, or begins so, without regard to case.
    query: Option<String>,
}

impl FindQuery {
    /// How the names have to begin.
    pub(super) fn prefix(&self) -> &str {
        self.query.as_deref().unwrap_or_default()
    }
}

/// Which part of a history.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct HistoryQuery {
    /// Only older messages: the newest of these, unless there is `after` too.
    pub(super) before: Option<MessageId>,
    /// Only newer messages: the oldest of these.
    pub(super) after: Option<MessageId>,
    /// How many, 50 unless asked otherwise.
    #[param(minimum = 1, maximum = 200)]
    pub(super) limit: Option<i64>,
}

/// Which words, and which part of what has them.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct SearchQuery {
    /// Words. Quotes make a phrase, `or` and `-word` are understood.
    #[param(min_length = 1, max_length = 256)]
    pub(super) q: String,
    /// How many, 50 unless asked otherwise.
    #[param(minimum = 1, maximum = 200)]
    pub(super) limit: Option<i64>,
    /// The `next` of the page before.
    pub(super) cursor: Option<MessageId>,
}

/// Which part of the audit log.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct AuditQuery {
    /// Only what this user did.
    pub(super) actor: Option<UserId>,
    /// Only this kind of act, such as `login`.
    pub(super) action: Option<String>,
    /// How many, 50 unless asked otherwise.
    #[param(minimum = 1, maximum = 200)]
    pub(super) limit: Option<i64>,
    /// The `next` of the page before.
    pub(super) cursor: Option<String>,
}

fn after_id(cursor: Option<&String>) -> Result<i64, Error> {
    let parse = |cursor: &String| cursor.parse::<i64>().ok().filter(|id| *id >= 0);
    cursor.map_or(Ok(0), |cursor| parse(cursor).ok_or_else(bad_cursor))
}

pub(super) fn bad_cursor() -> Error {
    Error::Malformed("cursor: expected the `next` of a page before".to_owned())
}
