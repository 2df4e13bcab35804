//! What every request can reach: pools, Redis, keys, settings.

use std::sync::Arc;

use deadpool_postgres::{Object, Pool};
use hubbub_common::clock::Monotonic;
use hubbub_common::redis::Commands;
use hubbub_common::token::{Signer, Verifier};
use metrics_exporter_prometheus::PrometheusHandle;

use crate::config::Config;
use crate::error::Error;
use crate::password::Passwords;
use crate::persister;
use crate::publish::Publisher;
use crate::replica::Replica;
use crate::uploads::Store;

/// See the module's text. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Parts>);

/// The parts of an [`App`].
pub struct Parts {
    /// The settings.
    pub config: Config,
    /// Connections to Postgres.
    pub pool: Pool,
    /// A replica for history, where there is one.
    pub replica: Option<Replica>,
    /// Connections to Redis; reconnect by themselves.
    pub redis: Commands,
    /// Signs tickets.
    pub signer: Signer,
    /// Checks tickets.
    pub verifier: Verifier,
    /// Hashes passwords.
    pub passwords: Passwords,
    /// Appends to the streams.
    pub publisher: Publisher,
    /// What `/metrics` shows.
    pub metrics: PrometheusHandle,
    /// Where uploaded files are.
    pub uploads: Store,
    /// What the persister tells.
    pub persister: persister::Status,
    /// Since the start.
    pub clock: Monotonic,
}

impl App {
    /// From its parts.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// A connection to Postgres.
    pub async fn database(&self) -> Result<Object, Error> {
        Ok(self.pool.get().await?)
    }

    /// A connection for history: to the replica, where there is one that answers and is fresh enough.
    pub async fn read_database(&self) -> Result<Object, Error> {
        if let Some(replica) = &self.replica
            && let Some(connection) = replica.connection().await
        {
            return Ok(connection);
        }
        self.database().await
    }
}

impl std::ops::Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}
