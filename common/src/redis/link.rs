//! One connection, made when it is needed and let go when it broke.
//!
//! However many commands want it at once, one attempt at a time is made, and all of them hear how it went: a
//! server that is away costs each of them one wait, not one after the other.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisResult};

use super::CONNECT_MAX;
use super::servers::Servers;
use crate::redis_url::Address;

type Attempt = Shared<BoxFuture<'static, RedisResult<MultiplexedConnection>>>;

/// Whom to connect to.
#[derive(Clone)]
pub(super) enum Dial {
    /// Whoever takes every command now.
    Primary(Servers),
    /// This node of a Cluster.
    Node(Servers, Address),
}

impl Dial {
    /// Connects; `response_max` is how long a command may take, `None` for blocking ones.
    pub(super) async fn connect(self, response_max: Option<Duration>) -> RedisResult<MultiplexedConnection> {
        let client = match &self {
            Self::Primary(servers) => servers.primary().await?,
            Self::Node(servers, address) => servers.client_of(address)?,
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_MAX))
            .set_response_timeout(response_max);
        client.get_multiplexed_async_connection_with_config(&config).await
    }
}

/// See the module's text.
pub(super) struct Link {
    dial: Dial,
    response_max: Option<Duration>,
    current: Mutex<Current>,
}

/// Numbers connections, so that each can be told from all others of the process.
static CONNECTIONS: AtomicU64 = AtomicU64::new(0);

#[derive(Default)]
struct Current {
    connection_id: u64,
    attempt: Option<Attempt>,
}

impl Link {
    pub(super) fn new(dial: Dial, response_max: Option<Duration>) -> Self {
        Self { dial, response_max, current: Mutex::default() }
    }

    /// The connection, and the id by which to forget it.
    pub(super) async fn get(&self) -> RedisResult<(u64, MultiplexedConnection)> {
        let (connection_id, attempt) = self.attempt();
        let outcome = attempt.await;
        if outcome.is_err() {
            self.forget(connection_id);
        }
        outcome.map(|connection| (connection_id, connection))
    }

    /// The present connection or attempt, or a new one.
    fn attempt(&self) -> (u64, Attempt) {
        let mut current = self.current();
        if let Some(attempt) = &current.attempt {
            return (current.connection_id, attempt.clone());
        }
        let attempt = self.dial.clone().connect(self.response_max).boxed().shared();
        current.attempt = Some(attempt.clone());
        current.connection_id = CONNECTIONS.fetch_add(1, Ordering::Relaxed);
        (current.connection_id, attempt)
    }

    /// Lets go of a connection that broke, unless there is a newer one already.
    pub(super) fn forget(&self, connection_id: u64) {
        let mut current = self.current();
        if current.connection_id == connection_id {
            current.attempt = None;
        }
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
