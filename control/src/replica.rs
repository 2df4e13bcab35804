//! A replica that history and search are read from, while it is fresh enough.
//!
//! Fresh is what is proved: the primary says how far its log is, and once the replica has replayed that much, it is as
//! fresh as the moment of asking. Clocks need not agree, a quiet primary does not look like a lagging replica, and a
//! replica whose connection to the primary broke does not look like a fresh one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use deadpool_postgres::{Object, Pool};
use hubbub_common::clock::Monotonic;
use hubbub_common::metrics::REPLICA_BEHIND_SECONDS;
use tokio::time::sleep;

use crate::app::App;
use crate::error::Error;
use crate::store::sql::Sql as _;

/// Pause between two proofs, and between two looks at the replica.
const PROVE_EVERY: Duration = Duration::from_millis(500);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Looks until the primary is asked anew, which may have another log by then.
const LOOKS_MAX: usize = 40;

/// See the module's text.
pub struct Replica {
    pool: Pool,
    staleness_max: Duration,
    clock: Monotonic,
    /// When it was last known to have everything, in milliseconds of the clock; zero: never.
    fresh_at_ms: AtomicU64,
}

impl Replica {
    /// Not fresh until that is proved.
    pub fn new(pool: Pool, staleness_max: Duration) -> Self {
        Self { pool, staleness_max, clock: Monotonic::start(), fresh_at_ms: AtomicU64::new(0) }
    }

    /// Its connections.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Whether it may be read.
    pub fn is_fresh(&self) -> bool {
        let at_ms = self.fresh_at_ms.load(Ordering::Relaxed);
        at_ms > 0 && self.behind() <= self.staleness_max
    }

    /// A connection, if it is fresh and answers.
    pub async fn connection(&self) -> Option<Object> {
        if self.is_fresh() { self.pool.get().await.ok() } else { None }
    }

    fn behind(&self) -> Duration {
        self.clock.elapsed().saturating_sub(Duration::from_millis(self.fresh_at_ms.load(Ordering::Relaxed)))
    }

    async fn prove(&self, app: &App) -> Result<(), Error> {
        let asked_ms = self.clock.elapsed_ms().max(1);
        let database = app.database().await?;
        let end: String = database.one_row("SELECT pg_current_wal_insert_lsn()::text", &[]).await?.get(0);
        drop(database);
        let replica = self.pool.get().await?;
        for _ in 0..LOOKS_MAX {
            let reached = "SELECT coalesce(pg_last_wal_replay_lsn() >= $1::text::pg_lsn, false)";
            if replica.one_row(reached, &[&end]).await?.get(0) {
                self.fresh_at_ms.store(asked_ms, Ordering::Relaxed);
                return Ok(());
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }
}

/// Proves again and again that the replica is fresh, for ever; there may be none.
pub async fn watch(app: App) {
    let Some(replica) = &app.replica else { return };
    loop {
        if let Err(error) = replica.prove(&app).await {
            tracing::debug!(?error, "how fresh the replica is can't be known");
        }
        metrics::gauge!(REPLICA_BEHIND_SECONDS.name).set(replica.behind().as_secs_f64());
        sleep(PROVE_EVERY).await;
    }
}
