//! What operators see of this gateway, and what they tell it.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::Tell;
use super::backend::{Directory, Streams};
use super::engine::{Engine, State};

/// How often this gateway tells how it is: what it counts is noted as often.
const REPORT_EVERY: Duration = Duration::from_secs(1);

impl<B: Streams + Directory> Engine<B> {
    /// Tells how this gateway is, for ever.
    pub(super) async fn report(self: Rc<Self>) {
        let mut every = interval(REPORT_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            let Some(run) = self.backend.run() else { continue };
            let report = self.status.report(&run);
            if let Err(error) = self.backend.report(&report, self.gateway_timeout).await {
                tracing::debug!(%error, "operators do not see how this gateway is");
            }
        }
    }

    /// Tells how far this gateway was behind in the second before, in each shard and at most.
    pub(super) fn tell_lag(&self, state: &mut State) {
        let mut lag_ms_max = 0;
        for (of_shard, gauge) in state.shards.iter_mut().zip(&self.metrics.lag) {
            let lag_ms = std::mem::take(&mut of_shard.lag_ms);
            gauge.set(Duration::from_millis(lag_ms).as_secs_f64());
            lag_ms_max = lag_ms_max.max(lag_ms);
        }
        self.status.set_lag_ms(lag_ms_max);
    }

    /// Sends every client away, as at the end, where this run is meant; the process stays, for whoever started it
    /// to stop.
    pub(super) fn drain_if_meant(&self, state: &mut State, run: &str) {
        if self.backend.run().as_deref() == Some(run) && !self.status.is_draining() {
            tracing::info!(connections = self.status.connections(), "an operator wants this gateway drained");
            self.status.set_draining();
            state.tell_all(|| Tell::Drain);
        }
    }
}
