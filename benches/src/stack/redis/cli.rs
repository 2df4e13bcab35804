//! Questions to servers, by `redis-cli`.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use super::super::wait::until;
use super::super::{StackError, find};

/// How long servers may take to find each other.
const TOGETHER_MAX: Duration = Duration::from_secs(30);

/// Asks a server; gives what it prints.
pub(super) fn ask(server: SocketAddr, command: &str) -> Result<String, StackError> {
    let mut cli = Command::new(find("redis-cli")?);
    cli.args(["-h", &server.ip().to_string(), "-p", &server.port().to_string()]).args(command.split(' '));
    let output = cli.output().map_err(StackError::io("redis-cli"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Waits until a server answers so.
pub(super) fn ask_until(
    server: SocketAddr,
    command: &str,
    fits: impl Fn(&str) -> bool,
) -> Result<(), StackError> {
    let mut last = String::new();
    let answered = until(TOGETHER_MAX, || {
        last = ask(server, command).unwrap_or_default();
        fits(&last).then_some(())
    });
    answered.ok_or_else(|| {
        let problem = format!("after {} s: {last}", TOGETHER_MAX.as_secs());
        StackError::io(format!("{command} at {server}"))(std::io::Error::other(problem))
    })
}
