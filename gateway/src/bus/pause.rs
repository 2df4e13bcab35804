//! Standing still while another process takes over, and being ready to be the one that does.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::try_join_all;
use hubbub_common::ids::EntryId;
use hubbub_common::shard::Shard;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::backend::{Directory, Streams};
use super::engine::{ANSWER_MAX, Engine, Reading};

/// How often a reader that was about to wait for entries is called off once more.
const CALL_OFF_PAUSE: Duration = Duration::from_millis(20);
/// How often a congested inbox is tried again.
const CONGESTION_PAUSE: Duration = Duration::from_millis(1);
/// Before shards that could not be read are tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Pause {
    is_wanted: Cell<bool>,
    stands_still: Cell<bool>,
    changed: Notify,
}

impl<B: Streams + Directory> Engine<B> {
    /// Between two reads: waits for as long as nothing is to be read.
    pub(super) async fn pause(&self) {
        while self.pause.is_wanted.get() {
            let changed = self.pause.changed.notified();
            if !self.pause.stands_still.replace(true) {
                self.pause.changed.notify_waiters();
            }
            changed.await;
        }
        self.pause.stands_still.set(false);
    }

    /// Reads no more, and tells the cores the rest. Gives up to where they were told, by shard.
    pub(super) async fn freeze(self: Rc<Self>) -> Result<Vec<(Shard, EntryId)>, String> {
        self.pause.is_wanted.set(true);
        let stands_still = async {
            while !self.pause.stands_still.get() {
                let changed = self.pause.changed.notified();
                self.backend.interrupt_read().await;
                // It may have been about to wait only then.
                let _ = timeout(CALL_OFF_PAUSE, changed).await;
            }
        };
        timeout(ANSWER_MAX, stands_still).await.map_err(|_| "Redis does not answer".to_owned())?;
        let told = async {
            self.flush();
            while self.is_congested() {
                sleep(CONGESTION_PAUSE).await;
                self.flush();
            }
        };
        timeout(ANSWER_MAX, told).await.map_err(|_| "a core is far behind".to_owned())?;
        let state = self.state.borrow();
        let mut told_to = Vec::new();
        for (shard, of_shard) in self.shards.all().zip(&state.shards) {
            match of_shard.reading {
                Reading::Off => {}
                Reading::Live { cursor, .. } => told_to.push((shard, cursor)),
                Reading::Starting | Reading::CatchingUp { .. } => {
                    return Err(format!("shard {shard} is catching up"));
                }
            }
        }
        Ok(told_to)
    }

    /// Goes on reading.
    pub(super) fn thaw(&self) {
        self.pause.is_wanted.set(false);
        self.pause.changed.notify_waiters();
    }

    /// Reads every shard, so that joins can be answered at once.
    pub(super) async fn read_all(self: Rc<Self>) {
        while let Err(error) = try_join_all(self.shards.all().map(|shard| self.read_shard(shard))).await {
            tracing::debug!(%error, "not every shard is read");
            sleep(RETRY_PAUSE).await;
        }
    }
}
