//! Why a connection ends.

use serde::Serialize;

/// WebSocket close codes that the server sends (RFC 6455 section 7.4, and 4000..4999 for our own).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum CloseCode {
    /// The client asked for it.
    Normal = 1000,
    /// The peer goes away.
    GoingAway = 1001,
    /// A frame broke RFC 6455.
    Protocol = 1002,
    /// A binary frame under a text subprotocol.
    Unsupported = 1003,
    /// Text that is not UTF-8.
    BadUtf8 = 1007,
    /// Too many bad requests.
    Policy = 1008,
    /// A frame or message past `HUBBUB_FRAME_BYTES_MAX`.
    TooBig = 1009,
    /// A bug of ours.
    Internal = 1011,
    /// Drain: reconnect, another gateway answers.
    Restart = 1012,
    /// Overloaded: reconnect later.
    Overloaded = 1013,
    /// The login session was revoked, or the token expired: log in again.
    Revoked = 4001,
    /// The client reads too slowly.
    Slow = 4008,
    /// Two heartbeats unanswered.
    HeartbeatMissed = 4009,
    /// Too many connections for this user.
    TooManyConnections = 4010,
}

impl CloseCode {
    /// Every code, for tests that enumerate them.
    pub const ALL: [Self; 14] = [
        Self::Normal,
        Self::GoingAway,
        Self::Protocol,
        Self::Unsupported,
        Self::BadUtf8,
        Self::Policy,
        Self::TooBig,
        Self::Internal,
        Self::Restart,
        Self::Overloaded,
        Self::Revoked,
        Self::Slow,
        Self::HeartbeatMissed,
        Self::TooManyConnections,
    ];

    /// The number on the wire.
    pub fn code(self) -> u16 {
        self as u16
    }

    /// The reason text of the close frame, and the label in metrics.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::GoingAway => "going_away",
            Self::Protocol => "protocol_error",
            Self::Unsupported => "binary_refused",
            Self::BadUtf8 => "bad_utf8",
            Self::Policy => "policy",
            Self::TooBig => "too_big",
            Self::Internal => "internal",
            Self::Restart => "restart",
            Self::Overloaded => "overloaded",
            Self::Revoked => "revoked",
            Self::Slow => "slow",
            Self::HeartbeatMissed => "heartbeat_missed",
            Self::TooManyConnections => "too_many_connections",
        }
    }
}

/// The `code` of a `bye`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ByeCode {
    /// The gateway is going away.
    Drain,
    /// The client reads too slowly.
    Slow,
    /// The login session was revoked, or the token expired.
    Revoked,
    /// Nothing heard for too long.
    Idle,
    /// A newer connection took this one's place.
    Replaced,
}
