//! The Hubbub gateway: holds WebSockets, one pinned thread per core, and forwards their messages through the
//! bus. `ARCHITECTURE.md` draws the path of a message through these modules.

pub mod admin;
pub mod admission;
pub mod bus;
pub mod config;
pub mod core;
pub mod handover;
pub mod memory;
pub mod outbox;
pub mod rate;
pub mod room;
pub mod session;
pub mod status;
pub mod supervisor;
pub mod ws;

mod accept;
mod connection;
mod fanout;
mod handshake;
#[cfg(test)]
mod sim;
