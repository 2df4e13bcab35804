//! Standard output, written by a thread of its own.
//!
//! Who reads it may be slow, may not read at all (a pipe that a script forgot), or may have gone. None of that may
//! keep the system from running or from being stopped. The queue is short: what does not fit stays with the caller,
//! who reads no more logs until there is room.

use std::io::{IsTerminal as _, Write as _};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

/// Pieces that wait to be written.
const QUEUE_MAX: usize = 4;
/// How long the last lines may take.
const FINISH_MAX: Duration = Duration::from_secs(1);

/// See the module's text.
#[derive(Debug)]
pub(super) struct Printer {
    queue: Option<SyncSender<Vec<u8>>>,
    /// Hangs up when everything is written.
    finished: Receiver<()>,
    /// Not yet in the queue.
    waiting: Vec<u8>,
    terminal: bool,
}

impl Printer {
    pub(super) fn new() -> Self {
        let (queue, pieces) = sync_channel::<Vec<u8>>(QUEUE_MAX);
        let (finish, finished) = sync_channel(0);
        std::thread::spawn(move || {
            let _finish: SyncSender<()> = finish;
            for piece in pieces {
                let mut stdout = std::io::stdout().lock();
                // Nobody reads any more: the system runs all the same.
                let _ = stdout.write_all(&piece).and_then(|()| stdout.flush());
            }
        });
        Self { queue: Some(queue), finished, waiting: Vec::new(), terminal: std::io::stdout().is_terminal() }
    }

    /// Whether people read it.
    pub(super) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Whether it was a terminal, and that one was closed.
    pub(super) fn has_hung_up(&self) -> bool {
        self.terminal && !std::io::stdout().is_terminal()
    }

    /// Prints soon.
    pub(super) fn print(&mut self, text: &[u8]) {
        self.waiting.extend_from_slice(text);
        self.has_room();
    }

    /// Whether what was printed before is on its way.
    pub(super) fn has_room(&mut self) -> bool {
        let waiting = std::mem::take(&mut self.waiting);
        if waiting.is_empty() {
            return true;
        }
        if let Some(queue) = &self.queue
            && let Err(TrySendError::Full(piece)) = queue.try_send(waiting)
        {
            self.waiting = piece;
        }
        self.waiting.is_empty()
    }
}

impl Drop for Printer {
    fn drop(&mut self) {
        self.has_room();
        self.queue = None;
        // It says "disconnected" when all is written, and "timeout" when nobody reads; nothing is ever sent.
        let _ = self.finished.recv_timeout(FINISH_MAX);
    }
}
