//! Control planes tell operators of themselves, in Redis: none of them knows of the others otherwise.

use std::time::Duration;

use hubbub_common::clock::{UnixMs, now_ms};
use hubbub_common::keys;
use redis::cmd;
use serde::{Deserialize, Serialize};
use tokio::time::{MissedTickBehavior, interval};
use utoipa::ToSchema;

use crate::app::App;
use crate::error::Error;

/// How often an instance tells how it is.
const EVERY: Duration = Duration::from_secs(1);
/// How long the name of one that has gone is kept.
const FORGOTTEN_MS: u64 = 60 * 60 * 1_000;

/// A control plane, as it was when it last told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ControlReport {
    /// `HUBBUB_SERVER_ID`.
    pub server_id: String,
    /// Of the program.
    pub version: String,
    /// Its public listener.
    pub address: String,
    /// Seconds since its start.
    pub uptime: u64,
    /// When it said so.
    pub seen_at: UnixMs,
    /// Whether it writes the streams into Postgres: one of all does.
    pub leader: bool,
    /// Entries that wait to be persisted, over all shards.
    pub stream_lag: u64,
    /// Why messages do not reach Postgres, as far as it tried to write them: `batchWriterProblem` of `/health`.
    pub problem: Option<String>,
}

/// Tells how this instance is, for ever.
pub async fn stay_on(app: App) {
    let mut every = interval(EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        if let Err(error) = tell(&app).await {
            tracing::debug!(?error, "operators do not see how this control plane is");
        }
    }
}

async fn tell(app: &App) -> Result<(), Error> {
    let (shared, now_ms) = (&app.config.shared, now_ms());
    let report = ControlReport {
        server_id: shared.server_id.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        address: shared.listen.to_string(),
        uptime: app.clock.elapsed().as_secs(),
        seen_at: now_ms,
        leader: app.persister.is_leader(),
        stream_lag: app.persister.lag(),
        problem: app.persister.problem().map(|problem| problem.as_str().to_owned()),
    };
    let json = serde_json::to_string(&report).map_err(|error| Error::Internal(error.to_string()))?;
    let mut tell = redis::pipe();
    let set = tell.cmd("SET").arg(keys::control(&report.server_id)).arg(json);
    set.arg("EX").arg(app.config.gateway_timeout.as_secs().max(1));
    tell.cmd("ZADD").arg(keys::CONTROLS).arg(now_ms).arg(&report.server_id);
    let oldest_ms = now_ms.saturating_sub(FORGOTTEN_MS);
    tell.cmd("ZREMRANGEBYSCORE").arg(keys::CONTROLS).arg("-inf").arg(oldest_ms);
    Ok(tell.query_async(&mut app.redis.clone()).await?)
}

/// This instance ends: nobody has to wait until it is silent.
pub async fn leave(app: &App) {
    let name = &app.config.shared.server_id;
    let mut leave = redis::pipe();
    leave.cmd("DEL").arg(keys::control(name)).cmd("ZREM").arg(keys::CONTROLS).arg(name);
    if let Err(error) = leave.query_async::<()>(&mut app.redis.clone()).await {
        tracing::debug!(%error, "operators find out by themselves that this control plane has gone");
    }
}

/// Every control plane that has told so lately, by name.
pub async fn all(app: &App) -> Result<Vec<ControlReport>, Error> {
    let mut names = cmd("ZRANGE");
    names.arg(keys::CONTROLS).arg(0).arg(-1);
    let names: Vec<String> = names.query_async(&mut app.redis.clone()).await?;
    let mut reports = Vec::new();
    for name in names {
        let mut get = cmd("GET");
        get.arg(keys::control(&name));
        // Those that fell silent are gone by themselves.
        let json: Option<String> = get.query_async(&mut app.redis.clone()).await?;
        reports.extend(json.and_then(|json| serde_json::from_str::<ControlReport>(&json).ok()));
    }
    reports.sort_by(|one, other| one.server_id.cmp(&other.server_id));
    Ok(reports)
}
