//! Waiting for conditions, and the conditions that tell that a part is ready.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use hubbub_common::clock::Monotonic;

/// Pause between two looks at a condition.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How long one question to a part may take.
const QUESTION_MAX: Duration = Duration::from_secs(2);

/// Asks until there is an answer; `None` when the time is over.
pub fn until<T>(time: Duration, mut check: impl FnMut() -> Option<T>) -> Option<T> {
    let waiting = Monotonic::start();
    loop {
        if let Some(answer) = check() {
            return Some(answer);
        }
        if waiting.elapsed() >= time {
            return None;
        }
        pause();
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the module that waits for conditions")]
fn pause() {
    std::thread::sleep(LOOK_AGAIN);
}

/// How a part tells that it is ready.
#[derive(Debug, Clone)]
pub(crate) enum Probe {
    /// It takes a connection.
    Accepts(SocketAddr),
    /// `GET` of the path answers 200.
    Http(SocketAddr, &'static str),
    /// `PING` answers `PONG`.
    Redis(SocketAddr),
    /// The status line of this `postmaster.pid` says ready, under the pid asked for.
    Postgres(PathBuf),
}

impl Probe {
    /// Whether the part with this pid is ready now.
    pub(super) fn is_ready(&self, pid: u32) -> bool {
        match self {
            Self::Accepts(address) => TcpStream::connect_timeout(address, QUESTION_MAX).is_ok(),
            Self::Http(address, path) => {
                let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
                let answer = ask(*address, &request, "HTTP/1.1 200".len()).unwrap_or_default();
                answer.starts_with(b"HTTP/1.") && answer.ends_with(b" 200")
            }
            Self::Redis(address) => ask(*address, "PING\r\n", 5).is_ok_and(|answer| answer == *b"+PONG"),
            Self::Postgres(path) => {
                // Lines 1 and 8: LOCK_FILE_LINE_PID and LOCK_FILE_LINE_PM_STATUS in Postgres' pidfile.h.
                let text = fs::read_to_string(path).unwrap_or_default();
                let mut lines = text.lines();
                let same = lines.next().is_some_and(|line| line.trim() == pid.to_string());
                same && lines.nth(6).is_some_and(|line| line.trim() == "ready")
            }
        }
    }
}

/// Sends a request, gives the first `len` bytes of the answer.
fn ask(address: SocketAddr, request: &str, len: usize) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, QUESTION_MAX)?;
    stream.set_read_timeout(Some(QUESTION_MAX))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = vec![0; len];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}
