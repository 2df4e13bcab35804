//! Bringing the schema up to date: ordered, only what is pending, under a lock.

use postgres::Client;
use refinery::Runner;

use crate::database::{Database, describe};

mod embedded {
    refinery::embed_migrations!("../migrations");
}
use embedded::migrations;

/// Holds "migrat" in ASCII: so that two runs at once follow each other.
const MIGRATE_LOCK: i64 = 0x6d69_6772_6174;

/// Applies what is pending; gives what that was.
pub fn run(database: &Database) -> Result<Vec<String>, String> {
    let mut client = connect(database)?;
    client.execute("SELECT pg_advisory_lock($1)", &[&MIGRATE_LOCK]).map_err(|error| describe(&error))?;
    let report = runner().run(&mut client).map_err(|error| error.to_string())?;
    Ok(report.applied_migrations().iter().map(ToString::to_string).collect())
}

/// Names of the migrations that a database lacks.
pub fn pending(database: &Database) -> Result<Vec<String>, String> {
    let mut client = connect(database)?;
    let has_history = "SELECT to_regclass('refinery_schema_history') IS NOT NULL";
    let has_history: bool = client.query_one(has_history, &[]).map_err(|error| describe(&error))?.get(0);
    let applied = if has_history {
        runner().get_applied_migrations(&mut client).map_err(|error| error.to_string())?
    } else {
        Vec::new()
    };
    let is_applied = |version| applied.iter().any(|done| done.version() == version);
    let runner = runner();
    let missing = runner.get_migrations().iter().filter(|one| !is_applied(one.version()));
    Ok(missing.map(ToString::to_string).collect())
}

fn runner() -> Runner {
    migrations::runner().set_grouped(false)
}

fn connect(database: &Database) -> Result<Client, String> {
    let config = postgres::Config::from(database.config.clone());
    config.connect(database.tls.clone()).map_err(|error| describe(&error))
}
