//! A rate limit in four bytes: the generic cell rate algorithm (ITU-T I.371). Pure.

/// Fine enough for a thousand requests a second.
const TICKS_PER_MS: u32 = 64;

/// How many requests may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// In the long run; 0 = no limit.
    pub per_second: u32,
    /// At once, after a silence.
    pub burst: u32,
}

impl Limit {
    /// With bursts of twice the rate, as the protocol has it for sends.
    pub const fn twice_at_once(per_second: u32) -> Self {
        Self { per_second, burst: per_second.saturating_mul(2) }
    }

    /// Ticks between two requests that come evenly; `None` without a limit.
    fn interval(self) -> Option<u32> {
        (1_000 * TICKS_PER_MS).checked_div(self.per_second)
    }
}

/// When the next request would be due if all came evenly, in ticks of a clock that wraps every 18 hours.
///
/// A due time never lies further ahead than a burst; what seems to is left over from before the clock wrapped, and
/// counts for nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rate {
    due: u32,
}

impl Rate {
    /// Lets a request pass, or says after how many milliseconds it would.
    pub fn take(&mut self, limit: Limit, uptime_ms: u64) -> Result<(), u64> {
        self.take_many(limit, 1, uptime_ms)
    }

    /// Lets a request pass that counts for several; one that counts for more than a burst counts for a burst.
    pub fn take_many(&mut self, limit: Limit, count: u32, uptime_ms: u64) -> Result<(), u64> {
        let Some(interval) = limit.interval() else { return Ok(()) };
        let (now, full) = (ticks(uptime_ms), interval.saturating_mul(limit.burst));
        let ahead = self.ahead(now, full) + u64::from(interval) * u64::from(count.min(limit.burst));
        match ahead.checked_sub(u64::from(full)) {
            None | Some(0) => {
                self.set(now, ahead);
                Ok(())
            }
            Some(excess) => Err(excess.div_ceil(u64::from(TICKS_PER_MS))),
        }
    }

    /// Counts a request that has passed elsewhere.
    pub fn note(&mut self, limit: Limit, uptime_ms: u64) {
        let Some(interval) = limit.interval() else { return };
        let (now, full) = (ticks(uptime_ms), interval.saturating_mul(limit.burst));
        let ahead = self.ahead(now, full) + u64::from(interval);
        self.set(now, ahead.min(u64::from(full)));
    }

    /// Whether a whole burst would pass, as if nothing had ever come.
    pub fn is_rested(&self, limit: Limit, uptime_ms: u64) -> bool {
        let full = limit.interval().unwrap_or(0).saturating_mul(limit.burst);
        self.ahead(ticks(uptime_ms), full) == 0
    }

    fn ahead(self, now: u32, full: u32) -> u64 {
        match self.due.wrapping_sub(now) {
            ahead if ahead <= full => u64::from(ahead),
            _ => 0,
        }
    }

    fn set(&mut self, now: u32, ahead: u64) {
        self.due = now.wrapping_add(u32::try_from(ahead).unwrap_or(0));
    }
}

fn ticks(uptime_ms: u64) -> u32 {
    u32::try_from(uptime_ms.wrapping_mul(u64::from(TICKS_PER_MS)) & u64::from(u32::MAX)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENDS: Limit = Limit::twice_at_once(20);

    #[test]
    fn twice_the_rate_at_once_then_the_rate() {
        // Also across the moment when the clock wraps.
        for start_ms in [1_000, (1 << 32) / 64 - 100] {
            let mut rate = Rate { due: ticks(start_ms - 500) };
            let passed = (0..100).filter(|_| rate.take(SENDS, start_ms).is_ok()).count();
            assert_eq!(passed, 40);
            let wait_ms = rate.take(SENDS, start_ms).unwrap_err();
            assert_eq!(wait_ms, 50);
            assert_eq!(rate.take(SENDS, start_ms + wait_ms), Ok(()));
            assert!(rate.take(SENDS, start_ms + wait_ms).is_err());
            assert_eq!((0..100).filter(|_| rate.take(SENDS, start_ms + 1_050).is_ok()).count(), 20);
        }
    }

    #[test]
    fn the_extremes() {
        assert!((0..1_000).all(|_| Rate::default().take(Limit::twice_at_once(0), 5).is_ok()));
        let mut rate = Rate::default();
        let passed = (0..10_000).filter(|n| rate.take(Limit::twice_at_once(1_000), n / 5).is_ok()).count();
        assert_eq!(passed, 1_999 + 2_000);
    }

    #[test]
    fn a_request_that_counts_for_many_takes_as_much() {
        let limit = Limit { per_second: 100, burst: 1_000 };
        let mut rate = Rate::default();
        assert_eq!(rate.take_many(limit, 256, 0), Ok(()));
        assert_eq!(rate.take_many(limit, 744, 0), Ok(()));
        assert_eq!(rate.take_many(limit, 256, 0), Err(2_560));
        assert_eq!(rate.take_many(limit, 256, 2_560), Ok(()));
        // More than a burst would never pass.
        assert_eq!(Rate::default().take_many(limit, 5_000, 0), Ok(()));
    }

    #[test]
    fn what_passed_elsewhere_counts_up_to_a_burst() {
        let mut rate = Rate::default();
        assert!(rate.is_rested(SENDS, 7));
        (0..1_000).for_each(|_| rate.note(SENDS, 7));
        assert_eq!(rate.take(SENDS, 7), Err(50));
        assert!(!rate.is_rested(SENDS, 2_006) && rate.is_rested(SENDS, 2_007));
        assert_eq!((0..100).filter(|_| rate.take(SENDS, 2_007).is_ok()).count(), 40);
    }
}
