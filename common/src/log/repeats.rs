//! How often one place in the code may speak: so many lines within a window, then one line that says how many more there
//! were.
//!
//! An error is rarely alone: with Redis away, or a client that speaks nonsense from a thousand machines, the same line
//! comes a thousand times a second, and journald drops it together with what nobody has seen yet. What is counted is
//! the statement, not its text, so different fields don't hide a flood.
//!
//! Invariants: each event is either written or counted in exactly one [`LeftOut`]; a statement that speaks less than
//! `lines_max` times in a window is never touched; nothing locks but the first event that is left out in a window, which
//! notes its text for the line to come.
//!
//! Absent on purpose: a clock (`now_ms` is an argument), and a thread that watches windows end
//! ([`super::Log::tell_left_out`] is called every few seconds by whoever does such things anyway).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing::{Level, Metadata};

/// How long a window is. It begins with an event.
pub(super) const WINDOW_MS: u64 = 10_000;
/// Statements that are counted; those that speak first after that are not held back. Both programs, with all that
/// they are built of, have fewer that are of the level `info` or above.
const STATEMENTS_MAX: usize = 256;
/// Bits of [`Statement::window`] that count; above them is the window's start.
const COUNT_BITS: u32 = 24;
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;

/// Who spoke how often. One for a process.
#[derive(Debug)]
pub(super) struct Repeats {
    /// Lines of one statement in a window; 0 = no limit.
    lines_max: u32,
    /// By the address of its metadata, open addressing.
    statements: Box<[Statement]>,
}

#[derive(Debug, Default)]
struct Statement {
    metadata: OnceLock<&'static Metadata<'static>>,
    /// When the window began, milliseconds, and how many events it has had.
    window: AtomicU64,
    /// The first event that was left out.
    text: Mutex<String>,
}

/// What becomes of an event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is written.
    Write,
    /// It is written behind a line that says what was left out before it.
    WriteAfter(LeftOut),
    /// It is counted.
    Leave,
}

/// Events of one statement that were not written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LeftOut {
    pub(super) count: u64,
    pub(super) level: Level,
    /// The text of the first of them.
    pub(super) text: String,
    /// The module and line of the statement.
    pub(super) place: String,
}

impl Repeats {
    pub(super) fn new(lines_max: u32) -> Self {
        Self { lines_max, statements: (0..STATEMENTS_MAX).map(|_| Statement::default()).collect() }
    }

    /// Counts an event of a statement.
    pub(super) fn take(
        &self,
        metadata: &'static Metadata<'static>,
        now_ms: u64,
        text: impl FnOnce() -> String,
    ) -> Verdict {
        let lines_max = u64::from(self.lines_max);
        let statement = if lines_max == 0 { None } else { self.statement(metadata) };
        let Some(statement) = statement else { return Verdict::Write };
        let taken = |window| match unpack(window) {
            (began_ms, count) if count > 0 && now_ms.saturating_sub(began_ms) < WINDOW_MS => {
                pack(began_ms, count + 1)
            }
            _ => pack(now_ms, 1),
        };
        let before = statement.window.fetch_update(Ordering::AcqRel, Ordering::Acquire, |w| Some(taken(w)));
        // It always updates.
        let before = before.unwrap_or_else(|window| window);
        let (_, count_before) = unpack(before);
        let (_, count) = unpack(taken(before));
        if count > lines_max {
            if count == lines_max + 1 {
                *statement.text.lock().unwrap_or_else(PoisonError::into_inner) = text();
            }
            return Verdict::Leave;
        }
        if count == 1 && count_before > lines_max {
            return Verdict::WriteAfter(statement.left_out(metadata, count_before - lines_max));
        }
        Verdict::Write
    }

    /// What was left out in windows that are over; of all, where nothing more is to come.
    pub(super) fn left_out(&self, now_ms: u64, is_end: bool) -> impl Iterator<Item = LeftOut> {
        let lines_max = u64::from(self.lines_max);
        self.statements.iter().filter_map(move |statement| {
            let metadata = statement.metadata.get()?;
            let over = |window| {
                let (began_ms, count) = unpack(window);
                let is_over = is_end || now_ms.saturating_sub(began_ms) >= WINDOW_MS;
                (is_over && count > lines_max).then_some(0)
            };
            let window = statement.window.fetch_update(Ordering::AcqRel, Ordering::Acquire, over).ok()?;
            let (_, count) = unpack(window);
            Some(statement.left_out(metadata, count - lines_max))
        })
    }

    /// The place of a statement, taken for it where it has none yet.
    fn statement(&self, metadata: &'static Metadata<'static>) -> Option<&Statement> {
        let is_its =
            |place: &Statement| place.metadata.get().is_some_and(|there| std::ptr::eq(*there, metadata));
        let (wrapped, from_home) = self.statements.split_at_checked(home(metadata, self.statements.len()))?;
        // Where two take a free place at once, one of them may have to go on looking.
        let mut places = from_home.iter().chain(wrapped);
        places.find(|place| is_its(place) || place.metadata.set(metadata).is_ok() || is_its(place))
    }
}

impl Statement {
    fn left_out(&self, metadata: &'static Metadata<'static>, count: u64) -> LeftOut {
        let text = std::mem::take(&mut *self.text.lock().unwrap_or_else(PoisonError::into_inner));
        let module = metadata.module_path().unwrap_or(metadata.target());
        let place = metadata.line().map_or_else(|| module.to_owned(), |line| format!("{module}:{line}"));
        LeftOut { count, level: *metadata.level(), text, place }
    }
}

/// Where the search for a statement begins.
fn home(metadata: &'static Metadata<'static>, places: usize) -> usize {
    // Metadata are neighbours in memory.
    std::ptr::from_ref(metadata).addr() / size_of::<Metadata<'_>>() % places
}

fn pack(began_ms: u64, count: u64) -> u64 {
    began_ms << COUNT_BITS | count.min(COUNT_MAX)
}

fn unpack(window: u64) -> (u64, u64) {
    (window >> COUNT_BITS, window & COUNT_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::statement;

    static WARNING: &Metadata<'static> = statement!(Level::WARN);
    static ERROR: &Metadata<'static> = statement!(Level::ERROR);

    fn take(repeats: &Repeats, metadata: &'static Metadata<'static>, now_ms: u64) -> Verdict {
        repeats.take(metadata, now_ms, || format!("at {now_ms}"))
    }

    /// How many of these events are written, and what is said of others meanwhile.
    fn count(repeats: &Repeats, at_ms: impl IntoIterator<Item = u64>) -> (u64, Vec<u64>) {
        let (mut written, mut told) = (0, Vec::new());
        for now_ms in at_ms {
            match take(repeats, WARNING, now_ms) {
                Verdict::Write => written += 1,
                Verdict::WriteAfter(left_out) => {
                    written += 1;
                    told.push(left_out.count);
                }
                Verdict::Leave => {}
            }
        }
        (written, told)
    }

    fn ended(repeats: &Repeats, now_ms: u64) -> Vec<u64> {
        repeats.left_out(now_ms, false).map(|left_out| left_out.count).collect()
    }

    #[test]
    fn a_flood_is_ten_lines_and_a_count() {
        let repeats = Repeats::new(10);
        // A thousand within a second, then one in the next window.
        assert_eq!(count(&repeats, (5_000..6_000).chain([15_000])), (11, vec![990]));
        // The line that said so was the only one to do so.
        assert_eq!(ended(&repeats, u64::MAX >> COUNT_BITS), [0; 0]);
    }

    #[test]
    fn a_flood_that_goes_on_is_told_of_in_every_window() {
        let repeats = Repeats::new(10);
        // A hundred each second for half a minute, and one more.
        assert_eq!(count(&repeats, (0..=3_000).map(|n| n * 10)), (31, vec![990; 3]));
    }

    #[test]
    fn a_flood_that_is_over_is_told_of_when_its_window_is() {
        let repeats = Repeats::new(10);
        assert_eq!(count(&repeats, (0..1_000).map(|n| 3_000 + n)), (10, Vec::new()));
        assert_eq!(ended(&repeats, 12_999), [0; 0]);
        let told: Vec<_> = repeats.left_out(13_000, false).collect();
        let expected = LeftOut {
            count: 990,
            level: Level::WARN,
            text: "at 3010".to_owned(),
            place: format!("{}:{}", WARNING.target(), WARNING.line().unwrap()),
        };
        assert_eq!(told, [expected]);
        // From here on it is as if nothing had been.
        assert_eq!(ended(&repeats, 60_000), [0; 0]);
        assert_eq!(count(&repeats, [13_001, 13_002]), (2, Vec::new()));
    }

    #[test]
    fn at_the_end_nothing_stays_untold() {
        let repeats = Repeats::new(10);
        assert_eq!(count(&repeats, [0; 12]), (10, Vec::new()));
        assert_eq!(repeats.left_out(1, true).map(|left_out| left_out.count).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn what_comes_seldom_is_left_alone() {
        let repeats = Repeats::new(10);
        // Once an hour, and ten at a time.
        assert_eq!(count(&repeats, (0..100).map(|n| n * 3_600_000)), (100, Vec::new()));
        assert_eq!(count(&repeats, (0..100).map(|n| 400_000_000 + n / 10 * WINDOW_MS)), (100, Vec::new()));
        assert_eq!(ended(&repeats, 10_000_000_000), [0; 0]);
    }

    #[test]
    fn statements_are_counted_apart() {
        let repeats = Repeats::new(1);
        assert_eq!(take(&repeats, WARNING, 0), Verdict::Write);
        assert_eq!(take(&repeats, WARNING, 0), Verdict::Leave);
        assert_eq!(take(&repeats, ERROR, 0), Verdict::Write);
        assert_eq!(take(&repeats, ERROR, 0), Verdict::Leave);
    }

    #[test]
    fn no_limit() {
        let repeats = Repeats::new(0);
        assert_eq!(count(&repeats, [0; 500]), (500, Vec::new()));
        assert_eq!(repeats.left_out(0, true).count(), 0);
    }

    #[test]
    fn a_table_that_is_full_holds_nobody_back() {
        let mut repeats = Repeats::new(1);
        repeats.statements = [Statement::default()].into();
        repeats.statements[0].metadata.set(ERROR).unwrap();
        assert_eq!(count(&repeats, [0; 5]), (5, Vec::new()));
    }

    #[test]
    fn threads_together_lose_nothing() {
        let repeats = Repeats::new(10);
        let written: u64 = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..4).map(|_| scope.spawn(|| count(&repeats, (0..5_000).map(|_| 7)).0)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(written, 10);
        assert_eq!(ended(&repeats, 7 + WINDOW_MS), [19_990]);
    }
}
