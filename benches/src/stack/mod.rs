//! A private whole system on this machine: Redis, Postgres, control, gateways, `HAProxy`.
//!
//! ```no_run
//! # use hubbub_benches::stack::Stack;
//! let stack = Stack::builder().gateways(2).env("HUBBUB_SENDS_PER_SECOND", "0").start()?;
//! println!("{}", stack.public_url());
//! stack.gateway(0).kill()?;
//! # Ok::<(), hubbub_benches::stack::StackError>(())
//! ```
//!
//! Invariants:
//! - No part outlives its stack: a dropped stack kills its parts, and the kernel kills them when this process
//!   ends in any other way ([`mod@spawn`]).
//! - Two stacks never share a port or a folder ([`ports`], [`folder`]).
//! - Waiting means asking for a condition until a deadline, never a pause of a guessed length ([`wait`]).
//! - Parts see no `HUBBUB_*` variable of the caller, only what the builder was given.
//!
//! Absent on purpose: containers, and supervision; a part that dies stays dead until [`Part::start`]
//! (`hubbub-dev` restarts on its own).

mod account;
mod builder;
mod error;
mod folder;
mod haproxy;
mod hubbub;
mod part;
mod pgbouncer;
pub mod ports;
mod postgres;
pub mod procfs;
mod programs;
mod redis;
mod spawn;
mod tls;
pub mod wait;

use std::io;
use std::path::{Path, PathBuf};

pub use builder::{Builder, Report};
pub use error::StackError;
pub use folder::Folder;
pub(crate) use folder::write_private;
pub use part::{Kind, Part};
pub(crate) use programs::profile_folder;
pub use programs::{find, sibling};
pub use redis::RedisShape;
pub use spawn::{Launch, spawn};

/// The shipped configuration of `HAProxy`, in which a stack changes the server lines only.
pub const HAPROXY_CFG: &str = include_str!("../../../haproxy/haproxy.cfg");

fn random<const N: usize>() -> Result<[u8; N], StackError> {
    let mut bytes = [0; N];
    let failed =
        |error: getrandom::Error| StackError::io("random bytes")(io::Error::other(error.to_string()));
    getrandom::fill(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// A running system. Dropping it kills every part and removes its folder, unless it was told to keep it.
#[derive(Debug)]
pub struct Stack {
    // In the order of dropping: clients of a part go before it, the folder goes last.
    haproxies: Vec<Part>,
    gateways: Vec<Part>,
    controls: Vec<Part>,
    pgbouncer: Option<Part>,
    replica: Option<Part>,
    postgres: Option<Part>,
    redis: Vec<Part>,
    redis_url: Option<String>,
    database_url: Option<String>,
    jwt_secret: String,
    folder: Folder,
}

impl Stack {
    /// Two gateways, one control plane and everything they need, in a temporary folder.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Where clients connect: `HAProxy`, or without it the first gateway.
    pub fn public_url(&self) -> &str {
        self.haproxy().or(self.gateways.first()).map_or("", Part::url)
    }

    /// `HUBBUB_JWT_SECRET` of all parts.
    pub fn jwt_secret(&self) -> &str {
        &self.jwt_secret
    }

    /// Where Redis is, if there is one.
    pub fn redis_url(&self) -> Option<&str> {
        self.redis_url.as_deref()
    }

    /// Where Postgres is, if there is one.
    pub fn database_url(&self) -> Option<&str> {
        self.database_url.as_deref()
    }

    /// The gateway with this index. Panics where there is none, as a slice does.
    pub fn gateway(&self, index: usize) -> &Part {
        self.gateways.get(index).unwrap_or_else(|| panic!("the stack has no gateway {index}"))
    }

    /// All gateways.
    pub fn gateways(&self) -> &[Part] {
        &self.gateways
    }

    /// The control plane with this index. Panics where there is none, as a slice does.
    pub fn control(&self, index: usize) -> &Part {
        self.controls.get(index).unwrap_or_else(|| panic!("the stack has no control plane {index}"))
    }

    /// All control planes.
    pub fn controls(&self) -> &[Part] {
        &self.controls
    }

    /// The private Redis; of several servers the first primary.
    pub fn redis(&self) -> Option<&Part> {
        self.redis.first()
    }

    /// Every server of the private Redis, and its sentinels.
    pub fn redis_servers(&self) -> &[Part] {
        &self.redis
    }

    /// The private Postgres.
    pub fn postgres(&self) -> Option<&Part> {
        self.postgres.as_ref()
    }

    /// The replica of the private Postgres.
    pub fn replica(&self) -> Option<&Part> {
        self.replica.as_ref()
    }

    /// The proxy; of several the first.
    pub fn haproxy(&self) -> Option<&Part> {
        self.haproxies.first()
    }

    /// All proxies.
    pub fn haproxies(&self) -> &[Part] {
        &self.haproxies
    }

    /// Where the proxy sends clients without TLS away to TLS, if it speaks that.
    pub fn plain_url(&self) -> Option<String> {
        self.haproxy().and_then(haproxy::plain_url)
    }

    /// The file with the certificate that vouches for the proxy's, if it speaks TLS.
    pub fn authority(&self) -> PathBuf {
        haproxy::authority(self.folder())
    }

    /// Every part, in the order in which they were started.
    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        let servers = self.redis.iter().chain(&self.postgres).chain(&self.replica).chain(&self.pgbouncer);
        servers.chain(&self.controls).chain(&self.gateways).chain(&self.haproxies)
    }

    /// Where the parts live.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Ends every part in the reverse order of starting, each with the time it needs to leave in good order.
    pub fn stop(self) -> Result<(), StackError> {
        let parts: Vec<_> = self.parts().collect();
        parts.into_iter().rev().filter(|part| part.pid().is_some()).try_for_each(Part::stop)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for part in self.parts() {
                eprintln!("--- the last lines of {} ---\n{}", part.name(), part.log_tail());
            }
            self.folder.keep();
        }
    }
}
