//! The one place that reads clocks. Everything else takes `now` as an argument, so that the same input
//! gives the same run.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch.
pub type UnixMs = u64;

/// The wall clock, in Unix milliseconds.
#[expect(clippy::disallowed_methods, reason = "this is the clock module")]
pub fn now_ms() -> UnixMs {
    #[cfg(feature = "simulation")]
    if let Some(now_ms) = crate::simulation::ask(|world| world.unix_ms()) {
        return now_ms;
    }
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0))
}

/// A clock that never goes back: time since it was made.
#[derive(Debug, Clone, Copy)]
pub struct Monotonic(Instant);

impl Monotonic {
    /// Starts at zero.
    #[must_use]
    pub fn start() -> Self {
        Self(now())
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        now().saturating_duration_since(self.0)
    }

    /// Milliseconds since the start.
    pub fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the clock module")]
fn now() -> Instant {
    #[cfg(feature = "simulation")]
    if let Some(now) = crate::simulation::ask(|world| world.instant()) {
        return now;
    }
    Instant::now()
}
