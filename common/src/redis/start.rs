//! What is checked once, before a program serves: that Redis answers, that it can keep messages, that its clock
//! and the number of shards fit, and that the user may do what the program will do.
//!
//! What a server does not tell (managed ones hide `CONFIG` and `INFO`) is a warning, never a refusal.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use redis::{ErrorKind, FromRedisValue, RedisError, ServerErrorKind, cmd, from_redis_value};

use super::{Commands, Fault, Servers};
use crate::clock::{Monotonic, now_ms};
use crate::config::{Ack, RedisSettings};
use crate::keys;
use crate::settings::{REDIS_CA_FILE, REDIS_URL, SHARDS, SettingError};
use crate::shard::Shards;

/// Pauses between tries while Redis is awaited.
const PAUSES_MS: [u64; 6] = [50, 100, 200, 400, 800, 1_000];
/// `XINFO STREAM` with `entries-added`.
const OLDEST_VERSION: (u32, u32) = (7, 0);
/// Message ids are times of Redis's clock, windows are times of ours: past this they don't fit together.
const CLOCKS_APART_MAX_MS: u64 = 5_000;

/// Why a program does not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A setting is no good, or contradicts the cluster.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// Redis is away, or unfit; the text says what to do.
    #[error("{0}")]
    Server(String),
}

/// Connects, waiting for at most `wait`, and checks what has to fit. `probes` are commands that the program will
/// need, with arguments that make them do nothing.
pub async fn start(
    settings: &RedisSettings,
    shards: Shards,
    wait: Duration,
    probes: &[&[&str]],
) -> Result<Commands, Refusal> {
    let RedisSettings { url, ca, ack } = settings;
    let unusable = |error: RedisError| {
        let name = if ca.is_some() { REDIS_CA_FILE.name } else { REDIS_URL.name };
        SettingError { name, problem: error.to_string() }
    };
    let servers = Servers::new(url, ca.as_deref()).map_err(unusable)?;
    let commands = Commands::new(servers);
    let check = Check { url: url.to_string(), commands: &commands };
    check.reach(wait).await?;
    check.version().await?;
    check.eviction().await?;
    check.clock().await?;
    check.rights(probes).await?;
    check.shards(shards.count()).await?;
    check.replicas(*ack).await;
    Ok(commands)
}

struct Check<'a> {
    url: String,
    commands: &'a Commands,
}

impl Check<'_> {
    async fn reach(&self, wait: Duration) -> Result<(), Refusal> {
        let waiting = Monotonic::start();
        let mut pauses_ms = PAUSES_MS.into_iter();
        loop {
            let Err(error) = self.answers().await else { return Ok(()) };
            if let Some(refusal) = self.hopeless(&error) {
                return Err(refusal);
            }
            if waiting.elapsed() >= wait {
                let problem = format!("Redis at {}: {error}: start it, or set {}", self.url, REDIS_URL.name);
                return Err(Refusal::Server(problem));
            }
            tracing::info!(%error, "waiting for Redis at {}", self.url);
            tokio::time::sleep(Duration::from_millis(pauses_ms.next().unwrap_or(1_000))).await;
        }
    }

    async fn answers(&self) -> Result<(), RedisError> {
        self.commands.check_covered().await?;
        self.commands.send_to_all(&cmd("PING")).await?;
        Ok(())
    }

    /// What no waiting makes better.
    fn hopeless(&self, error: &RedisError) -> Option<Refusal> {
        let (name, problem) = if error.kind() == ErrorKind::AuthenticationFailed {
            (REDIS_URL.name, format!("Redis at {} does not accept the user and password: {error}", self.url))
        } else if error.code() == Some("NOAUTH") {
            (REDIS_URL.name, format!("Redis at {} asks for a password", self.url))
        } else if is_permission(error) {
            return Some(self.lacks_right("PING", error));
        } else if is_certificate(error) {
            (REDIS_CA_FILE.name, format!("the certificate of Redis at {} is not accepted: {error}", self.url))
        } else {
            return None;
        };
        Some(SettingError { name, problem }.into())
    }

    /// Asks every primary; `None` where that is forbidden or hidden.
    async fn ask_all<T: FromRedisValue>(&self, command: &[&str]) -> Result<Option<Vec<T>>, Refusal> {
        let (name, args) = command.split_first().unwrap_or((&"PING", &[]));
        let mut asked = cmd(name);
        for arg in args {
            asked.arg(arg);
        }
        match self.commands.send_to_all(&asked).await {
            Ok(values) => {
                let values: Result<Vec<T>, _> = values.into_iter().map(from_redis_value).collect();
                Ok(values.ok())
            }
            Err(Fault::Refused(error)) => {
                tracing::warn!(%error, "Redis does not answer {}: not checked", command.join(" "));
                Ok(None)
            }
            Err(Fault::Unknown(error)) => Err(self.unfit(&error.to_string())),
        }
    }

    async fn version(&self) -> Result<(), Refusal> {
        for info in self.ask_all::<String>(&["INFO", "server"]).await?.unwrap_or_default() {
            let version = field(&info, "redis_version").unwrap_or_default();
            let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
            let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
            if found < OLDEST_VERSION && found != (0, 0) {
                let (major, minor) = OLDEST_VERSION;
                let problem = format!(
                    "is version {version}: {major}.{minor} is needed (XINFO STREAM with entries-added)"
                );
                return Err(self.unfit(&problem));
            }
        }
        Ok(())
    }

    /// A Redis that evicts keys would evict streams.
    async fn eviction(&self) -> Result<(), Refusal> {
        let policies = self.ask_all::<Vec<String>>(&["CONFIG", "GET", "maxmemory-policy"]).await?;
        for answer in policies.unwrap_or_default() {
            if let [_, policy] = answer.as_slice()
                && policy != "noeviction"
            {
                return Err(self.unfit(&format!(
                    "has maxmemory-policy {policy}: when memory ran out it would drop messages; set it to noeviction"
                )));
            }
        }
        Ok(())
    }

    async fn clock(&self) -> Result<(), Refusal> {
        let before_ms = now_ms();
        let times = self.ask_all::<(u64, u64)>(&["TIME"]).await?.unwrap_or_default();
        let after_ms = now_ms();
        for (seconds, microseconds) in times {
            let theirs_ms = seconds.saturating_mul(1_000).saturating_add(microseconds / 1_000);
            let apart_ms = before_ms.saturating_sub(theirs_ms).max(theirs_ms.saturating_sub(after_ms));
            if apart_ms > CLOCKS_APART_MAX_MS {
                let problem =
                    format!("has a clock {} s apart from this machine's: keep both by NTP", apart_ms / 1_000);
                return Err(self.unfit(&problem));
            }
        }
        Ok(())
    }

    async fn rights(&self, probes: &[&[&str]]) -> Result<(), Refusal> {
        for probe in probes {
            let Some((name, args)) = probe.split_first() else { continue };
            let mut command = cmd(name);
            for arg in args {
                command.arg(arg);
            }
            match self.commands.send(&command).await {
                Err(Fault::Refused(error)) if is_permission(&error) => {
                    return Err(self.lacks_right(&probe.join(" "), &error));
                }
                Err(Fault::Unknown(error)) => return Err(self.unfit(&error.to_string())),
                // Any other refusal comes from behind the check of rights.
                Ok(_) | Err(Fault::Refused(_)) => {}
            }
        }
        Ok(())
    }

    /// The first program of a cluster decides how many shards there are, for ever.
    async fn shards(&self, count: u16) -> Result<(), Refusal> {
        let mut set = cmd("SET");
        set.arg(keys::SHARDS).arg(count).arg("NX");
        let failed = |fault: Fault| self.unfit(&RedisError::from(fault).to_string());
        self.commands.send(&set).await.map_err(failed)?;
        let agreed = self.commands.send(cmd("GET").arg(keys::SHARDS)).await.map_err(failed)?.value;
        if from_redis_value::<u16>(agreed.clone()) == Ok(count) {
            return Ok(());
        }
        let agreed = from_redis_value::<String>(agreed).unwrap_or_default();
        let problem = format!("this cluster was started with {agreed} shards, got {count}");
        Err(SettingError { name: SHARDS.name, problem }.into())
    }

    /// Replicas may be away for a while, so too few of them are no reason not to start.
    async fn replicas(&self, ack: Ack) {
        let Ack::Replicated { replicas, .. } = ack else { return };
        let infos = self.ask_all::<String>(&["INFO", "replication"]).await.ok().flatten();
        for info in infos.unwrap_or_default() {
            let connected = field(&info, "connected_slaves").and_then(|count| count.parse::<u32>().ok());
            if let Some(connected) = connected.filter(|connected| *connected < replicas) {
                tracing::warn!(
                    "a primary of Redis has {connected} replicas: nothing is acknowledged until it has {replicas}"
                );
            }
        }
    }

    fn lacks_right(&self, what: &str, error: &RedisError) -> Refusal {
        let problem = format!("the user at Redis {} lacks a right: {what}: {error}", self.url);
        SettingError { name: REDIS_URL.name, problem }.into()
    }

    fn unfit(&self, problem: &str) -> Refusal {
        Refusal::Server(format!("Redis at {}: {problem}", self.url))
    }
}

/// A field of an `INFO` reply.
fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

fn is_permission(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm)
}

fn is_certificate(error: &RedisError) -> bool {
    // The client library wraps rustls' error in one of I/O, and that in an `Arc`.
    let of_tls = || {
        let shared = error.source()?.downcast_ref::<Arc<dyn Error + Send + Sync>>()?;
        let of_io = shared.downcast_ref::<io::Error>()?;
        of_io.get_ref()?.downcast_ref::<rustls::Error>()
    };
    matches!(of_tls(), Some(rustls::Error::InvalidCertificate(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_info() {
        let info = "# Server\r\nredis_version:7.0.15\r\nconnected_slaves:2\r\n";
        assert_eq!(field(info, "redis_version"), Some("7.0.15"));
        assert_eq!(field(info, "connected_slaves"), Some("2"));
        assert_eq!(field(info, "version"), None);
    }
}
