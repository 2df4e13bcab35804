//! Who writes: whoever holds an advisory lock of Postgres on the very connection it writes with, so that whoever lost
//! the lock can't write.
//!
//! Postgres keeps a session whose client fell silent, and the lock with it: a frozen process, a cut network. So the
//! leader speaks at least once a second, and whoever waits for the lock watches that session in Postgres; where it
//! waits for its client for [`SILENCE_MAX`] without a sign of life, it is ended. By then [`LEASE`] is over, after which
//! the silent one does not say any more that it leads.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use hubbub_common::clock::Monotonic;
use tokio::time::{sleep, timeout};
use tokio_postgres::{Client, Row, SimpleQueryMessage};

use super::status::{LEASE, Status};
use super::task::Task;
use super::{Stopped, database_session};
use crate::database::Database;

/// Holds "hubbub" in ASCII: the advisory lock of the leader.
const LOCK: i64 = 0x6875_6262_7562;
/// How often a leader that writes nothing speaks.
const SPEAK_EVERY: Duration = Duration::from_millis(700);
/// How long Postgres may take to answer that.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// How often the lock is tried, and its holder looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long the holder may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(3);

const _: () = assert!(LEASE.as_millis() < SILENCE_MAX.as_millis());
const _: () = assert!(SPEAK_EVERY.as_millis() < LEASE.as_millis());

/// A connection that may hold the lock.
pub(super) struct Seat {
    pub(super) client: Client,
    /// Drives the connection; ends with the seat.
    _driver: Task,
}

impl Seat {
    /// Connects, and does not take the lock.
    pub(super) async fn connect(database: &Database) -> Result<Self, Stopped> {
        let (client, driver) = database.watchful().connect().await?;
        let seat = Self { client, _driver: Task::new(driver) };
        seat.client.batch_execute(database_session::WRITER).await?;
        Ok(seat)
    }

    /// Takes the lock, if nobody has it.
    pub(super) async fn take(&self, status: &Status) -> Result<bool, Stopped> {
        let sent_ms = status.now_ms();
        let row = self.client.query_one("SELECT pg_try_advisory_lock($1)", &[&LOCK]).await?;
        let taken = row.get(0);
        if taken {
            status.prove(sent_ms);
        }
        Ok(taken)
    }

    /// Does something that is not asked of this connection, and speaks on it meanwhile.
    pub(super) async fn while_alive<T>(
        &self,
        status: &Status,
        work: impl Future<Output = Result<T, Stopped>>,
    ) -> Result<T, Stopped> {
        let mut work = pin!(work);
        loop {
            if let Ok(done) = timeout(SPEAK_EVERY, work.as_mut()).await {
                return done;
            }
            let sent_ms = status.now_ms();
            let answer = self.client.simple_query("SHOW transaction_read_only");
            let answer = timeout(ANSWER_MAX, answer).await.map_err(|_| Stopped::Silent)??;
            status.prove(sent_ms);
            if answer
                .iter()
                .any(|row| matches!(row, SimpleQueryMessage::Row(row) if row.get(0) == Some("on")))
            {
                return Err(Stopped::ReadOnly);
            }
        }
    }
}

/// Looks at whoever holds the lock.
#[derive(Default)]
pub(super) struct Watch {
    last: Option<(SignOfLife, Monotonic)>,
}

/// What changes whenever a session's client does something.
#[derive(Debug, Clone, PartialEq, Eq)]
struct SignOfLife {
    pid: i32,
    /// Microseconds.
    query_start: i64,
    state_change: i64,
    /// Of a `COPY` under way.
    copied: i64,
}

impl Watch {
    /// Ends the holder's session where that waits for its client and was silent for too long; then waits a while.
    pub(super) async fn look(&mut self, client: &Client) -> Result<(), Stopped> {
        const HOLDER: &str = "
            SELECT a.pid, (extract(epoch FROM a.query_start) * 1000000)::bigint,
                   (extract(epoch FROM a.state_change) * 1000000)::bigint, coalesce(c.bytes_processed, 0)
            FROM pg_locks l JOIN pg_stat_activity a USING (pid) LEFT JOIN pg_stat_progress_copy c USING (pid)
            WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
            AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND (l.classid::bigint << 32 | l.objid::bigint) = $1 AND a.wait_event = 'ClientRead'";
        let sign = client.query_opt(HOLDER, &[&LOCK]).await?.as_ref().map(SignOfLife::of);
        match (sign, &self.last) {
            (Some(sign), Some((last, since))) if sign == *last => {
                if since.elapsed() >= SILENCE_MAX {
                    tracing::warn!(pid = sign.pid, "the leader is silent: its session in Postgres is ended");
                    client.execute("SELECT pg_terminate_backend($1)", &[&sign.pid]).await?;
                    self.last = None;
                }
            }
            (sign, _) => self.last = sign.map(|sign| (sign, Monotonic::start())),
        }
        sleep(LOOK_EVERY).await;
        Ok(())
    }
}

impl SignOfLife {
    fn of(row: &Row) -> Self {
        let at = |column: usize| row.get::<_, Option<i64>>(column).unwrap_or_default();
        Self { pid: row.get(0), query_start: at(1), state_change: at(2), copied: at(3) }
    }
}
