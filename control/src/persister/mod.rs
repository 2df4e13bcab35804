//! The batch writer: what stands in the streams gets into Postgres, exactly once.
//!
//! One instance leads ([`leader`]). Messages and the offset of each shard commit in one transaction; after any error
//! the leader gives up everything it held in memory and starts again from the offsets. Repeats are dropped by the
//! same rule as in the gateways ([`hubbub_common::dedupe`]), fed from a window before the offset, or from Postgres
//! where the streams lost that ([`recover`]).
//!
//! While one batch is written the next one is read and made ([`source`]). What Redis need not hold any more is trimmed
//! once it is persisted ([`tend`]). Every instance knows what waits ([`lag`]), also while nobody leads.

mod batch;
mod database_session;
mod lag;
mod last;
mod leader;
mod recover;
mod source;
mod status;
mod task;
mod tend;
mod write;

use std::time::Duration;

use hubbub_common::{metrics as names, traces};
use opentelemetry::Context;
use opentelemetry::trace::{SpanKind, Status as SpanStatus, TraceContextExt as _};
use tokio::time::{sleep, timeout};

use crate::app::App;
use crate::database::describe;
use batch::Batch;
pub(crate) use lag::is_past;
use leader::{Seat, Watch};
use source::Source;
pub use status::{Problem, Status};
pub(crate) use task::Task;
use tend::Tender;
use write::Writer;

/// How long a batch may take: longer than Postgres' own time-outs, for a Postgres that went away without a word.
const COMMIT_MAX: Duration = Duration::from_secs(90);
/// Pauses before trying to lead again after an error; the last one for every further time.
const PAUSES_MS: [u64; 5] = [200, 500, 1_000, 2_000, 4_000];

/// Why leading ended. The text is for the log.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// Postgres went away or refused.
    #[error("Postgres: {}", describe(.0))]
    Postgres(#[from] tokio_postgres::Error),
    /// Postgres does not answer.
    #[error("Postgres does not answer")]
    Silent,
    /// Postgres is a replica, or was made read-only; found out before there is anything to write.
    #[error("Postgres takes no writes")]
    ReadOnly,
    /// Redis went away or refused.
    #[error("Redis: {0}")]
    Redis(#[from] redis::RedisError),
    /// Redis answered something unforeseen.
    #[error("Redis answered something else than entries")]
    Reply,
    /// Redis was restarted empty, or emptied.
    #[error("Redis has other data than before")]
    OtherData,
    /// The task that reads the streams is gone without having said why.
    #[error("reading the streams ended")]
    Reader,
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
    let mut failures = 0;
    loop {
        let began_ms = app.persister.now_ms();
        let Err(stopped) = take_part(&app).await;
        app.persister.resign();
        app.persister.set_problem(Some(Problem::of(&stopped)));
        let problem = stopped.to_string();
        if problem != last_problem {
            tracing::error!(problem, "the batch writer stopped; it tries again every few seconds");
            last_problem = problem;
        }
        let pause_ms = PAUSES_MS.get(failures).or(PAUSES_MS.last()).copied().unwrap_or(1_000);
        // What went well for longer than the longest pause begins anew with the shortest.
        let went_well = app.persister.now_ms().saturating_sub(began_ms) > PAUSES_MS.iter().sum();
        failures = if went_well { 0 } else { failures + 1 };
        if let Err(error) = follow(&app).await {
            tracing::debug!(%error, "the lag is not known");
        }
        sleep(Duration::from_millis(pause_ms)).await;
    }
}

/// Writes a batch, under a span where it is traced; one that is given up ends without having been a success.
async fn traced(batch: &Batch, commit: impl Future<Output = Result<(), Stopped>>) -> Result<(), Stopped> {
    let attributes = || {
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        vec![
            traces::attribute("db.system.name", "postgresql"),
            traces::attribute("messaging.batch.message_count", count(batch.messages.len())),
            traces::attribute("hubbub.shards", count(batch.offsets.len())),
        ]
    };
    let context = traces::root(&Context::new(), SpanKind::Consumer, || "persist".to_owned(), attributes);
    let outcome = commit.await;
    if let Some(context) = context
        && outcome.is_err()
    {
        context.span().set_status(SpanStatus::error("not committed"));
    }
    outcome
}

/// Waits for the lock, then leads, until something goes wrong.
async fn take_part(app: &App) -> Result<std::convert::Infallible, Stopped> {
    let mut seat = Seat::connect(&app.config.direct_database).await?;
    let mut watch = Watch::default();
    // Whoever leads at once has to know what waits, too.
    follow(app).await?;
    while !seat.take(&app.persister).await? {
        let before = app.persister.lag();
        let lag = follow(app).await?;
        // Whoever leads gets messages into Postgres.
        if lag == 0 || lag < before {
            app.persister.set_problem(None);
        }
        watch.look(&seat.client).await?;
    }
    lead(app, &mut seat).await
}

/// Another instance leads, or none: what waits by what was told last.
async fn follow(app: &App) -> Result<u64, Stopped> {
    let positions = lag::told(&app.redis, app.config.shared.shards).await?;
    let lag = lag::measure(&app.redis, &positions).await?;
    app.persister.set_lag(lag);
    Ok(lag)
}

async fn lead(app: &App, seat: &mut Seat) -> Result<std::convert::Infallible, Stopped> {
    let (status, shards) = (&app.persister, app.config.shared.shards);
    tracing::info!(database = app.config.direct_database.shown(), "this instance persists messages now");
    let start = async {
        let offsets = write::offsets(&seat.client, shards).await?;
        let (source, positions) = Source::start(app, &seat.client, offsets).await?;
        last::complete(&app.redis, &seat.client, shards, &positions).await?;
        let tender = Tender::start(&app.redis, shards, app.config.resume_window_ms(), positions).await?;
        Ok((source, tender))
    };
    let (source, mut tender) = seat.while_alive(status, start).await?;
    let (mut batches, _reading) = source.run();
    let mut writer = Writer::default();
    let commit_seconds = metrics::histogram!(names::PERSISTER_COMMIT_SECONDS.name);
    loop {
        let wait = async { Ok(timeout(tend::EVERY, batches.recv()).await.ok()) };
        if let Some(batch) = seat.while_alive(status, wait).await? {
            let batch = batch.ok_or(Stopped::Reader)??;
            let began = app.clock.elapsed();
            let sent_ms = status.now_ms();
            let commit = writer.commit(&mut seat.client, &batch);
            timeout(COMMIT_MAX, traced(&batch, commit)).await.map_err(|_| Stopped::Silent)??;
            status.prove(sent_ms);
            status.set_problem(None);
            commit_seconds.record(app.clock.elapsed().saturating_sub(began));
            batch.count();
            seat.while_alive(status, tender.committed(&batch)).await?;
        }
        if let Some(lag) = seat.while_alive(status, tender.tend_if_due()).await? {
            status.set_lag(lag);
            if lag == 0 {
                status.set_problem(None);
            }
        }
    }
}
