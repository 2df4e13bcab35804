//! What gateways tell of themselves, for operators.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use crate::clock::UnixMs;

/// One process of a gateway, as it was at its last heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GatewayReport {
    /// `HUBBUB_SERVER_ID`.
    pub server_id: String,
    /// Tells this process from those before it: a drain is for one only.
    pub run: String,
    /// Of the program.
    pub version: String,
    /// Its public listener.
    pub address: String,
    /// Open WebSockets.
    pub connections: u64,
    /// Whether it sends its clients away and takes no new ones.
    pub draining: bool,
    /// Seconds since its start.
    pub uptime: u64,
    /// When it said so.
    pub seen_at: UnixMs,
    /// Open WebSockets of each core, in their order.
    #[serde(default)]
    pub cores: Vec<u64>,
    /// Age of the oldest entry that it read in the second before, milliseconds: how far it is behind.
    #[serde(default)]
    pub lag_ms: u64,
    /// What it has counted since its start.
    #[serde(default)]
    pub counts: GatewayCounts,
}

/// What happened on a gateway since its start. Whoever wants rates asks twice: differences over `seen_at`, within a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct GatewayCounts {
    /// Messages that its clients sent.
    pub published: u64,
    /// Events that it gave to receivers.
    pub delivered: u64,
    /// WebSockets that began.
    pub handshakes: u64,
    /// Clients that it cut off because they read too slowly.
    pub evicted: u64,
}

impl AddAssign for GatewayCounts {
    fn add_assign(&mut self, other: Self) {
        let Self { published, delivered, handshakes, evicted } = other;
        self.published += published;
        self.delivered += delivered;
        self.handshakes += handshakes;
        self.evicted += evicted;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// While a cluster is upgraded one by one, gateways and control planes of two versions read each other.
    #[test]
    fn a_report_of_an_older_gateway_is_read() {
        let older = r#"{"server_id":"g1","run":"g1#1","version":"0.0.9","address":"127.0.0.1:7000","connections":7,
            "draining":false,"uptime":3,"seen_at":4}"#;
        let report: GatewayReport = serde_json::from_str(older).unwrap();
        assert_eq!((report.connections, report.cores, report.lag_ms), (7, vec![], 0));
        assert_eq!(report.counts, GatewayCounts::default());
        let newer =
            older.replace("\"seen_at\":4", r#""seen_at":4,"counts":{"published":2,"sung":1},"cores":[3,4]"#);
        let report: GatewayReport = serde_json::from_str(&newer).unwrap();
        assert_eq!((report.cores, report.counts.published, report.counts.evicted), (vec![3, 4], 2, 0));
    }
}
