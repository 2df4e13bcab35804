//! What every request can reach: pools, Redis, keys, settings.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use deadpool_postgres::{Object, Pool};
use hubbub_common::clock::Monotonic;
use hubbub_common::redis::Commands;
use hubbub_common::token::{Signer, Verifier};
use metrics_exporter_prometheus::PrometheusHandle;

use crate::config::Config;
use crate::error::Error;
use crate::password::Passwords;
use crate::publish::Publisher;
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
    /// Connections to a replica, where there is one.
    pub read_pool: Option<Pool>,
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
    pub persister: PersisterStatus,
    /// Since the start.
    pub clock: Monotonic,
}

/// What the persister tells about itself.
#[derive(Debug, Default)]
pub struct PersisterStatus {
    leader: AtomicBool,
    lag: AtomicU64,
}

impl PersisterStatus {
    /// Notes whether this instance writes.
    pub fn set_leader(&self, leader: bool) {
        self.leader.store(leader, Ordering::Relaxed);
        metrics::gauge!(hubbub_common::metrics::PERSISTER_LEADER.name).set(if leader { 1.0 } else { 0.0 });
    }

    /// Whether this instance writes.
    pub fn is_leader(&self) -> bool {
        self.leader.load(Ordering::Relaxed)
    }

    /// Notes how many entries wait to be persisted.
    pub fn set_lag(&self, entries: u64) {
        self.lag.store(entries, Ordering::Relaxed);
    }

    /// How many entries wait to be persisted.
    pub fn lag(&self) -> u64 {
        self.lag.load(Ordering::Relaxed)
    }
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

    /// A connection for history: to the replica, where there is one that answers.
    pub async fn read_database(&self) -> Result<Object, Error> {
        if let Some(pool) = &self.read_pool
            && let Ok(connection) = pool.get().await
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
