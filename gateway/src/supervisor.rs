//! What systemd hears of this gateway while it runs: that it lives, as long as every one of its threads does.

use std::sync::Arc;
use std::time::Duration;

use hubbub_common::supervisor::{alive, alive_every};

use crate::status::Status;

/// Cores and bus tell every second that they live.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Tells for ever.
pub async fn keep_alive(status: Arc<Status>) {
    let mut every = tokio::time::interval(alive_every());
    loop {
        every.tick().await;
        match status.stuck(SILENCE_MAX) {
            None => alive(&status.summary()),
            Some(part) => tracing::error!("{part} is stuck: a watchdog will end this gateway"),
        }
    }
}
