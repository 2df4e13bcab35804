//! Sending everybody away: a share of the clients each second, so that the other gateways are not overrun, and the
//! rest go on as if nothing were.

use std::rc::Rc;

use hubbub_common::protocol::{ByeCode, CloseCode};

use super::Core;
use crate::connection::{Connection, Flag};

/// By when a load balancer has noticed that this gateway is leaving.
const NOTICED_S: u64 = 2;

/// How far it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Drain {
    /// Clients that leave in a second.
    share: usize,
    began_s: u64,
}

impl Core {
    /// Begins; the first leave at once.
    pub(super) fn begin_drain(&self) {
        if self.drain.get().is_some() {
            return;
        }
        let cores = self.config.cpus.len().max(1);
        let asked = usize::try_from(self.config.drain_per_second).unwrap_or(usize::MAX).div_ceil(cores);
        let seconds = usize::try_from(self.config.drain.as_secs()).unwrap_or(usize::MAX).max(1);
        let in_time = self.connections.borrow().len().div_ceil(seconds);
        self.drain.set(Some(Drain { share: asked.max(in_time), began_s: self.clock.elapsed().as_secs() }));
        self.send_share_away();
    }

    /// Once a second: the next ones leave, and come back to another gateway spread over a second.
    pub(super) fn send_share_away(&self) {
        let Some(Drain { share, began_s }) = self.drain.get() else { return };
        let drained_s = self.clock.elapsed().as_secs().saturating_sub(began_s);
        let wait_ms = NOTICED_S.saturating_sub(drained_s) * 1_000;
        let leaving: Vec<Rc<Connection>> = {
            let connections = self.connections.borrow();
            let open = connections.iter().filter(|(_, connection)| !connection.has(Flag::Closing));
            open.take(share).map(|(_, connection)| Rc::clone(connection)).collect()
        };
        let count = leaving.len().max(1) as u64;
        for (place, connection) in leaving.iter().enumerate() {
            let reconnect_after_ms = wait_ms + 1_000 * place as u64 / count;
            self.close(connection, CloseCode::Restart, Some((ByeCode::Drain, reconnect_after_ms)));
        }
    }
}
