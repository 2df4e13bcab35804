//! `hubbub-control token`: a ticket for connecting by hand, or for trying things out.

use clap::ArgMatches;
use hubbub_common::clock::now_ms;
use hubbub_common::config::{split_list, within};
use hubbub_common::ids::{RoomId, UserId};
use hubbub_common::token::{Claims, RoomsClaim, Signer, Star};

use crate::Failed;
use crate::config::Config;

/// The longest that a ticket may be good for: a year.
const TTL_MAX_S: u64 = 31_536_000;

/// Prints a ticket alone on a line.
#[expect(clippy::print_stdout, reason = "what the command tells")]
pub fn print(config: &Config, flags: &ArgMatches) -> Result<(), Failed> {
    let text = |name: &str| flags.get_one::<String>(name).map(String::as_str);
    let argument = |name: &str, problem: String| Failed::Argument(format!("--{name}: {problem}"));
    let user = text("user").unwrap_or_default();
    let user: UserId = user.parse().map_err(|error| argument("user", format!("{error}, got \"{user}\"")))?;
    let ttl_s =
        within(1..=TTL_MAX_S)(text("ttl").unwrap_or_default()).map_err(|error| argument("ttl", error))?;
    let rooms = text("rooms").map(rooms).transpose().map_err(|error| argument("rooms", error))?;
    let claims = Claims {
        sub: user,
        exp: now_ms() / 1_000 + ttl_s,
        name: text("name").map(str::to_owned),
        rooms,
        sid: None,
    };
    let signer = Signer::new(config.jwt_secret()?);
    println!("{}", signer.sign(&claims).map_err(|error| Failed::Other(error.to_string()))?);
    Ok(())
}

fn rooms(list: &str) -> Result<RoomsClaim, String> {
    if list.trim() == "*" {
        return Ok(RoomsClaim::Any(Star::Star));
    }
    let rooms: Result<Vec<RoomId>, _> = split_list(list).map(str::parse).collect();
    rooms.map(RoomsClaim::List).map_err(|error| format!("{error} in a comma list, or *"))
}
