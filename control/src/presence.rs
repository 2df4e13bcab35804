//! Who is online in a room, from what gateways note in Redis.

use std::collections::HashSet;

use hubbub_common::ids::{RoomId, UserId};
use hubbub_common::keys;
use hubbub_common::limits::PRESENCE_USERS_MAX;
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
    let mut users: Vec<UserId> = entries.iter().filter_map(|entry| user_of(entry, &alive)).collect();
    // Entries come in lexical order, so those of a user are neighbours.
    users.dedup();
    let count = users.len();
    users.truncate(PRESENCE_USERS_MAX);
    Ok((users, count))
}

/// The user of an entry `user/run of a gateway/core`, unless that gateway is gone.
fn user_of(entry: &str, alive: &HashSet<String>) -> Option<UserId> {
    let (user, place) = entry.split_once('/')?;
    let (gateway, _core) = place.rsplit_once('/')?;
    alive.contains(gateway).then(|| user.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_dead_gateways_do_not_count() {
        let alive = HashSet::from(["g/1#00ff".to_owned()]);
        assert_eq!(user_of("7/g/1#00ff/0", &alive), UserId::new(7));
        for other in ["7/g/1#00fe/0", "7", "x/g/1#00ff/0", "7/g/1#00ff"] {
            assert_eq!(user_of(other, &alive), None, "{other}");
        }
    }
}
