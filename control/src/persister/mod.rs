//! The batch writer: what stands in the streams gets into Postgres, exactly once.
//!
//! One instance leads. It holds a Postgres advisory lock on the very connection it writes with, so an instance
//! that lost the lock can't write. Messages and the offset of each shard commit in one transaction; after any
//! error the leader gives up everything it held in memory and starts again from the offsets. Repeats are
//! dropped by the same rule as in the gateways ([`hubbub_common::dedupe`]), fed from a window before the offset,
//! or from Postgres where the streams lost that ([`recover`]).

mod batch;
mod last;
mod recover;
mod source;
mod write;

use std::time::Duration;

use hubbub_common::keys;
use hubbub_common::metrics as names;
use redis::cmd;
use tokio_postgres::{Client, NoTls};

use crate::app::App;
use crate::config::shown;
use batch::Batch;
use source::Source;

/// Holds "hubbub" in ASCII: the advisory lock of the leader.
const LEADER_LOCK: i64 = 0x6875_6262_7562;
/// Pause before trying to lead again.
const RETRY: Duration = Duration::from_secs(1);
/// How long the lag that the leader told is believed, seconds.
const LAG_SECONDS: u64 = 15;

/// Why leading ended. The text is for the log.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// Postgres went away or refused.
    #[error("Postgres: {0}")]
    Postgres(#[from] tokio_postgres::Error),
    /// Redis went away or refused.
    #[error("Redis: {0}")]
    Redis(#[from] redis::RedisError),
    /// Redis answered something unforeseen.
    #[error("Redis answered something else than entries")]
    Reply,
    /// Redis was restarted empty, or emptied.
    #[error("Redis has other data than before")]
    OtherData,
    /// A newer version wrote what this one can't read: going on would lose it.
    #[error("shard {shard}, entry {entry}: {error}")]
    Entry {
        /// Where.
        shard: hubbub_common::shard::Shard,
        /// Which.
        entry: hubbub_common::ids::EntryId,
        /// What is wrong.
        error: hubbub_common::entry::EntryError,
    },
}

/// Leads, or waits to lead, for ever.
pub async fn run(app: App) {
    let mut last_problem = String::new();
    loop {
        let outcome = lead(&app).await;
        app.persister.set_leader(false);
        if let Err(stopped) = outcome {
            let problem = stopped.to_string();
            if problem != last_problem {
                tracing::error!(problem, "the batch writer stopped; it tries again every second");
            }
            last_problem = problem;
        } else {
            last_problem.clear();
        }
        follow_lag(&app).await;
        tokio::time::sleep(RETRY).await;
    }
}

/// Another instance leads: what it last told.
async fn follow_lag(app: &App) {
    let told: Result<Option<u64>, _> =
        cmd("GET").arg(keys::PERSISTER_LAG).query_async(&mut app.redis.clone()).await;
    if let Ok(Some(lag)) = told {
        app.persister.set_lag(lag);
    }
}

/// Leads until something goes wrong; returns at once where another instance leads.
async fn lead(app: &App) -> Result<(), Stopped> {
    let config = &app.config.direct_database;
    let (mut client, connection) = config.connect(NoTls).await?;
    let connection = tokio::spawn(connection);
    let outcome = lead_with(app, &mut client).await;
    connection.abort();
    outcome
}

async fn lead_with(app: &App, client: &mut Client) -> Result<(), Stopped> {
    let lock = client.query_one("SELECT pg_try_advisory_lock($1)", &[&LEADER_LOCK]).await?;
    if !lock.get::<_, bool>(0) {
        return Ok(());
    }
    let offsets = write::offsets(client, app.config.shared.shards).await?;
    let mut source = Source::start(app, client, offsets).await?;
    last::complete(&app.redis, client, app.config.shared.shards, source.cursors()).await?;
    let mut writer = write::Writer::new(client).await?;
    tracing::info!(database = shown(&app.config.direct_database), "this instance persists messages now");
    app.persister.set_leader(true);
    let commit_seconds = metrics::histogram!(names::PERSISTER_COMMIT_SECONDS.name);
    loop {
        let entries = source.read().await?;
        let batch = Batch::gather(&entries, &mut source)?;
        if !batch.offsets.is_empty() {
            let began = app.clock.elapsed();
            writer.commit(client, &batch).await?;
            commit_seconds.record(app.clock.elapsed().saturating_sub(began));
            batch.count();
            source.committed(&batch).await?;
        } else if client.is_closed() {
            // Found out here, because an idle leader writes nothing.
            client.simple_query("").await?;
        }
        if let Some(lag) = source.lag_if_due().await? {
            app.persister.set_lag(lag);
            let mut tell = cmd("SET");
            tell.arg(keys::PERSISTER_LAG).arg(lag).arg("EX").arg(LAG_SECONDS);
            tell.query_async::<()>(&mut app.redis.clone()).await?;
        }
    }
}
