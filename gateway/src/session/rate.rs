//! A rate limit in eight bytes: the generic cell rate algorithm (ITU-T I.371) with bursts of twice the rate.

/// When the next request would be due if all came evenly, in microseconds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rate {
    due_us: u64,
}

impl Rate {
    /// Lets a request pass, or says after how many milliseconds it would.
    pub(super) fn take(&mut self, per_second: u32, uptime_ms: u64) -> Result<(), u64> {
        if per_second == 0 {
            return Ok(());
        }
        let now_us = uptime_ms * 1_000;
        let interval_us = 1_000_000 / u64::from(per_second);
        let burst_us = interval_us * (2 * u64::from(per_second) - 1);
        let due_us = self.due_us.max(now_us);
        if due_us > now_us + burst_us {
            return Err((due_us - now_us - burst_us).div_ceil(1_000));
        }
        self.due_us = due_us + interval_us;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twice_the_rate_at_once_then_the_rate() {
        let mut rate = Rate::default();
        let passed = (0..100).filter(|_| rate.take(20, 1_000).is_ok()).count();
        assert_eq!(passed, 40);
        let wait_ms = rate.take(20, 1_000).unwrap_err();
        assert_eq!(wait_ms, 50);
        assert_eq!(rate.take(20, 1_000 + wait_ms), Ok(()));
        assert!(rate.take(20, 1_000 + wait_ms).is_err());
        assert_eq!((0..100).filter(|_| rate.take(20, 2_050).is_ok()).count(), 20);
        assert_eq!(Rate { due_us: u64::MAX }.take(0, 0), Ok(()));
    }
}
