//! A primary, two replicas, three sentinels.

use std::fs;
use std::net::SocketAddr;

use super::super::part::{Kind, Part, Process};
use super::super::ports::Lease;
use super::super::spawn::Launch;
use super::super::wait::Probe;
use super::super::{Folder, StackError, find};
use super::cli::{ask, ask_until};
use super::{Options, server};

/// What the sentinels call it.
const MASTER: &str = "hubbub";
const REPLICAS: usize = 2;
const SENTINELS: usize = 3;

/// Started, and ready to be asked for the primary; with the URL that asks.
pub(in super::super) fn sentinels(
    folder: &Folder,
    options: &Options,
) -> Result<(Vec<Part>, String), StackError> {
    let at_once = "repl-diskless-sync-delay 0".to_owned();
    let lines = std::slice::from_ref(&at_once);
    let primary = begin(replicated(folder, "redis-1", options, lines)?)?;
    let address = primary.lease().address();
    let mut parts = vec![primary];
    let follow =
        [format!("replicaof {} {}", address.ip(), address.port()), "repl-diskless-sync-delay 0".to_owned()];
    for number in 2..2 + REPLICAS {
        parts.push(begin(replicated(folder, &format!("redis-{number}"), options, &follow)?)?);
    }
    // Sentinels ask the primary for its replicas when they start, and then every ten seconds only.
    ask_until(address, "info replication", |info| info.matches("state=online").count() == REPLICAS)?;
    let mut hosts = Vec::new();
    for number in 1..=SENTINELS {
        let sentinel = begin(sentinel(folder, &format!("sentinel-{number}"), address)?)?;
        hosts.push(sentinel.lease().address());
        parts.push(sentinel);
    }
    for host in &hosts {
        let known = |replies: &str, word: &str| replies.lines().filter(|line| *line == word).count();
        ask_until(*host, &format!("sentinel sentinels {MASTER}"), |text| {
            known(text, "name") == SENTINELS - 1
        })?;
        ask_until(*host, &format!("sentinel replicas {MASTER}"), |text| known(text, "name") == REPLICAS)?;
    }
    let hosts: Vec<_> = hosts.iter().map(ToString::to_string).collect();
    Ok((parts, format!("redis+sentinel://{}{}/{MASTER}", options.prefix(), hosts.join(","))))
}

fn replicated(folder: &Folder, name: &str, options: &Options, lines: &[String]) -> Result<Part, StackError> {
    let lease = Lease::any()?;
    let url = format!("redis://{}", lease.address());
    server(folder, name, lease, url, options, lines)
}

fn sentinel(folder: &Folder, name: &str, primary: SocketAddr) -> Result<Part, StackError> {
    let data = folder.sub(name)?;
    let lease = Lease::any()?;
    let lines = [
        format!("port {}", lease.port()),
        "bind 127.0.0.1".to_owned(),
        format!("sentinel monitor {MASTER} {} {} {}", primary.ip(), primary.port(), SENTINELS / 2 + 1),
        // Short, because tests wait for it.
        format!("sentinel down-after-milliseconds {MASTER} 1000"),
        format!("sentinel failover-timeout {MASTER} 5000"),
    ];
    // Sentinels write what they find out into this file.
    let conf = data.join("sentinel.conf");
    fs::write(&conf, lines.join("\n") + "\n").map_err(StackError::io(conf.display().to_string()))?;
    Ok(Part {
        name: name.to_owned(),
        kind: Kind::Redis,
        url: format!("redis://{}", lease.address()),
        metrics: None,
        probe: Probe::Redis(lease.address()),
        launch: Launch::new(find("redis-server")?, data, folder.log(name))
            .args(["sentinel.conf", "--sentinel"]),
        process: Process::none(),
        leases: vec![lease],
    })
}

fn begin(part: Part) -> Result<Part, StackError> {
    part.start()?;
    // Answers as soon as it has read its data.
    ask(part.lease().address(), "ping")?;
    Ok(part)
}
