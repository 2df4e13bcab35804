//! Background work on what is stored: months of messages made ahead and dropped when nobody keeps them any longer,
//! rooms that keep less, users whose messages are erased.
//!
//! One instance at a time does it, under an advisory lock on its own connection past any pooler. Every step can be done
//! twice, and begins by looking what is left to do: killed anywhere, the next run does the rest. No step takes a lock
//! that a reader would wait for.

mod erasure;
mod months;
mod room_retention;
mod search_index;

pub(crate) use erasure::up_to_now;

use std::time::Duration;

use hubbub_common::clock::now_ms;
use hubbub_common::ids::MessageId;
use tokio::time::sleep;
use tokio_postgres::Client;

use crate::app::App;
use crate::database::describe;
use crate::persister::{self, Stopped};
use crate::store::sql::Sql as _;

/// Holds "janito" in ASCII: the lock of whoever works.
const LOCK: i64 = 0x6a61_6e69_746f;
/// A statement of background work may take its time, but not for ever.
const SESSION: &str = "SET application_name = 'hubbub-janitor'; SET statement_timeout = '15min'";
/// Rows changed in one transaction.
const ROWS_AT_ONCE: i64 = 5_000;
const DAY: Duration = Duration::from_hours(24);

/// Why the work was not done.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("Postgres: {}", describe(.0))]
    Postgres(#[from] tokio_postgres::Error),
    #[error(transparent)]
    Streams(#[from] Stopped),
}

/// Looks for work from time to time, for ever.
pub async fn run(app: App) {
    let mut last_problem = String::new();
    loop {
        let problem = work(&app).await.err().map(|error| error.to_string()).unwrap_or_default();
        if !problem.is_empty() && problem != last_problem {
            tracing::warn!(problem, "background work on messages stopped; it goes on later");
        }
        last_problem = problem;
        sleep(app.config.janitor_every).await;
    }
}

async fn work(app: &App) -> Result<(), Failed> {
    let (mut client, driver) = app.config.direct_database.watchful().connect().await?;
    let _driver = persister::Task::new(driver);
    client.batch_execute(SESSION).await?;
    if !client.one_row("SELECT pg_try_advisory_lock($1)", &[&LOCK]).await?.get::<_, bool>(0) {
        return Ok(());
    }
    months::make_ahead(&mut client).await?;
    if let Some(kept) = app.config.retention {
        months::drop_before(&client, horizon(kept)).await?;
    }
    room_retention::apply(&mut client).await?;
    erasure::apply(app, &client).await?;
    search_index::build(&client).await
}

/// The first id that is kept, where messages are kept for so long.
fn horizon(kept: Duration) -> MessageId {
    let kept_ms = u64::try_from(kept.as_millis()).unwrap_or(u64::MAX);
    MessageId::floor_of_ms(now_ms().saturating_sub(kept_ms))
}

/// Does something again and again until it changes less than [`ROWS_AT_ONCE`].
async fn in_steps(client: &Client, sql: &str, before: i64) -> Result<(), Failed> {
    while client.run(sql, &[&before, &ROWS_AT_ONCE]).await?.cast_signed() == ROWS_AT_ONCE {}
    Ok(())
}
