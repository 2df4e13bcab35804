//! For systemd's `ExecReload=`: a command that comes back when its successor has taken over.
//!
//! The successor is to be the service's main process, and systemd wants that to be a child of its own. So a process in between starts
//! it and ends, and what becomes of it is seen from outside: it holds a pipe for as long as it lives, and answers for
//! the address when it serves.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitCode, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::socket_peercred;

use super::address;

/// How often it is looked.
const LOOK_PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// Has this program run once more, `detached` in the place of `background` among its arguments, and waits until that one
/// has ended or what it started serves.
pub fn take_over(listen: SocketAddr, background: &str, detached: &str) -> io::Result<ExitCode> {
    let Some(predecessor) = who_serves(listen) else {
        eprintln!("error: --take-over: no gateway on {listen} can be asked to hand over");
        return Ok(ExitCode::FAILURE);
    };
    let mut between = Command::new(std::env::current_exe()?);
    between.args(std::env::args_os().skip(1).filter(|argument| argument != background)).arg(detached);
    // It says whose pings count; those of the main process do, and that is what the successor becomes.
    between.env_remove("WATCHDOG_PID").stdin(Stdio::piped());
    let mut between = between.spawn()?;
    let pipe = between.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
    if !between.wait()?.success() {
        return Ok(ExitCode::FAILURE);
    }
    while !has_ended(&pipe)? {
        if who_serves(listen).is_some_and(|pid| pid != predecessor) {
            return Ok(ExitCode::SUCCESS);
        }
    }
    Ok(ExitCode::FAILURE)
}

/// The process in between: starts the successor, and ends.
pub fn start(detached: &str) -> io::Result<ExitCode> {
    let arguments = std::env::args_os().skip(1).filter(|argument| argument != detached);
    Command::new(std::env::current_exe()?).args(arguments).spawn()?;
    Ok(ExitCode::SUCCESS)
}

/// Waits a moment; whether nobody holds the other end of a pipe any more.
fn has_ended(pipe: &impl AsFd) -> io::Result<bool> {
    let mut ends = [PollFd::new(pipe, PollFlags::empty())];
    let told = poll(&mut ends, Some(&LOOK_PAUSE))?;
    Ok(told > 0)
}

/// The process that could be asked to hand over.
fn who_serves(listen: SocketAddr) -> Option<u32> {
    let socket = UnixStream::connect_addr(&address(listen).ok()?).ok()?;
    Some(socket_peercred(&socket).ok()?.pid.as_raw_pid().unsigned_abs())
}
