//! Everything that drives Hubbub from outside.
//!
//! [`stack`] starts a private whole system, [`dev`] is the program `hubbub-dev` on top of it, [`load`] measures,
//! [`mod@bench`] measures everything there is to compare and writes the report, [`peers`] starts the servers that Hubbub is
//! compared with, [`rest`] talks to the control plane as any client would. Nothing here is linked into the gateway or the
//! control plane.

pub mod bench;
pub mod dev;
pub mod load;
pub mod peers;
pub mod rest;
pub mod stack;
