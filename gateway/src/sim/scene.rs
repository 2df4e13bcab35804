//! What everybody in a simulated world shares: the dice, the time, and the record of what happened.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hasher as _};
use std::time::Duration;

use hubbub_common::simulation::World;
use tokio::time::Instant;

/// 2026-01-01T00:00:00Z: when every world begins.
const BEGIN_MS: u64 = 1_767_225_600_000;
/// See the module's text.
pub(super) struct Scene {
    dice: RefCell<fastrand::Rng>,
    began: Instant,
    trace: RefCell<Trace>,
}

struct Trace {
    hasher: DefaultHasher,
    lines_max: usize,
    last: VecDeque<String>,
}

impl Scene {
    /// Begins at the present moment of the runtime's own clock. So many of the last lines of the trace are kept.
    pub(super) fn new(seed: u64, lines_max: usize) -> Self {
        Self {
            dice: RefCell::new(fastrand::Rng::with_seed(seed)),
            began: Instant::now(),
            trace: RefCell::new(Trace { hasher: DefaultHasher::new(), lines_max, last: VecDeque::new() }),
        }
    }

    /// A number below this one, which is not zero.
    pub(super) fn below(&self, bound: u64) -> u64 {
        self.dice.borrow_mut().u64(..bound)
    }

    /// Any number.
    pub(super) fn any(&self) -> u64 {
        self.dice.borrow_mut().u64(..)
    }

    /// A number of this range.
    pub(super) fn between(&self, least: u64, most: u64) -> u64 {
        self.dice.borrow_mut().u64(least..=most)
    }

    /// True so many times in a thousand.
    pub(super) fn happens(&self, per_mille: u64) -> bool {
        self.below(1_000) < per_mille
    }

    /// One of these, which are not none.
    pub(super) fn one_of<'a, T>(&self, some: &'a [T]) -> &'a T {
        let place = self.dice.borrow_mut().usize(..some.len());
        &some[place]
    }

    /// In any order.
    pub(super) fn shuffle<T>(&self, some: &mut [T]) {
        self.dice.borrow_mut().shuffle(some);
    }

    /// Since the beginning.
    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The true time of day.
    pub(super) fn unix_ms(&self) -> u64 {
        BEGIN_MS + self.now_ms()
    }

    /// Writes down what happened.
    pub(super) fn note(&self, what: std::fmt::Arguments<'_>) {
        let mut line = String::new();
        let _ = write!(line, "{:>9.3} {what}", Duration::from_millis(self.now_ms()).as_secs_f64());
        let mut trace = self.trace.borrow_mut();
        trace.hasher.write(line.as_bytes());
        if trace.last.len() == trace.lines_max {
            trace.last.pop_front();
        }
        trace.last.push_back(line);
    }

    /// Stands for everything that happened.
    pub(super) fn hash(&self) -> u64 {
        self.trace.borrow().hasher.finish()
    }

    /// The last things that happened, a line each.
    pub(super) fn last_lines(&self) -> String {
        let trace = self.trace.borrow();
        trace.last.iter().fold(String::new(), |mut lines, line| {
            lines.push_str(line);
            lines.push('\n');
            lines
        })
    }
}

/// One machine of the world: its wall clock may be wrong, and jump.
pub(super) struct Machine {
    scene: std::rc::Rc<Scene>,
    skew_ms: Cell<i64>,
    /// The code with which the program on it has ended itself.
    exit_code: Cell<Option<i32>>,
}

impl Machine {
    pub(super) fn new(scene: &std::rc::Rc<Scene>, skew_ms: i64) -> Self {
        Self { scene: std::rc::Rc::clone(scene), skew_ms: Cell::new(skew_ms), exit_code: Cell::new(None) }
    }

    /// The code with which the program on it has ended itself.
    pub(super) fn exit_code(&self) -> Option<i32> {
        self.exit_code.get()
    }

    /// Sets the wall clock so far from the truth.
    pub(super) fn set_skew_ms(&self, skew_ms: i64) {
        self.skew_ms.set(skew_ms);
    }
}

impl World for Machine {
    fn instant(&self) -> std::time::Instant {
        Instant::now().into_std()
    }

    fn unix_ms(&self) -> u64 {
        self.scene.unix_ms().saturating_add_signed(self.skew_ms.get())
    }

    fn random(&self) -> u64 {
        self.scene.any()
    }

    fn exit(&self, code: i32) {
        self.exit_code.set(Some(code));
    }
}
