//! A rate limit in four bytes: the generic cell rate algorithm (ITU-T I.371) with bursts of twice the rate.

/// Fine enough for a thousand requests a second.
const TICKS_PER_MS: u32 = 64;

/// When the next request would be due if all came evenly, in ticks of a clock that wraps every 18 hours.
///
/// A due time never lies further ahead than a burst and an interval; what seems to is left over from before the
/// clock wrapped, and counts for nothing.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rate {
    due: u32,
}

impl Rate {
    /// Lets a request pass, or says after how many milliseconds it would. 0 means no limit.
    pub(super) fn take(&mut self, per_second: u32, uptime_ms: u64) -> Result<(), u64> {
        let Some(interval) = (1_000 * TICKS_PER_MS).checked_div(per_second) else { return Ok(()) };
        let now = ticks(uptime_ms);
        let burst = interval * (2 * per_second - 1);
        let ahead = match self.due.wrapping_sub(now) {
            ahead if ahead <= burst + interval => ahead,
            _ => 0,
        };
        if ahead > burst {
            return Err(u64::from((ahead - burst).div_ceil(TICKS_PER_MS)));
        }
        self.due = now.wrapping_add(ahead + interval);
        Ok(())
    }
}

fn ticks(uptime_ms: u64) -> u32 {
    u32::try_from(uptime_ms.wrapping_mul(u64::from(TICKS_PER_MS)) & u64::from(u32::MAX)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twice_the_rate_at_once_then_the_rate() {
        // Also across the moment when the clock wraps.
        for start_ms in [1_000, (1 << 32) / 64 - 100] {
            let mut rate = Rate { due: ticks(start_ms - 500) };
            let passed = (0..100).filter(|_| rate.take(20, start_ms).is_ok()).count();
            assert_eq!(passed, 40);
            let wait_ms = rate.take(20, start_ms).unwrap_err();
            assert_eq!(wait_ms, 50);
            assert_eq!(rate.take(20, start_ms + wait_ms), Ok(()));
            assert!(rate.take(20, start_ms + wait_ms).is_err());
            assert_eq!((0..100).filter(|_| rate.take(20, start_ms + 1_050).is_ok()).count(), 20);
        }
    }

    #[test]
    fn the_extremes() {
        assert!((0..1_000).all(|_| Rate::default().take(0, 5).is_ok()));
        let mut rate = Rate::default();
        let passed = (0..10_000).filter(|n| rate.take(1_000, n / 5).is_ok()).count();
        assert_eq!(passed, 1_999 + 2_000);
    }
}
