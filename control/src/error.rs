//! What a rule answers when it does not do what was asked. Knows no HTTP: `http::problem` translates.
//!
//! Each kind has a text for whoever asked; what went wrong inside is kept apart, for the log.

use std::collections::BTreeMap;

use tokio_postgres::error::SqlState;

/// See the module's text.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request can't be understood.
    #[error("{0}")]
    Malformed(String),
    /// Fields break rules: field to reason.
    #[error("a field breaks a rule")]
    Invalid(BTreeMap<&'static str, String>),
    /// Nobody is logged in, or the token is not good.
    #[error("{0}")]
    Unauthorized(&'static str),
    /// The right is missing.
    #[error("{0}")]
    Forbidden(&'static str),
    /// No such thing, or not visible.
    #[error("no such {0}")]
    NotFound(&'static str),
    /// It contradicts what is there.
    #[error("{0}")]
    Conflict(&'static str),
    /// More bytes than are taken.
    #[error("{0}")]
    TooLarge(&'static str),
    /// Slow down.
    #[error("too many requests")]
    RateLimited {
        /// When to try again.
        retry_after_s: u64,
    },
    /// Redis or Postgres is away.
    #[error("a server that this needs is away")]
    Unavailable(String),
    /// Whether it was done is not known.
    #[error("whether this was done is not known")]
    Unknown(String),
    /// A bug of ours.
    #[error("internal error")]
    Internal(String),
}

impl Error {
    /// One field breaks a rule.
    pub fn invalid(field: &'static str, reason: impl Into<String>) -> Self {
        Self::Invalid(BTreeMap::from([(field, reason.into())]))
    }
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        // An error of the server is our statement's fault, unless the server is on its way out or full, or chose
        // this transaction to end a deadlock.
        let class = error.code().map(|code| code.code().get(..2).unwrap_or_default().to_owned());
        let text = error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string);
        if error.code() == Some(&SqlState::CHARACTER_NOT_IN_REPERTOIRE) {
            return Self::Malformed("U+0000 is not allowed in texts".to_owned());
        }
        // It went away while it was asked for.
        if error.code() == Some(&SqlState::FOREIGN_KEY_VIOLATION) {
            return Self::NotFound("room or user");
        }
        match class.as_deref() {
            None | Some("08" | "53" | "57" | "25" | "40") => Self::Unavailable(format!("Postgres: {text}")),
            Some(_) => Self::Internal(format!("Postgres: {text}")),
        }
    }
}

impl From<deadpool_postgres::PoolError> for Error {
    fn from(error: deadpool_postgres::PoolError) -> Self {
        Self::Unavailable(format!("Postgres: {error}"))
    }
}

impl From<redis::RedisError> for Error {
    fn from(error: redis::RedisError) -> Self {
        Self::Unavailable(format!("Redis: {error}"))
    }
}
