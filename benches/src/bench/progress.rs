//! How far the measuring has come, and how long it still takes.

use std::time::Duration;

use super::case::Case;

/// Commands done and to do. What was expected is corrected by what was seen.
#[derive(Debug, Clone)]
pub(super) struct Progress {
    commands: usize,
    done: usize,
    expected: Duration,
    expected_of_done: Duration,
    spent: Duration,
}

impl Progress {
    /// Of all cases, so many times.
    pub(super) fn new(cases: &[Case], runs: usize) -> Self {
        let arms = || cases.iter().flat_map(|case| &case.arms);
        let expected: Duration = arms().map(|arm| arm.expected).sum();
        Self {
            commands: arms().count() * runs,
            done: 0,
            expected: expected * u32::try_from(runs).unwrap_or(u32::MAX),
            expected_of_done: Duration::ZERO,
            spent: Duration::ZERO,
        }
    }

    /// What is said at the start.
    pub(super) fn estimate(&self) -> String {
        format!("{} commands, about {}", self.commands, minutes(self.left()))
    }

    /// One command more is done.
    pub(super) fn step(&mut self, expected: Duration, spent: Duration) {
        self.done += 1;
        self.expected_of_done += expected;
        self.spent += spent;
    }

    fn left(&self) -> Duration {
        let left = self.expected.saturating_sub(self.expected_of_done);
        if self.expected_of_done.is_zero() {
            return left;
        }
        left.mul_f64(self.spent.as_secs_f64() / self.expected_of_done.as_secs_f64())
    }

    /// The line of the command that was just done.
    pub(super) fn line(&self, run: usize, case: &str, label: &str, outcome: &str) -> String {
        let digits = self.commands.to_string().len();
        let left = minutes(self.left());
        format!(
            "[{:>digits$}/{}] run {run} {case}: {label}: {outcome} ({left} left)",
            self.done, self.commands
        )
    }
}

/// `5 min`, `1 h 20 min`, or seconds of what is shorter.
fn minutes(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds + 30) / 60 {
        _ if seconds < 90 => format!("{seconds} s"),
        minutes if minutes < 60 => format!("{minutes} min"),
        minutes => format!("{} h {} min", minutes / 60, minutes % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::cases;
    use super::*;

    #[test]
    fn the_estimate_follows_what_was_seen() {
        let mut light = cases(false);
        light.retain(|case| case.name == "light");
        let mut progress = Progress::new(&light, 3);
        let one = light[0].arms[0].expected;
        assert_eq!(progress.estimate(), format!("24 commands, about {}", minutes(one * 24)));
        progress.step(one, one * 2);
        let line = progress.line(1, "light", "hubbub", "3.70 µs");
        assert_eq!(line, format!("[ 1/24] run 1 light: hubbub: 3.70 µs ({} left)", minutes(one * 46)));
        assert_eq!(minutes(Duration::from_secs(89)), "89 s");
        assert_eq!(minutes(Duration::from_secs(90)), "2 min");
        assert_eq!(minutes(Duration::from_mins(80)), "1 h 20 min");
    }
}
