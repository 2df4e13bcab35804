//! Our own programs as parts.

use std::ffi::OsString;
use std::process::Stdio;

use super::part::{Kind, Part, Process, tail};
use super::ports::Lease;
use super::spawn::Launch;
use super::wait::Probe;
use super::{Folder, StackError, sibling};

/// A name and a value.
pub(super) type Variable = (OsString, OsString);

/// A gateway on free ports. `env` holds everything but its addresses and its name.
pub(super) fn gateway(folder: &Folder, name: &str, env: Vec<Variable>) -> Result<Part, StackError> {
    server(folder, Kind::Gateway, name, &[], env)
}

/// A control plane on free ports.
pub(super) fn control(folder: &Folder, name: &str, env: Vec<Variable>) -> Result<Part, StackError> {
    server(folder, Kind::Control, name, &["serve"], env)
}

fn program(kind: Kind) -> &'static str {
    if kind == Kind::Gateway { "hubbub-gateway" } else { "hubbub-control" }
}

fn server(
    folder: &Folder,
    kind: Kind,
    name: &str,
    args: &[&str],
    env: Vec<Variable>,
) -> Result<Part, StackError> {
    let (public, internal) = (Lease::any()?, Lease::any()?);
    let own = [
        ("HUBBUB_LISTEN", public.address().to_string()),
        ("HUBBUB_ADMIN_LISTEN", internal.address().to_string()),
        ("HUBBUB_SERVER_ID", name.to_owned()),
    ];
    let launch = Launch::new(sibling(program(kind))?, folder.sub(name)?, folder.log(name));
    Ok(Part {
        name: name.to_owned(),
        kind,
        url: format!("http://{}", public.address()),
        metrics: Some(internal.address()),
        probe: Probe::Http(internal.address(), "/health"),
        launch: launch.args(args).env(env).env(own),
        process: Process::none(),
        leases: vec![public, internal],
    })
}

/// Brings the database's tables up to date.
pub(super) fn migrate(folder: &Folder, env: Vec<Variable>) -> Result<(), StackError> {
    let log = folder.log("migrate");
    let launch =
        Launch::new(sibling(program(Kind::Control))?, folder.path(), &log).args(["migrate"]).env(env);
    let running = launch.spawn(Stdio::null()).and_then(|mut child| child.wait());
    let status = running.map_err(StackError::io("hubbub-control migrate"))?;
    if status.success() {
        return Ok(());
    }
    Err(StackError::Part {
        part: "hubbub-control migrate".to_owned(),
        problem: format!("failed ({status})"),
        tail: tail(&log),
        log: log.display().to_string(),
    })
}
