//! The body of `/health`, the same for gateway and control plane.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::clock::UnixMs;

/// How a program is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Status {
    /// Everything works.
    Healthy,
    /// It serves, but something that it needs is away.
    Degraded,
    /// It is leaving: send nobody here.
    Draining,
    /// It can't serve.
    Unhealthy,
}

impl Status {
    /// The HTTP status: a load balancer should send clients here, or not.
    pub fn http_status(self) -> u16 {
        match self {
            Self::Healthy | Self::Degraded => 200,
            Self::Draining | Self::Unhealthy => 503,
        }
    }
}

/// The body of `/health`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Health {
    /// How it is.
    pub status: Status,
    /// Now, in Unix milliseconds.
    pub timestamp: UnixMs,
    /// `HUBBUB_SERVER_ID`.
    pub server_id: String,
    /// Seconds since the start.
    pub uptime: u64,
    /// Of the program.
    pub version: &'static str,
    /// What it needs, and whether that answers.
    pub services: BTreeMap<&'static str, bool>,
    /// Gateway: open WebSockets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u64>,
    /// Gateway: `io_uring` or `epoll`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<&'static str>,
    /// Control: whether this instance writes the streams into Postgres.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_writer_leader: Option<bool>,
    /// Control: entries that wait to be persisted, over all shards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream_lag: Option<u64>,
    /// Control: why messages do not reach Postgres, as far as this instance tried to write them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_writer_problem: Option<&'static str>,
}
