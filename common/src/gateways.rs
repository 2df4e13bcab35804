//! What gateways tell of themselves, for operators.

use serde::{Deserialize, Serialize};

use crate::clock::UnixMs;

/// One run of a gateway, as it was at its last heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GatewayReport {
    /// `HUBBUB_SERVER_ID`.
    pub server_id: String,
    /// Tells this run from those before it: a drain is for one run only.
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
}
