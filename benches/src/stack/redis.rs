//! A private Redis.

use super::part::{Kind, Part, Process};
use super::ports::Lease;
use super::spawn::Launch;
use super::wait::Probe;
use super::{Folder, StackError, find};

/// On a free port, with its data in the folder. Not `durable` means that a crash of the machine may lose data;
/// a crash of Redis loses nothing that it has acknowledged either way.
pub(super) fn redis(folder: &Folder, durable: bool) -> Result<Part, StackError> {
    let data = folder.sub("redis")?;
    let lease = Lease::any()?;
    let fsync = if durable { "everysec" } else { "no" };
    let port = lease.port().to_string();
    let launch = Launch::new(find("redis-server")?, data, folder.log("redis")).args([
        "--port",
        &port,
        "--bind",
        "127.0.0.1",
        "--daemonize",
        "no",
        "--loglevel",
        "warning",
        "--save",
        "",
        "--appendonly",
        "yes",
        "--appendfsync",
        fsync,
        // An evicted stream would be lost messages.
        "--maxmemory-policy",
        "noeviction",
    ]);
    Ok(Part {
        name: "redis".to_owned(),
        kind: Kind::Redis,
        url: format!("redis://{}", lease.address()),
        metrics: None,
        probe: Probe::Redis(lease.address()),
        launch,
        process: Process::none(),
        _leases: vec![lease],
    })
}
