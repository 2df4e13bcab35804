//! `hubbub-control room`: what operators decide about rooms.

use clap::ArgMatches;
use hubbub_common::ids::RoomId;

use crate::app::App;
use crate::config::Config;
use crate::error::Error;
use crate::origin::Origin;
use crate::store::{audit, retention};
use crate::user::describe;
use crate::{Failed, serve};

/// Days for which a room may keep its messages.
const DAYS: std::ops::RangeInclusive<i32> = 1..=36_500;

/// Does what was asked.
pub fn run(config: Config, flags: &ArgMatches) -> Result<(), Failed> {
    let Some(("retention", flags)) = flags.subcommand() else { return Ok(()) };
    let text = |name: &str| flags.get_one::<String>(name).map(String::as_str).unwrap_or_default();
    let room: RoomId = text("room").parse().map_err(|error| Failed::Argument(format!("ID: {error}")))?;
    let days = match text("days") {
        "none" => None,
        days => Some(days.parse().ok().filter(|days| DAYS.contains(days)).ok_or_else(|| {
            Failed::Argument(format!("DAYS: expected {} to {}, or none", DAYS.start(), DAYS.end()))
        })?),
    };
    let secret = serve::no_secret()?;
    serve::with_app(config, &secret, async |app| {
        set_retention(&app, room, days).await.map_err(|error| Failed::Other(describe(&error)))
    })
}

async fn set_retention(app: &App, room: RoomId, days: Option<i32>) -> Result<(), Error> {
    let mut database = app.database().await?;
    let transaction = database.transaction().await?;
    retention::set(&*transaction, room, days).await?;
    let days = days.map_or_else(|| "none".to_owned(), |days| format!("{days} days"));
    let detail = format!("room {room}: {days}");
    audit::add(&*transaction, None, "room retention", &detail, &Origin::command_line()).await?;
    transaction.commit().await?;
    Ok(())
}
