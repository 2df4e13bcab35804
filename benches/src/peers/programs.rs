//! How each peer is started: program, arguments, configuration.

use std::fs;
use std::mem::replace;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::PeerError;
use crate::stack::ports::Lease;
use crate::stack::wait::Probe;
use crate::stack::{Folder, Launch, StackError, find, profile_folder};

const NGINX_CONF: &str = include_str!("../../peers/nchan/nginx.conf");
const NATS_CONF: &str = include_str!("../../peers/nats/nats.conf");
const WS_JS: &str = include_str!("../../peers/node/ws.js");
const SOCKETIO_JS: &str = include_str!("../../peers/node/socketio.js");

const NCHAN_MODULE: &str = "/usr/lib/nginx/modules/ngx_nchan_module.so";

/// What the two configurations have where the address belongs.
const PUBLIC: &str = "127.0.0.1:8000";
const NATS_OTHER: &str = "127.0.0.1:4222";

/// A peer to be.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) launch: Launch,
    pub(super) probe: Probe,
    /// Where clients connect.
    pub(super) address: SocketAddr,
    pub(super) leases: Vec<Lease>,
}

impl Program {
    /// Ready once it accepts connections.
    fn new(launch: Launch, lease: Lease) -> Self {
        let address = lease.address();
        Self { launch, probe: Probe::Accepts(address), address, leases: vec![lease] }
    }

    /// On this CPU alone, with all its threads and children, where one is given.
    pub(super) fn pinned(mut self, cpu: Option<usize>) -> Result<Self, StackError> {
        if let Some(cpu) = cpu {
            let program = replace(&mut self.launch.program, find("taskset")?);
            let pin = ["-c".into(), cpu.to_string().into(), program.into_os_string()];
            self.launch.args.splice(0..0, pin);
        }
        Ok(self)
    }
}

/// nginx with nchan, of the Debian packages.
pub(super) fn nchan(folder: &Folder) -> Result<Program, PeerError> {
    let nginx = installed("nginx")?;
    if !Path::new(NCHAN_MODULE).is_file() {
        return Err(PeerError::NotInstalled("libnginx-mod-nchan".to_owned()));
    }
    let lease = Lease::any()?;
    let conf = NGINX_CONF.replace(PUBLIC, &lease.address().to_string());
    let home = folder.path().to_owned();
    let mut launch = Launch::new(nginx, &home, folder.log("nchan"))
        .args(["-e", "stderr", "-c"])
        .args([write(folder, "nginx.conf", &conf)?])
        .args(["-p".into(), home]);
    // Killed, the master would leave its worker behind.
    launch.death_signal = "TERM";
    // The master listens before it has a worker.
    let probe = Probe::Http(lease.address(), "/ready");
    Ok(Program { probe, ..Program::new(launch, lease) })
}

/// nats-server, of the Debian package.
pub(super) fn nats(folder: &Folder) -> Result<Program, PeerError> {
    let program = installed("nats-server")?;
    let (lease, other) = (Lease::any()?, Lease::any()?);
    let conf = NATS_CONF.replace(PUBLIC, &lease.address().to_string());
    let conf = conf.replace(NATS_OTHER, &other.address().to_string());
    let launch = Launch::new(program, folder.path(), folder.log("nats"));
    let launch = launch.args(["-c".into(), write(folder, "nats.conf", &conf)?]);
    let mut program = Program::new(launch, lease);
    program.leases.push(other);
    Ok(program)
}

/// A server on `ws`.
pub(super) fn ws(folder: &Folder) -> Result<Program, PeerError> {
    node(folder, "ws", WS_JS, None)
}

/// A server on Socket.IO, which publishes through this Redis.
pub(super) fn socket_io(folder: &Folder, redis_url: &str) -> Result<Program, PeerError> {
    node(folder, "socketio", SOCKETIO_JS, Some(redis_url))
}

fn node(folder: &Folder, name: &str, script: &str, argument: Option<&str>) -> Result<Program, PeerError> {
    let program = installed("node")?;
    // Where `.ci/setup bench` puts it.
    let target = profile_folder()?.parent().map(Path::to_owned).unwrap_or_default();
    let modules = target.join("peers/node/node_modules");
    if !modules.is_dir() {
        return Err(PeerError::NotInstalled(modules.display().to_string()));
    }
    let lease = Lease::any()?;
    let launch = Launch::new(program, folder.path(), folder.log(name))
        .args([write(folder, &format!("{name}.js"), script)?])
        .args([lease.port().to_string()])
        .args(argument)
        .env([("NODE_PATH", modules.as_os_str()), ("NODE_ENV", "production".as_ref())]);
    Ok(Program::new(launch, lease))
}

/// `peers/tungstenite`.
pub(super) fn tungstenite(folder: &Folder) -> Result<Program, PeerError> {
    let lease = Lease::any()?;
    let launch = Launch::new(example("peer-tungstenite")?, folder.path(), folder.log("tungstenite"));
    let launch = launch.args([lease.address().to_string()]);
    Ok(Program::new(launch, lease))
}

/// `peers/floor`.
pub(super) fn floor(folder: &Folder, by: &str, pad_bytes: usize) -> Result<Program, PeerError> {
    let lease = Lease::any()?;
    let (address, pad) = (lease.address().to_string(), pad_bytes.to_string());
    let launch = Launch::new(example("peer-floor")?, folder.path(), folder.log("floor"));
    let launch = launch.args([by, "--listen", &address, "--pad", &pad]);
    Ok(Program::new(launch, lease))
}

fn installed(program: &str) -> Result<PathBuf, PeerError> {
    find(program).map_err(|_| PeerError::NotInstalled(program.to_owned()))
}

/// An example of this crate, beside the running program.
pub(crate) fn example(name: &'static str) -> Result<PathBuf, PeerError> {
    let path = profile_folder()?.join("examples").join(name);
    if path.is_file() { Ok(path) } else { Err(PeerError::NotBuilt(name)) }
}

fn write(folder: &Folder, name: &str, text: &str) -> Result<PathBuf, StackError> {
    let path = folder.path().join(name);
    fs::write(&path, text).map_err(StackError::io(path.display().to_string()))?;
    Ok(path)
}
