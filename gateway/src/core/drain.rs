//! Sending everybody away: a share of the clients each second, so that the other gateways are not overrun, and the
//! rest go on as if nothing were.

use std::rc::Rc;
use std::time::Duration;

use hubbub_common::protocol::{ByeCode, CloseCode};

use super::Core;
use crate::connection::{Connection, Flag};

/// By when a load balancer has noticed that this gateway is leaving: two health checks, a second apart.
const NOTICED: Duration = Duration::from_secs(2);

/// How it goes, and since when. Nobody has to leave before a load balancer can know where else to send them, so that
/// each second's share, told to come back within a second, arrives elsewhere within one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Drain {
    /// Clients that leave in a second.
    share: usize,
    began: Duration,
    /// How long nobody leaves.
    lull: Duration,
}

impl Drain {
    /// Of so many clients within `time`, `per_second` of them a second or more where that would not suffice.
    fn new(clients: usize, per_second: usize, time: Duration, began: Duration) -> Self {
        // Who has little time does not spend it on waiting.
        let lull = NOTICED.min(Duration::from_secs(time.as_secs() / 2));
        let seconds = usize::try_from(time.saturating_sub(lull).as_secs()).unwrap_or(usize::MAX).max(1);
        Self { share: per_second.max(clients.div_ceil(seconds)), began, lull }
    }

    /// How many leave now, and after how long the first of them should come back; the others follow within a second.
    fn due(self, now: Duration) -> Option<(usize, Duration)> {
        (now.saturating_sub(self.began) >= self.lull).then(|| (self.share, NOTICED.saturating_sub(self.lull)))
    }
}

impl Core {
    /// Begins; where there is little time the first leave at once.
    pub(super) fn begin_drain(&self) {
        if self.drain.get().is_some() {
            return;
        }
        let cores = self.config.cpus.len().max(1);
        let per_second = usize::try_from(self.config.drain_per_second).unwrap_or(usize::MAX).div_ceil(cores);
        let clients = self.connections.borrow().len();
        self.drain.set(Some(Drain::new(clients, per_second, self.config.drain, self.clock.elapsed())));
        self.send_share_away();
    }

    /// Once a second: the next ones leave, and come back to another gateway spread over a second.
    pub(super) fn send_share_away(&self) {
        let due = self.drain.get().and_then(|drain| drain.due(self.clock.elapsed()));
        let Some((share, wait)) = due else { return };
        let leaving: Vec<Rc<Connection>> = {
            let connections = self.connections.borrow();
            let open = connections.iter().filter(|(_, connection)| !connection.has(Flag::Closing));
            open.take(share).map(|(_, connection)| Rc::clone(connection)).collect()
        };
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let count = leaving.len().max(1) as u64;
        for (place, connection) in leaving.iter().enumerate() {
            let reconnect_after_ms = wait_ms + 1_000 * place as u64 / count;
            self.close(connection, CloseCode::Restart, Some((ByeCode::Drain, reconnect_after_ms)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Lets so many clients leave by ticks a second apart: when the last share leaves, and how many come back in each
    /// second from the beginning.
    fn play(clients: usize, per_second: usize, time: Duration) -> (Duration, Vec<usize>) {
        let began = Duration::from_millis(5_700);
        let drain = Drain::new(clients, per_second, time, began);
        let (mut left, mut last, mut back) = (clients, began, vec![0; 100]);
        for tick in 0..90 {
            let now = began + tick * SECOND;
            if let Some((share, wait)) = drain.due(now)
                && left > 0
            {
                let leaving = share.min(left);
                left -= leaving;
                last = now;
                back[usize::try_from((now.saturating_sub(began) + wait).as_secs()).unwrap()] += leaving;
            }
        }
        assert_eq!(left, 0);
        (last.saturating_sub(began), back)
    }

    #[test]
    fn no_more_come_back_in_a_second_than_leave_in_one() {
        let (last, back) = play(10_000, 2_000, 60 * SECOND);
        assert_eq!(last, 6 * SECOND);
        assert_eq!(back[..8], [0, 0, 2_000, 2_000, 2_000, 2_000, 2_000, 0]);
    }

    #[test]
    fn everybody_leaves_in_time_and_no_sooner_comes_back_than_a_load_balancer_knows() {
        for seconds in 1..60 {
            let time = Duration::from_secs(seconds);
            let (last, back) = play(1_000, 1, time);
            assert!(last < time, "{time:?}");
            assert_eq!(back[..2], [0, 0], "{time:?}");
            // As even as the time allows.
            let most = back.iter().max().copied().unwrap();
            assert!(most <= 1_000_usize.div_ceil(usize::try_from(seconds.div_ceil(2)).unwrap()), "{time:?}");
        }
    }
}
