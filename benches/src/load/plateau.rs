//! Whether Redis holds what clients may resume from and no more, however long messages go on. Pure.
//!
//! Streams are trimmed behind two resume windows. So Redis' memory grows for as long as that, and then stays where it is.

use std::time::Duration;

use serde::Serialize;

use super::progress::float;
use super::streams::Held;

/// How much more the second half may need than the first, once streams are trimmed.
const GROWTH_MAX: f64 = 1.25;
/// Less than this is no growth: buffers of connections come and go.
const NOISE_BYTES: u64 = 4 << 20;
/// Streams are trimmed this long behind two windows, at most: once a second, and what waits is persisted before.
const TRIMMED_WITHIN: Duration = Duration::from_secs(2);
/// Streams are trimmed by whole nodes, of so many entries at most (`stream-node-max-entries`).
const NODE_ENTRIES: u64 = 100;

/// What decides how much there may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) window: Duration,
    /// Messages a second; an entry holds at least one.
    pub(super) rate: f64,
    pub(super) streams: u64,
    pub(super) time: Duration,
}

/// What was seen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Plateau {
    /// At most in the first half, once streams are trimmed.
    first_bytes: u64,
    /// At most in the second half.
    second_bytes: u64,
    times: f64,
    /// At most, once streams are trimmed.
    entries: u64,
    /// What two windows at this rate explain.
    entries_explained: u64,
}

impl Load {
    /// The shortest run that can tell.
    pub(super) fn time_min(window: Duration) -> Duration {
        (2 * window + TRIMMED_WITHIN) * 3
    }

    /// Judges looks, each with the time since the start; what is wrong otherwise.
    pub(super) fn judge(&self, looks: impl Iterator<Item = (f64, Held)>) -> Result<Plateau, String> {
        let trimmed_s = (2 * self.window + TRIMMED_WITHIN).as_secs_f64();
        let half_s = self.time.as_secs_f64() / 2.0;
        let (first, second): (Vec<_>, Vec<_>) =
            looks.filter(|(at_s, _)| *at_s >= trimmed_s).partition(|(at_s, _)| *at_s < half_s);
        let most = |looks: &[(f64, Held)], of: fn(&Held) -> u64| {
            looks
                .iter()
                .map(|(_, held)| of(held))
                .max()
                .ok_or("too short to tell whether Redis' memory grows")
        };
        let (first_bytes, second_bytes) =
            (most(&first, |held| held.bytes)?, most(&second, |held| held.bytes)?);
        let entries = most(&first, |held| held.entries)?.max(most(&second, |held| held.entries)?);
        // As many seconds as messages: a number that is not too large for either.
        let messages = Duration::from_secs_f64(self.rate * trimmed_s).as_secs();
        let explained = messages + self.streams * NODE_ENTRIES;
        let plateau = Plateau {
            first_bytes,
            second_bytes,
            times: float(second_bytes) / float(first_bytes),
            entries,
            entries_explained: explained,
        };
        let grown = plateau.times > GROWTH_MAX && second_bytes - first_bytes > NOISE_BYTES;
        if grown || entries > explained {
            return Err(format!("Redis' memory is not bounded: {plateau:?}"));
        }
        Ok(plateau)
    }
}

impl Plateau {
    /// For people.
    pub(super) fn text(&self) -> String {
        format!(
            "Redis: at most {:.1} MB in the first half once streams are trimmed, {:.1} MB in the second; {} entries, where {} are explained\n",
            float(self.first_bytes) / 1e6,
            float(self.second_bytes) / 1e6,
            self.entries,
            self.entries_explained,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1_000_000;

    /// A look a second for a minute, at a window of five seconds and 1,000 messages a second.
    fn judge(held: impl Fn(u64) -> Held) -> Result<Plateau, String> {
        let load =
            Load { window: Duration::from_secs(5), rate: 1_000.0, streams: 4, time: Duration::from_mins(1) };
        load.judge((0..=60).map(|second| (float(second), held(second))))
    }

    #[test]
    fn what_two_windows_explain_is_bounded() {
        // It is trimmed from the tenth second on.
        let plateau =
            judge(|second| Held { bytes: 2 * MB + second.min(11) * MB, entries: second.min(11) * 1_000 })
                .unwrap();
        assert_eq!((plateau.first_bytes, plateau.second_bytes), (13 * MB, 13 * MB));
        assert_eq!((plateau.entries, plateau.entries_explained), (11_000, 12_400));
    }

    #[test]
    fn what_goes_on_growing_is_not() {
        let entries = |second: u64| second.min(11) * 1_000;
        let slowly = |second| Held { bytes: 13 * MB + second * MB / 5, entries: entries(second) };
        assert!(judge(slowly).unwrap_err().contains("not bounded"));
        let untrimmed = |second| Held { bytes: 13 * MB, entries: second * 1_000 };
        assert!(judge(untrimmed).unwrap_err().contains("not bounded"));
    }

    #[test]
    fn buffers_are_no_growth() {
        let small = |second| Held { bytes: MB + if second > 50 { 3 * MB } else { 0 }, entries: 10 };
        assert!(judge(small).unwrap().times > GROWTH_MAX);
    }

    #[test]
    fn a_run_that_is_too_short_says_so() {
        let load =
            Load { window: Duration::from_secs(5), rate: 1.0, streams: 1, time: Duration::from_secs(10) };
        assert!(load.judge((0..10).map(|second| (float(second), Held::default()))).is_err());
        assert_eq!(Load::time_min(load.window), Duration::from_secs(36));
    }
}
