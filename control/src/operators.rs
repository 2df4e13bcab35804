//! What operators see and do: gateways, the audit log. Banning users is among the accounts.

use std::borrow::Cow;
use std::cmp::Reverse;

use hubbub_common::clock::now_ms;
use hubbub_common::entry::Notice;
use hubbub_common::gateways::GatewayReport;
use hubbub_common::keys;
use redis::cmd;

use crate::app::App;
use crate::auth::Caller;
use crate::error::Error;
use crate::store::audit::{Filter, Line};
use crate::store::{audit, users};

/// Lets operators pass.
pub async fn require(app: &App, caller: &Caller) -> Result<(), Error> {
    const REFUSED: Error = Error::Forbidden("only operators may do this");
    let database = app.database().await?;
    let standing = users::standing(&**database, caller.user).await?;
    let may = standing.is_some_and(|standing| standing.is_operator && !standing.is_banned);
    if may { Ok(()) } else { Err(REFUSED) }
}

/// Runs of gateways that have lately said that they live, by name.
pub async fn alive(app: &App) -> Result<Vec<String>, Error> {
    let silent_ms = u64::try_from(app.config.gateway_timeout.as_millis()).unwrap_or(u64::MAX);
    let mut alive = cmd("ZRANGEBYSCORE");
    alive.arg(keys::GATEWAYS).arg(now_ms().saturating_sub(silent_ms)).arg("+inf");
    Ok(alive.query_async(&mut app.redis.clone()).await?)
}

/// Every gateway that lives, as it was at its last heartbeat, by name.
pub async fn gateways(app: &App) -> Result<Vec<GatewayReport>, Error> {
    let mut reports = Vec::new();
    // One by one: in a Cluster the keys live apart, and there are few.
    for run in alive(app).await? {
        let mut get = cmd("GET");
        get.arg(keys::gateway(&run));
        let json: Option<String> = get.query_async(&mut app.redis.clone()).await?;
        reports.extend(json.and_then(|json| serde_json::from_str::<GatewayReport>(&json).ok()));
    }
    // A process that Redis forgot for a moment is on the roll twice, until the first time is forgotten too: the newer
    // report counts.
    let key = |one: &GatewayReport| (one.server_id.clone(), one.run.clone(), Reverse(one.seen_at));
    reports.sort_by_cached_key(key);
    reports.dedup_by(|later, first| later.run == first.run);
    Ok(reports)
}

/// Tells a gateway to send its clients away and to take no new ones. It goes on running: whoever started it stops it,
/// once it is empty.
pub async fn drain(app: &App, caller: &Caller, server_id: &str) -> Result<(), Error> {
    let gateways = gateways(app).await?;
    let runs: Vec<_> = gateways.into_iter().filter(|gateway| gateway.server_id == server_id).collect();
    if runs.is_empty() {
        return Err(Error::NotFound("gateway"));
    }
    let database = app.database().await?;
    audit::add(&**database, Some(caller.user), "gateway drained", server_id, &caller.origin).await?;
    drop(database);
    for gateway in runs {
        app.publisher.notify(&app.redis, &Notice::Drain { run: Cow::Owned(gateway.run) }).await?;
    }
    Ok(())
}

/// A page of the audit log, newest first.
pub async fn audit_log(app: &App, filter: &Filter, before: i64, limit: i64) -> Result<Vec<Line>, Error> {
    let database = app.database().await?;
    audit::page(&**database, filter, before, limit).await
}
