//! A line on the terminal that says how far a run is, for whoever waits.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use hubbub_common::clock::Monotonic;

/// Time between two lines.
const EVERY: Duration = Duration::from_millis(500);

/// See the module's text. Says nothing where no terminal is.
#[derive(Debug)]
pub(super) struct Progress {
    clock: Monotonic,
    next: Duration,
    terminal: bool,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { clock: Monotonic::start(), next: Duration::ZERO, terminal: std::io::stderr().is_terminal() }
    }

    pub(super) fn say(&mut self, text: &str) {
        if self.terminal {
            // Nothing depends on whether somebody sees it.
            let _ = write!(std::io::stderr(), "\r\x1b[K{text}");
        }
    }

    /// Says it, unless something was said a moment ago.
    pub(super) fn say_at_times(&mut self, text: impl FnOnce() -> String) {
        if self.terminal && self.clock.elapsed() >= self.next {
            self.next = self.clock.elapsed() + EVERY;
            self.say(&text());
        }
    }

    pub(super) fn end(&mut self) {
        self.say("");
    }
}

/// A count as a number to calculate with.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub(super) fn float(count: u64) -> f64 {
    count as f64
}
