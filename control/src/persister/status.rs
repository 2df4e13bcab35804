//! What the persister tells about itself: whether this instance leads, what waits, what is wrong.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use hubbub_common::clock::Monotonic;
use hubbub_common::metrics as names;
use serde::Serialize;
use tokio_postgres::error::SqlState;

use super::Stopped;

/// How long this instance counts as the leader after Postgres last answered on its connection.
pub(super) const LEASE: Duration = Duration::from_millis(2_500);

/// Why messages do not reach Postgres.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Problem {
    /// Redis is away, or has other data than before.
    Redis,
    /// Postgres is away, or refuses.
    Database,
    /// Postgres is a replica, or was made read-only.
    DatabaseReadOnly,
    /// Postgres has no room left on its disk.
    DatabaseFull,
    /// A newer version wrote what this one can't read.
    Entry,
}

impl Problem {
    const ALL: [Self; 5] =
        [Self::Redis, Self::Database, Self::DatabaseReadOnly, Self::DatabaseFull, Self::Entry];

    /// What stopped the writer, in one word.
    pub(super) fn of(stopped: &Stopped) -> Self {
        match stopped {
            Stopped::Postgres(error) => match error.code() {
                Some(&SqlState::READ_ONLY_SQL_TRANSACTION) => Self::DatabaseReadOnly,
                Some(&SqlState::DISK_FULL) => Self::DatabaseFull,
                Some(_) | None => Self::Database,
            },
            Stopped::ReadOnly => Self::DatabaseReadOnly,
            Stopped::Silent => Self::Database,
            Stopped::Redis(_) | Stopped::Reply | Stopped::OtherData | Stopped::Reader => Self::Redis,
            Stopped::Entry { .. } => Self::Entry,
        }
    }

    /// The label of the metric, and the word in `/health`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Database => "database",
            Self::DatabaseReadOnly => "database-read-only",
            Self::DatabaseFull => "database-full",
            Self::Entry => "entry",
        }
    }

    fn number(self) -> u8 {
        self as u8 + 1
    }
}

/// See the module's text.
#[derive(Debug)]
pub struct Status {
    clock: Monotonic,
    leads: AtomicBool,
    /// When the request was sent that Postgres last answered on the leader's connection, in milliseconds of `clock`.
    proved_ms: AtomicU64,
    lag: AtomicU64,
    /// [`Problem::number`]; zero where there is none.
    problem: AtomicU8,
}

impl Status {
    /// Leads nothing, knows nothing.
    pub(crate) fn new() -> Self {
        let status = Self {
            clock: Monotonic::start(),
            leads: AtomicBool::new(false),
            proved_ms: AtomicU64::new(0),
            lag: AtomicU64::new(0),
            problem: AtomicU8::new(0),
        };
        status.set_problem(None);
        status
    }

    /// Milliseconds of the clock by which leading is proved.
    pub(super) fn now_ms(&self) -> u64 {
        self.clock.elapsed_ms()
    }

    /// Postgres answered what was sent at `sent_ms` over the connection that holds the lock.
    pub(super) fn prove(&self, sent_ms: u64) {
        self.proved_ms.store(sent_ms, Ordering::Relaxed);
        self.leads.store(true, Ordering::Relaxed);
    }

    /// This instance does not write any more.
    pub(super) fn resign(&self) {
        self.leads.store(false, Ordering::Relaxed);
    }

    /// Whether this instance writes. One that was frozen says no when it wakes up, until Postgres has answered it:
    /// another one may have taken over.
    pub fn is_leader(&self) -> bool {
        let since_ms = self.now_ms().saturating_sub(self.proved_ms.load(Ordering::Relaxed));
        let leads = self.leads.load(Ordering::Relaxed) && Duration::from_millis(since_ms) < LEASE;
        metrics::gauge!(names::PERSISTER_LEADER.name).set(if leads { 1.0 } else { 0.0 });
        leads
    }

    /// Notes how many entries wait to be persisted.
    pub(super) fn set_lag(&self, entries: u64) {
        self.lag.store(entries, Ordering::Relaxed);
    }

    /// How many entries wait to be persisted.
    pub fn lag(&self) -> u64 {
        self.lag.load(Ordering::Relaxed)
    }

    /// Notes why messages do not reach Postgres, as far as this instance tried to write.
    pub(super) fn set_problem(&self, problem: Option<Problem>) {
        self.problem.store(problem.map_or(0, Problem::number), Ordering::Relaxed);
        for one in Problem::ALL {
            let is = if problem == Some(one) { 1.0 } else { 0.0 };
            metrics::gauge!(names::PERSISTER_PROBLEM.name, "reason" => one.as_str()).set(is);
        }
    }

    /// Why messages do not reach Postgres.
    pub fn problem(&self) -> Option<Problem> {
        let number = self.problem.load(Ordering::Relaxed);
        Problem::ALL.into_iter().find(|problem| problem.number() == number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leading_ends_with_its_proof() {
        let status = Status { clock: Monotonic::start(), ..Status::new() };
        assert!(!status.is_leader());
        status.prove(status.now_ms());
        assert!(status.is_leader());
        status.resign();
        assert!(!status.is_leader());
    }

    #[test]
    fn problems_are_told_apart() {
        let status = Status::new();
        assert_eq!(status.problem(), None);
        for problem in Problem::ALL {
            status.set_problem(Some(problem));
            assert_eq!(status.problem(), Some(problem));
            assert_eq!(serde_json::to_value(problem).unwrap(), problem.as_str());
        }
    }
}
