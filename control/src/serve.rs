//! `hubbub-control serve`: checks what it needs, then serves until it is told to stop.

use std::net::SocketAddr;
use std::time::Duration;

use hubbub_common::clock::Monotonic;
use hubbub_common::config::Secret;
use hubbub_common::log::{self, Log};
use hubbub_common::metrics::describe_all;
use hubbub_common::redis::start::start;
use hubbub_common::settings::{
    DATABASE_URL, DIRECT_DATABASE_URL, SettingError, UPLOADS_URL, unknown_variables,
};
use hubbub_common::supervisor;
use hubbub_common::token::{SecretKey, Signer, Verifier, new_session_token};
use hubbub_common::traces;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::app::{App, Parts};
use crate::config::Config;
use crate::database::describe;
use crate::password::Passwords;
use crate::publish::Publisher;
use crate::replica::Replica;
use crate::{
    Failed, answers, bans, changes, http, janitor, membership, migrate, persister, purge, replica, roll,
    store, uploads,
};

/// Pauses between tries while a server is awaited.
const PAUSES_MS: [u64; 6] = [50, 100, 200, 400, 800, 1_000];
/// How often the recorder tidies its histograms.
const UPKEEP: Duration = Duration::from_secs(5);
/// Bounds of latency histograms, seconds.
const SECONDS_BUCKETS: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// What is sent to Redis, with arguments that make it do nothing: rights are checked before these.
const PROBES: [&[&str]; 29] = [
    &["EVAL", "return 0", "1", "bus:{0}"],
    &["EVAL", "return 0", "1", "nonce:{0}:0:x"],
    &["EVAL", "return 0", "1", "rate:x:y"],
    &["XADD", "bus:{0}", "no-id", "e", ""],
    &["XREAD", "COUNT", "1", "STREAMS", "bus:{0}", "$"],
    &["XRANGE", "bus:{0}", "-", "-", "COUNT", "1"],
    &["XTRIM", "bus:{0}", "MINID", "0"],
    &["XLEN", "bus:{0}"],
    &["HGETALL", "{persister:lag}:kept"],
    &["HSET", "last:{0}", "room", "id", "odd"],
    &["HSET", "roles:0", "room", "role", "odd"],
    &["DEL", "roles:0"],
    &["GETEX", "session:none"],
    &["ZADD", "sessions:0", "no-score", "x"],
    &["EXISTS", "ended:none"],
    &["SET", "ended:none", "", "EX", "no-number"],
    &["ZRANGEBYSCORE", "gateways", "1", "0"],
    &["GET", "gateway:none"],
    &["SET", "{controls}:none", "", "EX", "no-number"],
    &["ZADD", "controls", "no-score", "x"],
    &["ZREMRANGEBYSCORE", "controls", "1", "0"],
    &["ZRANGE", "controls", "0", "0"],
    &["ZREM", "controls", ""],
    &["EXISTS", "membership:loaded"],
    &["GET", "persister:lag"],
    &["SISMEMBER", "banned", "0"],
    &["SREM", "banned", "nobody"],
    &["WAIT", "0", "1"],
    &["SET", "read:{0}", "", "EX", "no-number"],
];

/// Serves until SIGTERM or SIGINT.
pub fn serve(config: Config) -> Result<(), Failed> {
    let log = log::init(&config.shared.log);
    traces::start(config.shared.traces.as_ref(), "hubbub-control", &config.shared.server_id)?;
    for name in unknown_variables() {
        tracing::warn!("{name} is set, but there is no such setting");
    }
    let secret = config.jwt_secret()?.clone();
    let outcome = with_app(config, &secret, async |app| listen_and_serve(app, log.clone()).await);
    traces::close();
    log.close();
    outcome
}

/// For commands that sign nothing; were something signed, it would be good for nobody.
pub fn no_secret() -> Result<SecretKey, Failed> {
    let secret = new_session_token().map_err(|error| Failed::Other(format!("random numbers: {error}")))?;
    Ok(SecretKey { id: None, secret: Secret::from(secret) })
}

/// Reaches every server that is needed, checks that they fit, then does something with them. What is signed is signed with
/// the secret.
pub fn with_app(
    config: Config,
    secret: &SecretKey,
    then: impl AsyncFnOnce(App) -> Result<(), Failed>,
) -> Result<(), Failed> {
    let signer = Signer::new(secret);
    let verifier = Verifier::new(&config.shared.keys);
    let verifier = verifier.map_err(|error| SettingError {
        name: hubbub_common::settings::JWT_PUBLIC_KEY_FILE.name,
        problem: error.to_string(),
    })?;
    wait_for_postgres(&config)?;
    let pending = migrate::pending(&config.direct_database);
    let pending = pending.map_err(|error| Failed::Other(format!("migrations: {error}")))?;
    if !pending.is_empty() {
        let names = pending.join(", ");
        return Err(Failed::Other(format!(
            "the database lacks migrations ({names}): run hubbub-control migrate"
        )));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failed::Other(format!("the runtime: {error}")))?;
    let app = runtime.block_on(async move {
        let shared = &config.shared;
        let redis = start(&shared.redis, shared.shards, shared.wait, &PROBES).await?;
        let metrics = install_metrics().map_err(Failed::Other)?;
        let pool = |of| store::pool(of, config.database_connections_max).map_err(Failed::Other);
        let window_ms = config.resume_window_ms();
        let passwords_at_once = std::thread::available_parallelism().map_or(2, usize::from);
        Ok::<_, Failed>(App::new(Parts {
            pool: pool(&config.database)?,
            replica: config
                .read_database
                .as_ref()
                .map(|database| Ok::<_, Failed>(Replica::new(pool(database)?, config.read_staleness_max)))
                .transpose()?,
            signer,
            verifier,
            passwords: Passwords::new(passwords_at_once).map_err(|error| Failed::Other(error.to_string()))?,
            publisher: Publisher::new(config.shared.shards, window_ms, config.shared.redis.ack, &redis),
            redis,
            metrics,
            uploads: uploads::Store::new(&config.uploads, secret.secret.reveal().as_bytes())
                .map_err(|problem| SettingError { name: UPLOADS_URL.name, problem })?,
            persister: persister::Status::new(),
            clock: Monotonic::start(),
            config,
        }))
    })?;
    runtime.block_on(then(app))
}

async fn listen_and_serve(app: App, log: Log) -> Result<(), Failed> {
    let bind = async |name: &str, address: SocketAddr| {
        let listener = TcpListener::bind(address).await;
        listener.map_err(|error| Failed::Other(format!("{name} {address}: {error}")))
    };
    let public = bind("HUBBUB_LISTEN", app.config.shared.listen).await?;
    let internal = bind("HUBBUB_ADMIN_LISTEN", app.config.shared.admin_listen).await?;
    membership::fill_if_lost(&app)
        .await
        .map_err(|error| Failed::Other(format!("the membership cache: {error:?}")))?;
    bans::fill_if_lost(&app)
        .await
        .map_err(|error| Failed::Other(format!("the list of banned users: {error:?}")))?;
    tokio::spawn(changes::run(app.clone()));
    tokio::spawn(membership::keep(app.clone()));
    tokio::spawn(persister::run(app.clone()));
    tokio::spawn(janitor::run(app.clone()));
    tokio::spawn(replica::watch(app.clone()));
    tokio::spawn(answers::run(app.clone()));
    tokio::spawn(uploads::unused::run(app.clone()));
    tokio::spawn(purge::run(app.clone()));
    tokio::spawn(roll::stay_on(app.clone()));
    let metrics = app.metrics.clone();
    tokio::spawn(async move {
        let mut every = tokio::time::interval(UPKEEP);
        loop {
            every.tick().await;
            metrics.run_upkeep();
            log.tell_left_out();
        }
    });
    let shared = &app.config.shared;
    app.uploads.prepare();
    tracing::info!(place = %app.config.uploads.place, "uploaded files are kept here");
    tracing::info!(
        server_id = shared.server_id,
        "hubbub-control {} listens on {}",
        env!("CARGO_PKG_VERSION"),
        shared.listen
    );
    supervisor::ready("serving");
    tokio::spawn(keep_alive(app.clone()));
    let internal_routes = http::internal(app.clone());
    tokio::spawn(async move { axum::serve(internal, internal_routes).await });
    let mut terminate =
        signal(SignalKind::terminate()).map_err(|error| Failed::Other(format!("signals: {error}")))?;
    let mut interrupt =
        signal(SignalKind::interrupt()).map_err(|error| Failed::Other(format!("signals: {error}")))?;
    let stopped = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        supervisor::stopping("finishing requests", 2 * http::server::STOP_MAX);
    };
    http::server::serve(public, http::public(app.clone()), &app.config, stopped).await;
    roll::leave(&app).await;
    Ok(())
}

/// Tells systemd that this instance lives, and what it does.
async fn keep_alive(app: App) {
    let mut every = tokio::time::interval(supervisor::alive_every());
    loop {
        every.tick().await;
        let role = if app.persister.is_leader() { "serving, and persisting messages" } else { "serving" };
        supervisor::alive(role);
    }
}

/// Waits for Postgres on the direct URL.
pub fn wait_for_postgres(config: &Config) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failed::Other(format!("the runtime: {error}")))?;
    let direct = &config.direct_database;
    let same = direct.config == config.database.config;
    let name = if same { DATABASE_URL.name } else { DIRECT_DATABASE_URL.name };
    let reach = async || direct.connect().await.map(drop);
    runtime.block_on(wait(config.shared.wait, reach, |error| {
        format!("Postgres at {}: {}: start it, or set {name}", direct.shown(), describe(error))
    }))
}

/// Tries until it works or the time is over.
async fn wait<T, E>(
    most: Duration,
    attempt: impl AsyncFn() -> Result<T, E>,
    describe: impl Fn(&E) -> String,
) -> Result<T, Failed> {
    let waiting = Monotonic::start();
    let mut pauses_ms = PAUSES_MS.into_iter();
    loop {
        let problem = match attempt().await {
            Ok(reached) => return Ok(reached),
            Err(error) => describe(&error),
        };
        if waiting.elapsed() >= most {
            return Err(Failed::Other(problem));
        }
        tracing::info!("waiting: {problem}");
        tokio::time::sleep(Duration::from_millis(pauses_ms.next().unwrap_or(1_000))).await;
    }
}

fn install_metrics() -> Result<PrometheusHandle, String> {
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS_BUCKETS)
        .and_then(PrometheusBuilder::install_recorder)
        .map_err(|error| format!("metrics: {error}"))?;
    describe_all();
    Ok(recorder)
}
