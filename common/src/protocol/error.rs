//! What the server answers to a request that it does not carry out.

use serde::{Deserialize, Serialize};

use super::{Event, Ref};

/// The `code` of an `error` event and of `application/problem+json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// Not a JSON object.
    BadJson,
    /// A field is missing, has the wrong type, or breaks a rule.
    BadRequest,
    /// No such `op`.
    UnknownOp,
    /// The right is missing.
    Forbidden,
    /// No such thing, or not visible.
    NotFound,
    /// The room was not joined on this connection.
    NotJoined,
    /// The body is too long.
    TooLarge,
    /// Slow down; `retry_after_ms` says for how long.
    RateLimited,
    /// Not stored; send it again.
    Unavailable,
    /// A bug of ours, or an outcome that can't be known: repeat with the same nonce.
    Internal,
}

impl ErrorCode {
    /// Every code, for tests that enumerate them.
    pub const ALL: [Self; 10] = [
        Self::BadJson,
        Self::BadRequest,
        Self::UnknownOp,
        Self::Forbidden,
        Self::NotFound,
        Self::NotJoined,
        Self::TooLarge,
        Self::RateLimited,
        Self::Unavailable,
        Self::Internal,
    ];

    /// The word on the wire, and the label in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadJson => "bad_json",
            Self::BadRequest => "bad_request",
            Self::UnknownOp => "unknown_op",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::NotJoined => "not_joined",
            Self::TooLarge => "too_large",
            Self::RateLimited => "rate_limited",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }

    /// Whether the request itself was malformed: ten of those in ten seconds end a connection.
    pub fn is_malformed(self) -> bool {
        matches!(self, Self::BadJson | Self::BadRequest | Self::UnknownOp)
    }
}

/// A request that is not carried out, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The request's `ref`, when it could be read.
    pub reference: Option<Ref>,
    /// The kind of error.
    pub code: ErrorCode,
    /// For people.
    pub message: String,
    /// When to try again.
    pub retry_after_ms: Option<u64>,
}

impl Refusal {
    /// Without a time to try again.
    pub fn new(reference: Option<Ref>, code: ErrorCode, message: impl Into<String>) -> Self {
        Self { reference, code, message: message.into(), retry_after_ms: None }
    }

    /// With a time to try again.
    #[must_use]
    pub fn retry_after_ms(mut self, ms: u64) -> Self {
        self.retry_after_ms = Some(ms);
        self
    }

    /// As the `error` event.
    pub fn event(&self) -> Event<'_> {
        Event::Error {
            reference: self.reference.as_ref(),
            code: self.code,
            message: &self.message,
            retry_after_ms: self.retry_after_ms,
        }
    }
}
