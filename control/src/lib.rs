//! The Hubbub control plane: accounts, rooms and history over REST, and the batch writer that puts the streams
//! into Postgres.
//!
//! `http` translates, the modules beside it hold the rules and know no HTTP, `store` holds the SQL.

// The future that starts everything holds futures a good hundred deep.
#![recursion_limit = "256"]

pub mod accounts;
pub mod answers;
pub mod app;
pub mod auth;
pub mod bans;
pub mod changes;
pub mod config;
pub mod database;
pub mod error;
pub mod http;
pub mod janitor;
pub mod membership;
pub mod messages;
pub mod migrate;
pub mod operators;
pub mod origin;
pub mod password;
pub mod persister;
pub mod presence;
pub mod publish;
pub mod purge;
pub mod rate;
pub mod replica;
pub mod roll;
pub mod room;
pub mod rooms;
pub mod search;
pub mod serve;
pub mod store;
pub mod token;
pub mod uploads;
pub mod user;

use hubbub_common::redis::start::Refusal;
use hubbub_common::settings::SettingError;

/// Why a command did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// A setting is no good.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// An argument is no good.
    #[error("{0}")]
    Argument(String),
    /// A server is away, or refused; the text says what to do.
    #[error("{0}")]
    Other(String),
}

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Setting(error) => Self::Setting(error),
            Refusal::Server(problem) => Self::Other(problem),
        }
    }
}
