//! What operators see of this gateway, and what they tell it.

use super::Tell;
use super::backend::{Directory, Streams};
use super::engine::{Engine, State};

impl<B: Streams + Directory> Engine<B> {
    /// Tells how this gateway is.
    pub(super) async fn report(&self) {
        let Some(run) = self.backend.run() else { return };
        let report = self.status.report(&run);
        if let Err(error) = self.backend.report(&report, self.gateway_timeout).await {
            tracing::debug!(%error, "operators do not see how this gateway is");
        }
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
