//! A private Redis, in every shape that it comes in.

mod cli;
mod cluster;
mod sentinel;

use std::fs;

use super::part::{Kind, Part, Process};
use super::ports::Lease;
use super::spawn::Launch;
use super::wait::Probe;
use super::{Folder, StackError, find, tls};

pub(super) use cluster::cluster;
pub(super) use sentinel::sentinels;

/// The only server, where there is one.
const PART: &str = "redis";

/// How the servers of a private Redis are arranged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RedisShape {
    /// One server.
    #[default]
    Single,
    /// One server that takes TLS only, with a certificate of the stack's own authority.
    Tls,
    /// A primary `redis-1`, the replicas `redis-2` and `redis-3`, and three sentinels. A primary that died is
    /// replaced within some two seconds.
    Sentinel,
    /// Three primaries `redis-1` to `redis-3`, and a replica of each, `redis-4` to `redis-6`.
    Cluster,
}

/// What the servers are told besides what their shape needs.
#[derive(Debug, Clone, Default)]
pub(super) struct Options {
    /// Whether they flush to disk as they should for data that matters. Without that a crash of the machine may
    /// lose data; a crash of Redis loses nothing that it has acknowledged either way.
    pub(super) durable: bool,
    /// ACL user, password and rules.
    pub(super) login: Option<(String, String, String)>,
    /// More lines of `redis.conf`.
    pub(super) lines: Vec<String>,
}

impl Options {
    /// What stands before the address in a URL.
    fn prefix(&self) -> String {
        self.login.as_ref().map_or_else(String::new, |(user, password, _)| format!("{user}:{password}@"))
    }
}

/// One server.
pub(super) fn single(folder: &Folder, options: &Options) -> Result<Part, StackError> {
    let lease = Lease::any()?;
    let url = format!("redis://{}{}", options.prefix(), lease.address());
    server(folder, PART, lease, url, options, &[])
}

/// One server with TLS, and the file with the authority's certificate.
pub(super) fn with_tls(folder: &Folder, options: &Options) -> Result<Part, StackError> {
    let files = tls::certificate(folder, PART)?;
    let lease = Lease::any()?;
    let url = format!("rediss://{}{}", options.prefix(), lease.address());
    let lines = [
        format!("tls-port {}", lease.port()),
        // Of two lines the later one counts.
        "port 0".to_owned(),
        format!("tls-cert-file {}", files.certificate.display()),
        format!("tls-key-file {}", files.key.display()),
        format!("tls-ca-cert-file {}", files.authority.display()),
        "tls-auth-clients no".to_owned(),
    ];
    let mut part = server(folder, PART, lease, url, options, &lines)?;
    part.probe = Probe::Accepts(part.lease().address());
    Ok(part)
}

/// Where the certificate of the authority is that vouches for it.
pub(super) fn authority(folder: &Folder) -> std::path::PathBuf {
    tls::authority(folder.path(), PART)
}

/// A server with its data and its configuration in a folder of its own.
fn server(
    folder: &Folder,
    name: &str,
    lease: Lease,
    url: String,
    options: &Options,
    lines: &[String],
) -> Result<Part, StackError> {
    let data = folder.sub(name)?;
    let fsync = if options.durable { "everysec" } else { "no" };
    let mut all = vec![
        format!("port {}", lease.port()),
        "bind 127.0.0.1".to_owned(),
        "daemonize no".to_owned(),
        "loglevel warning".to_owned(),
        "save \"\"".to_owned(),
        "appendonly yes".to_owned(),
        format!("appendfsync {fsync}"),
        // An evicted stream would be lost messages.
        "maxmemory-policy noeviction".to_owned(),
    ];
    let mut probe = Probe::Redis(lease.address());
    if let Some((user, password, rules)) = &options.login {
        all.push(format!("user {user} on >{password} {rules}"));
        all.push("user default off".to_owned());
        probe = Probe::Accepts(lease.address());
    }
    all.extend(lines.iter().chain(&options.lines).cloned());
    let conf = data.join("redis.conf");
    fs::write(&conf, all.join("\n") + "\n").map_err(StackError::io(conf.display().to_string()))?;
    Ok(Part {
        name: name.to_owned(),
        kind: Kind::Redis,
        url,
        metrics: None,
        probe,
        launch: Launch::new(find("redis-server")?, data, folder.log(name)).args(["redis.conf"]),
        process: Process::none(),
        leases: vec![lease],
    })
}
