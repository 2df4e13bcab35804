//! Every SQL statement of the control plane, and nothing else. Functions take a connection or transaction, so
//! that rules decide what belongs together.

pub mod audit;
pub mod changes;
pub mod erasures;
pub mod messages;
pub mod partitions;
pub mod retention;
pub mod rooms;
pub mod search;
pub mod sql;
pub mod uploads;
pub mod users;

use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime, Timeouts};

use crate::database::Database;
use crate::error::Error;
use sql::Sql;

/// How long a request waits for a connection.
const WAIT_MAX: Duration = Duration::from_secs(3);

/// A bounded pool; connects when first used.
pub fn pool(database: &Database, connections_max: usize) -> Result<Pool, String> {
    let manager_config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = Manager::from_config(database.config.clone(), database.tls.clone(), manager_config);
    let timeouts = Timeouts { wait: Some(WAIT_MAX), create: Some(WAIT_MAX), recycle: Some(WAIT_MAX) };
    Pool::builder(manager)
        .max_size(connections_max)
        .timeouts(timeouts)
        .runtime(Runtime::Tokio1)
        .build()
        .map_err(|error| error.to_string())
}

/// Takes a lock until the end of the transaction; waits for whoever has it.
pub async fn lock(client: &impl Sql, lock: i64) -> Result<(), Error> {
    client.one_row("SELECT pg_advisory_xact_lock($1)", &[&lock]).await?;
    Ok(())
}

/// Takes a lock until the end of the transaction, if nobody has it.
pub async fn try_lock(client: &impl Sql, lock: i64) -> Result<bool, Error> {
    Ok(client.one_row("SELECT pg_try_advisory_xact_lock($1)", &[&lock]).await?.get(0))
}
