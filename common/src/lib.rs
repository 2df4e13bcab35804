//! What gateway and control plane share.
//!
//! Invariants: nothing here opens a socket, names a runtime or spawns a thread, except for `redis` and the
//! export of `traces`, each a feature of its own; only [`clock`] reads a clock and only [`settings`] reads the environment. Every name that two programs must agree on (settings,
//! metrics, Redis keys, the bytes of an entry, the shard of a room) is defined here once.
//!
//! Absent on purpose: connections to Postgres, which only the control plane has.

pub mod asks;
pub mod clock;
pub mod config;
pub mod dedupe;
pub mod entry;
pub mod gateways;
pub mod health;
pub mod ids;
pub mod keys;
pub mod limits;
pub mod log;
pub mod metrics;
#[cfg(feature = "openapi")]
mod openapi;
pub mod presence;
pub mod protocol;
pub mod proxy_header;
#[cfg(feature = "redis")]
pub mod redis;
pub mod redis_url;
pub mod settings;
pub mod shard;
#[cfg(feature = "simulation")]
pub mod simulation;
pub mod supervisor;
pub mod token;
pub mod traces;
