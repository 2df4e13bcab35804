//! How fast users send, over all their connections on all gateways. Pure.
//!
//! Nothing is asked for this: a send of this gateway counts when it is published, one of another gateway when it is
//! read from the stream. So what a user sends elsewhere counts here a moment later, and only where a session of this
//! gateway makes it read that stream; a limit that were exact to the message would cost every send a round trip.

use std::collections::HashMap;

use hubbub_common::ids::UserId;

use crate::rate::{Limit, Rate};

/// See the module's text.
#[derive(Debug)]
pub(super) struct SendRates {
    limit: Limit,
    /// Of those who sent during the last seconds.
    users: HashMap<UserId, Rate>,
}

impl SendRates {
    /// 0 means no limit, and then nothing is kept.
    pub(super) fn new(per_second: u32) -> Self {
        Self { limit: Limit::twice_at_once(per_second), users: HashMap::new() }
    }

    pub(super) fn is_off(&self) -> bool {
        self.limit.per_second == 0
    }

    /// Lets a send of this gateway pass, or says after how many milliseconds it would.
    pub(super) fn take(&mut self, user: UserId, uptime_ms: u64) -> Result<(), u64> {
        if self.is_off() {
            return Ok(());
        }
        self.users.entry(user).or_default().take(self.limit, uptime_ms)
    }

    /// Counts a send of another gateway.
    pub(super) fn note(&mut self, user: UserId, uptime_ms: u64) {
        if !self.is_off() {
            self.users.entry(user).or_default().note(self.limit, uptime_ms);
        }
    }

    /// Once a second: forgets who has not sent for so long that it makes no difference.
    pub(super) fn sweep(&mut self, uptime_ms: u64) {
        let limit = self.limit;
        self.users.retain(|_, rate| !rate.is_rested(limit, uptime_ms));
        if self.users.is_empty() {
            self.users.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(n: u64) -> UserId {
        UserId::new(n).unwrap()
    }

    #[test]
    fn sends_here_and_elsewhere_draw_on_one_budget() {
        let mut rates = SendRates::new(20);
        (0..30).for_each(|_| rates.note(user(1), 0));
        let passed = (0..100).filter(|_| rates.take(user(1), 0).is_ok()).count();
        assert_eq!(passed, 10);
        assert_eq!(rates.take(user(1), 0), Err(50));
        assert_eq!(rates.take(user(2), 0), Ok(()));
    }

    #[test]
    fn who_rests_is_forgotten_and_without_a_limit_nobody_is_kept() {
        let mut rates = SendRates::new(20);
        rates.note(user(1), 0);
        rates.note(user(2), 40);
        rates.sweep(50);
        assert_eq!(rates.users.len(), 1);
        rates.sweep(90);
        assert_eq!(rates.users.capacity(), 0);
        let mut off = SendRates::new(0);
        (0..1_000).for_each(|n| off.note(user(n + 1), 0));
        assert!(off.take(user(1), 0).is_ok() && off.users.is_empty());
    }
}
