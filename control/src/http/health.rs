//! `/health` and `/metrics`.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use deadpool_postgres::Pool;
use hubbub_common::clock::now_ms;
use hubbub_common::health::{Health, Status};
use hubbub_common::metrics as names;
use redis::cmd;
use tokio::time::timeout;

use crate::app::App;
use crate::persister::Problem;

/// How long a server may take to say that it is there.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// How this instance is
#[utoipa::path(
    get,
    path = "/health",
    tag = "about",
    security(()),
    responses(
        (status = 200, description = "It serves", body = Health),
        (status = 503, description = "It can't serve", body = Health),
    ),
)]
pub(super) async fn health(State(app): State<App>) -> impl IntoResponse {
    let (redis, database) = tokio::join!(redis_answers(&app), database_answers(&app));
    let status = match (redis, database) {
        (true, true) if app.persister.problem().is_some() => Status::Degraded,
        (true, true) => Status::Healthy,
        (false, false) => Status::Unhealthy,
        (true, false) | (false, true) => Status::Degraded,
    };
    let mut services = BTreeMap::from([("redis", redis), ("database", database)]);
    if let Some(replica) = &app.replica {
        services.insert("replica", replica.is_fresh());
    }
    let health = Health {
        status,
        timestamp: now_ms(),
        server_id: app.config.shared.server_id.clone(),
        uptime: app.clock.elapsed().as_secs(),
        version: env!("CARGO_PKG_VERSION"),
        services,
        connections: None,
        driver: None,
        batch_writer_leader: Some(app.persister.is_leader()),
        stream_lag: Some(app.persister.lag()),
        batch_writer_problem: app.persister.problem().map(Problem::as_str),
    };
    let code = StatusCode::from_u16(status.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (code, axum::Json(health))
}

/// The same, where only paths of the API get through
#[utoipa::path(
    get,
    path = "/api/health",
    tag = "about",
    security(()),
    responses(
        (status = 200, description = "It serves", body = Health),
        (status = 503, description = "It can't serve", body = Health),
    ),
)]
pub(super) async fn health_of_api(app: State<App>) -> impl IntoResponse {
    health(app).await
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
    // Its gauge is only as fresh as it was asked for.
    app.persister.is_leader();
    tell_pool("primary", &app.pool);
    if let Some(replica) = &app.replica {
        tell_pool("replica", replica.pool());
    }
    app.metrics.render()
}

fn tell_pool(pool: &'static str, of: &Pool) {
    let status = of.status();
    let count = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    for (state, connections) in
        [("idle", status.available), ("used", status.size.saturating_sub(status.available))]
    {
        let gauge = metrics::gauge!(names::POOL_CONNECTIONS.name, "pool" => pool, "state" => state);
        gauge.set(count(connections));
    }
    metrics::gauge!(names::POOL_CONNECTIONS_MAX.name, "pool" => pool).set(count(status.max_size));
    metrics::gauge!(names::POOL_WAITING.name, "pool" => pool).set(count(status.waiting));
}
