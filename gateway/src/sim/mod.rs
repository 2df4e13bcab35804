//! Gateways, clients and a Redis in one thread, with time and chance in our hands.
//!
//! The code under test is the real one: the bus engine runs on a tokio runtime whose clock is simulated, the cores
//! are driven step by step over real sockets ([`crate::core::by_hand`]), and only Redis ([`redis`]), the way to it
//! ([`link`]), the clocks and the random numbers are ours ([`hubbub_common::simulation`]). Everything that happens is
//! drawn from one seed, so that the same seed gives the same run, step for step. What clients see is held against
//! the delivery promises by the [`oracle`].
//!
//! It is compiled for tests only: production code has a seam or two for it, and no branch. Some worlds are simulated
//! with every run of the tests; `make sim` simulates as many as there is time for. Absent on purpose: the handshake,
//! the io_uring drivers, the RESP of Redis; those are met for real in the system tests.

mod client;
mod control;
mod gateway;
mod link;
mod online;
mod oracle;
mod plan;
mod redis;
mod scene;
mod truth;
mod wire;
mod world;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once};

use world::Outcome;

/// Worlds simulated with every run of the tests.
const SEEDS: Range<u64> = 1..101;
/// Of what happened in a world that was one of many, to be shown; of one alone everything is.
const SHOWN_LINES: usize = 400;

thread_local! {
    /// What panicked on this thread, wherever it was caught.
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Notes panics: a gateway survives some, and the runtime keeps those of tasks to itself.
fn note_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            PANICS.with_borrow_mut(|panics| panics.push(panic.to_string()));
            others(panic);
        }));
    });
    PANICS.take();
}

/// The life of the world with this seed. Whatever panics in it has broken it.
fn simulate(seed: u64, lines_max: usize) -> Result<Outcome, String> {
    note_panics();
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| world::simulate(seed, lines_max)));
    let panics = PANICS.take();
    match outcome {
        Ok(outcome) if panics.is_empty() => match &outcome.broken {
            None => Ok(outcome),
            Some(broken) => Err(format!(
                "{}\nseed {seed}: {broken}\n{}\n{:?}",
                outcome.last_lines, outcome.plan, outcome.seen
            )),
        },
        Ok(_) | Err(_) => Err(format!("seed {seed}: {}", panics.join("\n"))),
    }
}

/// The line that names the seed.
fn verdict(how: &str) -> &str {
    how.lines().find(|line| line.starts_with("seed ")).unwrap_or(how)
}

/// Fails with all that is needed to see what happened, and to see it again.
fn judge(seed: u64) -> Outcome {
    simulate(seed, SHOWN_LINES).unwrap_or_else(|broken| panic!("{broken}\nagain: make sim SEEDS={seed}\n"))
}

#[test]
fn the_promises_hold_in_some_worlds() {
    for seed in SEEDS {
        judge(seed);
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in [3, 4] {
        assert_eq!(judge(seed).hash, judge(seed).hash, "seed {seed}");
    }
}

/// `make sim`: `HUBBUB_SIM_SEEDS=first..end` or one seed.
#[test]
#[ignore = "takes as long as it is given"]
fn the_promises_hold_in_many_worlds() {
    #[expect(clippy::disallowed_methods, reason = "this is a setting of `make sim`, not of a program")]
    let seeds = std::env::var("HUBBUB_SIM_SEEDS").unwrap_or_else(|_| "1..1001".to_owned());
    let number = |text: &str| text.trim().parse::<u64>().expect("seeds are numbers");
    let seeds = match seeds.split_once("..") {
        Some((first, end)) => number(first)..number(end),
        None => number(&seeds)..number(&seeds) + 1,
    };
    let lines_max = if seeds.end - seeds.start == 1 { usize::MAX } else { SHOWN_LINES };
    let next = AtomicU64::new(seeds.start);
    let broken = Mutex::new(BTreeMap::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    match simulate(seed, lines_max) {
                        Ok(outcome) => println!("seed {seed}: {} stored, {:?}", outcome.stored, outcome.seen),
                        Err(how) => {
                            let mut broken = broken.lock().unwrap();
                            let is_first = broken.is_empty();
                            println!("{}", if is_first { how.as_str() } else { verdict(&how) });
                            broken.insert(seed, verdict(&how).to_owned());
                        }
                    }
                }
            });
        }
    });
    let broken = broken.into_inner().unwrap();
    assert!(broken.is_empty(), "{broken:#?}\neach again: make sim SEEDS=one of these\n");
}
