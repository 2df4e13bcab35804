//! The bus thread: starts the backend, then runs the engine's tasks until the process ends.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use hubbub_common::config::{Ack, RedisSettings};
use hubbub_common::settings::SettingError;
use hubbub_common::shard::Shards;
use tokio::task::LocalSet;

use super::backend::{Directory, Streams};
use super::engine::Engine;
use super::memory::MemoryBackend;
use super::redis::RedisBackend;
use super::task::spawn;
use super::{BusHandle, CoreHandle};
use crate::config::Config;
use crate::status::{EndsProcess, Status};

/// Questions handled before what they produced is handed over.
const ASKS_PER_TURN: usize = 1_024;
/// How often the backend is asked whether it answers.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Redis is silent, or this gateway far behind, when it takes longer.
const COMES_BACK_MAX: Duration = Duration::from_secs(30);

/// What the bus needs to know.
#[derive(Debug, Clone)]
pub struct BusConfig {
    /// Where the streams are; `None` for in memory.
    pub redis: Option<RedisSettings>,
    /// How many.
    pub shards: Shards,
    /// How long recent frames are kept.
    pub resume_window: Duration,
    /// How many bytes of them.
    pub resume_bytes_max: usize,
    /// How many bytes of a stream one scan for older frames may read.
    pub resume_scan_bytes_max: usize,
    /// Whether gateways trim the streams, because no control plane does.
    pub trims: bool,
    /// Of one user, over all gateways; 0 = no limit.
    pub sends_per_second: u32,
    /// This gateway.
    pub server_id: String,
    /// Silence after which a gateway counts as dead.
    pub gateway_timeout: Duration,
    /// How long what was appended may take to come back from its stream, before its sender hears that nobody knows.
    pub comes_back_max: Duration,
    /// How long to wait for Redis at start.
    pub wait: Duration,
}

impl BusConfig {
    /// What the gateway's settings say.
    pub fn of(config: &Config) -> Self {
        let shared = &config.shared;
        Self {
            redis: config.redis_bus.then(|| shared.redis.clone()),
            shards: shared.shards,
            resume_window: shared.resume_window,
            resume_bytes_max: config.resume_bytes_max,
            resume_scan_bytes_max: config.resume_scan_bytes_max,
            trims: config.trims,
            sends_per_second: config.sends_per_second,
            server_id: shared.server_id.clone(),
            gateway_timeout: config.gateway_timeout,
            comes_back_max: match shared.redis.ack {
                Ack::Stored => COMES_BACK_MAX,
                Ack::Replicated { wait, .. } => wait,
            },
            wait: shared.wait,
        }
    }
}

/// Why the bus did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting contradicts the cluster.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// The store does not answer; the text says what to do.
    #[error("{0}")]
    Unreachable(String),
    /// No thread, or no runtime on it.
    #[error("the bus thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// Starts the bus on a thread of its own, and returns when it works.
pub fn start(
    config: BusConfig,
    asks: BusHandle,
    cores: Vec<CoreHandle>,
    status: Arc<Status>,
) -> Result<(), StartError> {
    let bus_status = Arc::clone(&status);
    let (started, wait_for_start) = mpsc::channel();
    std::thread::Builder::new().name("bus".to_owned()).spawn(move || {
        let _guard = EndsProcess("the bus");
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                let _ = started.send(Err(StartError::Thread(error)));
                return;
            }
        };
        LocalSet::new().block_on(&runtime, async move {
            match &config.redis {
                None => {
                    let _ = started.send(Ok(()));
                    serve(MemoryBackend::default(), &config, asks, cores, status).await;
                }
                Some(redis) => {
                    let (shards, wait) = (config.shards, config.wait);
                    let server_id = &config.server_id;
                    // Whoever keeps history trims the streams.
                    match RedisBackend::start(redis, shards, server_id, !config.trims, wait).await {
                        Ok(backend) => {
                            let _ = started.send(Ok(()));
                            serve(backend, &config, asks, cores, status).await;
                        }
                        Err(error) => {
                            let _ = started.send(Err(error));
                        }
                    }
                }
            }
        });
    })?;
    let outcome = wait_for_start.recv();
    outcome.unwrap_or_else(|_| Err(StartError::Unreachable("the bus thread ended".to_owned())))?;
    bus_status.set_bus_up(true);
    Ok(())
}

/// Serves the cores from a backend that has started, for ever.
pub(crate) async fn serve<B: Streams + Directory>(
    backend: B,
    config: &BusConfig,
    asks: BusHandle,
    cores: Vec<CoreHandle>,
    status: Arc<Status>,
) {
    let engine = Engine::new(backend, config, cores, status);
    spawn(Rc::clone(&engine).read_streams());
    spawn(Rc::clone(&engine).hear());
    spawn(Rc::clone(&engine).spread_presence());
    spawn(Rc::clone(&engine).stay_on_roll());
    spawn(Rc::clone(&engine).keep_bans());
    spawn(Rc::clone(&engine).tell_entrances());
    spawn(keep_alive(Rc::clone(&engine)));
    spawn(Rc::clone(&engine).report());
    spawn(tick(Rc::clone(&engine)));
    loop {
        asks.woken().await;
        while let Some(ask) = asks.take() {
            engine.handle(ask);
            for _ in 1..ASKS_PER_TURN {
                let Some(ask) = asks.take() else { break };
                engine.handle(ask);
            }
            engine.flush();
            tokio::task::yield_now().await;
        }
    }
}

async fn keep_alive<B: Streams + Directory>(engine: Rc<Engine<B>>) {
    let mut every = tokio::time::interval(HEARTBEAT);
    loop {
        every.tick().await;
        match engine.backend.heartbeat().await {
            // That Redis answers does not mean that messages come through: that is the reader's to say.
            Ok(epoch) => engine.heard_epoch(epoch).await,
            // In a Cluster that is one server's word.
            Err(error) if engine.backend.shards_fail_apart() => tracing::debug!(%error, "no heartbeat"),
            Err(error) => engine.set_up(Err(&error)),
        }
    }
}

async fn tick<B: Streams + Directory>(engine: Rc<Engine<B>>) {
    let mut every = tokio::time::interval(Duration::from_secs(1));
    loop {
        every.tick().await;
        engine.tick();
        engine.flush();
    }
}
