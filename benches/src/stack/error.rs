//! Why a stack, or a part of it, did not do as told.

use std::io;

use thiserror::Error;

/// See the module's text.
#[derive(Debug, Error)]
pub enum StackError {
    /// A program is not there.
    #[error("{name} is missing: {remedy}")]
    Missing {
        /// Which.
        name: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// A part did not come up, or did not go.
    #[error("{part} {problem}; the last lines of {log}:\n{tail}")]
    Part {
        /// Its name.
        part: String,
        /// What happened.
        problem: String,
        /// Where its log is.
        log: String,
        /// The log's end.
        tail: String,
    },
    /// The machine refused something.
    #[error("{what}: {error}")]
    Io {
        /// What was tried.
        what: String,
        /// Why not.
        error: io::Error,
    },
    /// Every port was taken.
    #[error("no free port")]
    NoPort,
}

impl StackError {
    /// For `map_err`: says what was tried.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |error| Self::Io { what, error }
    }

    /// Whether a part ended because somebody else had its port; every program of a stack says so in these words.
    pub fn is_port_taken(&self) -> bool {
        matches!(self, Self::Part { tail, .. } if tail.to_lowercase().contains("address already in use"))
    }
}
