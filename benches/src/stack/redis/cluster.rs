//! Three primaries with a replica each.

use std::net::SocketAddr;

use super::super::part::Part;
use super::super::ports::Lease;
use super::super::{Folder, StackError};
use super::cli::{ask, ask_until};
use super::{Options, server};

const PRIMARIES: usize = 3;
const NODES: usize = 2 * PRIMARIES;
/// Slots of a Cluster.
const SLOTS: usize = 16_384;

/// Started, and whole; with the URL that names its nodes.
pub(in super::super) fn cluster(
    folder: &Folder,
    options: &Options,
) -> Result<(Vec<Part>, String), StackError> {
    let mut parts = Vec::new();
    for number in 1..=NODES {
        let (lease, bus) = (Lease::any()?, Lease::any()?);
        let lines = [
            "cluster-enabled yes".to_owned(),
            format!("cluster-port {}", bus.port()),
            // Short, because tests wait for it.
            "cluster-node-timeout 1000".to_owned(),
            "repl-diskless-sync-delay 0".to_owned(),
        ];
        let url = format!("redis://{}", lease.address());
        let mut part = server(folder, &format!("redis-{number}"), lease, url, options, &lines)?;
        part.leases.push(bus);
        part.start()?;
        parts.push(part);
    }
    let nodes: Vec<SocketAddr> = parts.iter().map(|part| part.lease().address()).collect();
    let (primaries, replicas) = nodes.split_at(PRIMARIES);
    for (place, primary) in primaries.iter().enumerate() {
        let (first, next) = (place * SLOTS / PRIMARIES, (place + 1) * SLOTS / PRIMARIES);
        ask(*primary, &format!("cluster addslotsrange {first} {}", next - 1))?;
        ask(*primary, &format!("cluster set-config-epoch {}", place + 1))?;
    }
    let first = parts.first().map(|part| part.lease().address()).ok_or(StackError::NoPort)?;
    for part in parts.iter().skip(1) {
        let ports: Vec<_> = part.leases.iter().map(|lease| lease.port().to_string()).collect();
        ask(first, &format!("cluster meet 127.0.0.1 {}", ports.join(" ")))?;
    }
    for node in &nodes {
        ask_until(*node, "cluster nodes", |nodes| {
            nodes.lines().count() == NODES && !nodes.contains("handshake")
        })?;
    }
    for (primary, replica) in primaries.iter().zip(replicas) {
        let id = ask(*primary, "cluster myid")?;
        ask_until(*replica, &format!("cluster replicate {id}"), |answer| answer == "OK")?;
    }
    for primary in primaries {
        ask_until(*primary, "info replication", |info| info.contains("state=online"))?;
    }
    for node in &nodes {
        ask_until(*node, "cluster info", |info| info.contains("cluster_state:ok"))?;
        ask_until(*node, "cluster nodes", |nodes| nodes.matches("slave").count() == PRIMARIES)?;
    }
    let places: Vec<_> = nodes.iter().map(ToString::to_string).collect();
    Ok((parts, format!("redis://{}{}", options.prefix(), places.join(","))))
}
