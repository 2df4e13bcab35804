//! `/health` and `/metrics`.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use hubbub_common::clock::now_ms;
use hubbub_common::health::{Health, Status};
use hubbub_common::metrics as names;
use redis::cmd;
use tokio::time::timeout;

use crate::app::App;

/// How long a server may take to say that it is there.
const ANSWER_MAX: Duration = Duration::from_secs(2);

pub(super) async fn health(State(app): State<App>) -> impl IntoResponse {
    let (redis, database) = tokio::join!(redis_answers(&app), database_answers(&app));
    let status = match (redis, database) {
        (true, true) => Status::Healthy,
        (false, false) => Status::Unhealthy,
        (true, false) | (false, true) => Status::Degraded,
    };
    let health = Health {
        status,
        timestamp: now_ms(),
        server_id: app.config.shared.server_id.clone(),
        uptime: app.clock.elapsed().as_secs(),
        version: env!("CARGO_PKG_VERSION"),
        services: BTreeMap::from([("redis", redis), ("database", database)]),
        connections: None,
        driver: None,
        batch_writer_leader: Some(app.persister.is_leader()),
        stream_lag: Some(app.persister.lag()),
    };
    let code = StatusCode::from_u16(status.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (code, axum::Json(health))
}

async fn redis_answers(app: &App) -> bool {
    let mut redis = app.redis.clone();
    timeout(ANSWER_MAX, cmd("PING").query_async::<String>(&mut redis))
        .await
        .is_ok_and(|answer| answer.is_ok())
}

async fn database_answers(app: &App) -> bool {
    let ask = async { app.database().await.ok()?.simple_query("SELECT 1").await.ok() };
    timeout(ANSWER_MAX, ask).await.is_ok_and(|answer| answer.is_some())
}

pub(super) async fn metrics(State(app): State<App>) -> String {
    let status = app.pool.status();
    let gauge = |state: &'static str, count: usize| {
        let count = f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        metrics::gauge!(names::POOL_CONNECTIONS.name, "state" => state).set(count);
    };
    gauge("idle", status.available);
    gauge("used", status.size.saturating_sub(status.available));
    let max = f64::from(u32::try_from(status.max_size).unwrap_or(u32::MAX));
    metrics::gauge!(names::POOL_CONNECTIONS_MAX.name).set(max);
    app.metrics.render()
}
