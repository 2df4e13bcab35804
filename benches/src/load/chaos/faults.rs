//! What is done to the parts of the system, by a seed: killed, stopped, frozen, handed over to a successor; one at a time or
//! two.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::stack::{Kind, Part, Stack, wait};

/// How long a part is away, and how long there is peace after that, in milliseconds.
const AWAY_MS: std::ops::Range<u64> = 0..6_000;
const PEACE_MS: std::ops::Range<u64> = 500..5_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// SIGKILL, or what comes closest to it.
    Kill,
    /// Asked to leave.
    Stop,
    /// SIGSTOP.
    Pause,
    /// Another process takes over.
    Succeed,
}

/// See the module's text.
pub(super) struct Faults<'a> {
    stack: &'a Stack,
    random: fastrand::Rng,
    told: BTreeMap<String, u64>,
    /// What is away now.
    away: Vec<(&'a Part, Fault)>,
}

impl<'a> Faults<'a> {
    pub(super) fn new(stack: &'a Stack, random: fastrand::Rng) -> Self {
        Self { stack, random, told: BTreeMap::new(), away: Vec::new() }
    }

    /// How many there were.
    pub(super) fn count(&self) -> u64 {
        self.told.values().sum()
    }

    /// By name, how often.
    pub(super) fn told(&self) -> BTreeMap<String, u64> {
        self.told.clone()
    }

    /// Does something to one part, or to two at once, and makes it good again after a while.
    pub(super) fn next(&mut self) -> Result<(), String> {
        self.check_alive()?;
        let parts: Vec<&'a Part> = self.stack.parts().collect();
        for part in self.random.choose_multiple(parts, 2) {
            if self.away.is_empty() || self.random.u8(0..3) == 0 {
                self.hit(part)?;
            }
        }
        self.pass(AWAY_MS);
        self.heal()?;
        self.pass(PEACE_MS);
        Ok(())
    }

    fn hit(&mut self, part: &'a Part) -> Result<(), String> {
        let faults: &[Fault] = match part.kind() {
            // A frozen Postgres keeps its connections; a killed one recovers from its log.
            Kind::Redis | Kind::Postgres => &[Fault::Kill, Fault::Pause, Fault::Kill],
            // What is away may be what a successor waits for.
            Kind::Gateway if self.away.is_empty() => {
                &[Fault::Kill, Fault::Stop, Fault::Pause, Fault::Succeed, Fault::Succeed]
            }
            Kind::Gateway | Kind::Control | Kind::Haproxy | Kind::Peer => {
                &[Fault::Kill, Fault::Stop, Fault::Pause]
            }
        };
        let fault = self.random.choice(faults).copied().unwrap_or(Fault::Kill);
        let done = match fault {
            Fault::Kill => part.crash(),
            Fault::Stop => part.stop(),
            Fault::Pause => part.pause(),
            Fault::Succeed => part.succeed(),
        };
        done.map_err(|error| error.to_string())?;
        *self.told.entry(format!("{fault:?} {:?}", part.kind()).to_lowercase()).or_insert(0) += 1;
        self.away.push((part, fault));
        Ok(())
    }

    /// Brings back whatever is away. Servers first: the others wait for them.
    pub(super) fn heal(&mut self) -> Result<(), String> {
        let mut away = std::mem::take(&mut self.away);
        away.sort_by_key(|(part, _)| !matches!(part.kind(), Kind::Redis | Kind::Postgres));
        for (part, fault) in away {
            let healed = match fault {
                Fault::Kill | Fault::Stop => part.start(),
                Fault::Pause => part.resume(),
                Fault::Succeed => Ok(()),
            };
            healed.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// A part that ended by itself ends the run.
    pub(super) fn check_alive(&self) -> Result<(), String> {
        for part in self.stack.parts() {
            if let Some(status) = part.exited() {
                return Err(format!("{} ended by itself: {status}", part.name()));
            }
        }
        Ok(())
    }

    fn pass(&mut self, span_ms: std::ops::Range<u64>) {
        let time = Duration::from_millis(self.random.u64(span_ms));
        let _: Option<()> = wait::until(time, || None);
    }
}
