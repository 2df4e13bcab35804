//! What systemd is told, where it started the program (`Type=notify`): ready, how it goes, alive, leaving. Elsewhere
//! nothing happens.

use std::time::Duration;

use sd_notify::{NotifyState, notify, watchdog_enabled};

/// How often it is told how it goes.
const EVERY: Duration = Duration::from_secs(5);

/// Everything listens; `how` is for people (`systemctl status`).
pub fn ready(how: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(how)]);
}

/// Alive, and how it goes. Without this for `WatchdogSec` the program counts as stuck.
pub fn alive(how: &str) {
    tell(&[NotifyState::Watchdog, NotifyState::Status(how)]);
}

/// Another process goes on with the service.
pub fn handed_over(pid: u32) {
    tell(&[NotifyState::MainPid(pid)]);
}

/// On the way out, which may take so long: systemd waits for it even where its `TimeoutStopSec` is shorter.
pub fn stopping(how: &str, within: Duration) {
    // The library's own word for it ends at 71 minutes.
    let within = format!("EXTEND_TIMEOUT_USEC={}", within.as_micros());
    tell(&[NotifyState::Stopping, NotifyState::Custom(&within), NotifyState::Status(how)]);
}

/// How often to tell [`alive`].
pub fn alive_every() -> Duration {
    watchdog_enabled().map_or(EVERY, |watchdog| EVERY.min(watchdog / 3))
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = notify(state) {
        tracing::debug!(%error, "systemd was not told");
    }
}
