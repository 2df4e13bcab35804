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
mod gateway;
mod link;
mod oracle;
mod plan;
mod redis;
mod scene;
mod truth;
mod wire;
mod world;

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use world::{Outcome, simulate};

/// Worlds simulated with every run of the tests.
const SEEDS: Range<u64> = 1..101;

/// Fails with all that is needed to see what happened, and to see it again.
fn judge(seed: u64, outcome: &Outcome) {
    if let Some(broken) = &outcome.broken {
        panic!(
            "{}\nseed {seed}: {broken}\n{}\n{:?}\nagain: make sim SEEDS={seed}\n",
            outcome.last_lines, outcome.plan, outcome.seen
        );
    }
}

#[test]
fn the_promises_hold_in_some_worlds() {
    for seed in SEEDS {
        judge(seed, &simulate(seed));
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in [3, 4] {
        assert_eq!(simulate(seed).hash, simulate(seed).hash, "seed {seed}");
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
    let next = AtomicU64::new(seeds.start);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let outcome = simulate(seed);
                    println!("seed {seed}: {} stored, {:?}", outcome.stored, outcome.seen);
                    judge(seed, &outcome);
                }
            });
        }
    });
}
