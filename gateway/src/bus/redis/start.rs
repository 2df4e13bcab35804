//! What is checked once at start: that Redis answers, that it fits, that the cluster has as many shards.

use std::time::Duration;

use hubbub_common::clock::Monotonic;
use hubbub_common::keys;
use hubbub_common::redis_url::RedisUrl;
use hubbub_common::settings::{REDIS_URL, SHARDS, SettingError};
use hubbub_common::shard::Shards;
use redis::aio::MultiplexedConnection;
use redis::{Client, cmd, pipe};

use super::RedisBackend;
use crate::bus::StartError;
use crate::bus::backend::BusError;

/// Pauses between tries while Redis is awaited.
const PAUSES_MS: [u64; 6] = [50, 100, 200, 400, 800, 1_000];

impl RedisBackend {
    /// Connects, waiting for at most `wait`, and checks that the cluster fits the settings.
    pub async fn start(
        url: &RedisUrl,
        shards: Shards,
        server_id: &str,
        wait: Duration,
    ) -> Result<Self, StartError> {
        let client = Client::open(url.reveal())
            .map_err(|error| SettingError { name: REDIS_URL.name, problem: error.to_string() })?;
        let backend = Self::new(client, shards, server_id);
        let waiting = Monotonic::start();
        let mut pauses_ms = PAUSES_MS.into_iter();
        while let Err(error) = backend.ping().await {
            if waiting.elapsed() >= wait {
                return Err(StartError::Unreachable(format!(
                    "Redis at {url}: {error}: start it, or set {}",
                    REDIS_URL.name
                )));
            }
            tracing::info!(%error, "waiting for Redis at {url}");
            tokio::time::sleep(Duration::from_millis(pauses_ms.next().unwrap_or(1_000))).await;
        }
        backend.check_shards(shards).await?;
        backend.check_eviction().await;
        Ok(backend)
    }

    async fn ping(&self) -> Result<(), BusError> {
        self.run(async |connection: &mut MultiplexedConnection| {
            cmd("PING").query_async::<String>(connection).await
        })
        .await?;
        Ok(())
    }

    /// The first program of a cluster decides how many shards there are, for ever.
    async fn check_shards(&self, shards: Shards) -> Result<(), StartError> {
        let (agreed,): (u16,) = self
            .run(async |connection: &mut MultiplexedConnection| {
                let mut pipeline = pipe();
                pipeline.cmd("SET").arg(keys::SHARDS).arg(shards.count()).arg("NX").ignore();
                pipeline.cmd("GET").arg(keys::SHARDS);
                pipeline.query_async(connection).await
            })
            .await
            .map_err(|error| StartError::Unreachable(format!("Redis: {error}")))?;
        if agreed == shards.count() {
            return Ok(());
        }
        let problem = format!("this cluster was started with {agreed} shards, got {}", shards.count());
        Err(StartError::Setting(SettingError { name: SHARDS.name, problem }))
    }

    /// A Redis that evicts keys would evict streams.
    async fn check_eviction(&self) {
        let policy: Result<Vec<String>, _> = self
            .run(async |connection: &mut MultiplexedConnection| {
                cmd("CONFIG").arg("GET").arg("maxmemory-policy").query_async(connection).await
            })
            .await;
        match policy.as_deref() {
            Ok([_, policy]) if policy != "noeviction" => tracing::warn!(
                "Redis has maxmemory-policy {policy}: when memory runs out it will lose messages; set it to noeviction"
            ),
            Ok(_) => {}
            Err(error) => {
                tracing::info!(%error, "Redis does not tell its maxmemory-policy; it has to be noeviction");
            }
        }
    }
}
