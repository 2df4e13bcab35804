//! Who is online in a room, from what gateways note in Redis.

use std::collections::HashSet;

use hubbub_common::ids::{RoomId, UserId};
use hubbub_common::limits::PRESENCE_USERS_MAX;
use hubbub_common::{keys, presence};
use redis::cmd;

use crate::app::App;
use crate::auth::Caller;
use crate::error::Error;
use crate::{operators, rooms};

/// Entries that one request looks at.
const ENTRIES_MAX: isize = 20_000;

/// Users who are online in a room, at most a thousand, and how many there are.
pub async fn online(app: &App, caller: &Caller, room: RoomId) -> Result<(Vec<UserId>, usize), Error> {
    rooms::role(app, caller, room).await?;
    let alive: HashSet<String> = operators::alive(app).await?.into_iter().collect();
    let mut of_room = cmd("ZRANGE");
    of_room.arg(keys::presence(room)).arg(0).arg(ENTRIES_MAX);
    let entries: Vec<String> = of_room.query_async(&mut app.redis.clone()).await?;
    let entries = entries.iter().map(String::as_str);
    let mut users = presence::users(entries, |run| alive.contains(run));
    let count = users.len();
    users.truncate(PRESENCE_USERS_MAX);
    Ok((users, count))
}
