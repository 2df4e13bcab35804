//! WebSocket frames (RFC 6455), both directions. Pure: bytes in, items out; no socket, no clock.
//!
//! The decoder is our own, because it must keep nothing for an idle connection, stop between two frames, and
//! refuse what the RFC forbids; `fastwebsockets` unmasks and writes frame heads.

pub mod encode;
mod frame;
mod inbound;

pub use frame::Violation;
pub use inbound::{Fed, Flow, Inbound, Item};
