//! What changes in rooms mean for those who are connected: the cache of memberships is written, the room is told, and
//! whoever has become a member of it.
//!
//! It is noted in the transaction that makes the change, and carried out right behind it. What could not be, because
//! Redis was away or this instance died in between, whichever instance finds it carries out later, in order room by
//! room. Every step can be done twice: the cache is written from Postgres, and a record states how things are.

use std::collections::BTreeSet;
use std::time::Duration;

use hubbub_common::entry::{Entry, Notice, Record, encode};
use hubbub_common::ids::{RoomId, UserId};
use hubbub_common::protocol::{MemberState, Role};

use crate::app::App;
use crate::error::Error;
use crate::membership;
use crate::store::changes::{self, Pending};
use crate::store::rooms;
use crate::store::sql::Sql;

/// How often it is looked for what was not carried out.
const EVERY: Duration = Duration::from_secs(1);
/// Of one room in one transaction.
const AT_ONCE: i64 = 100;
/// Rooms at a time.
const ROOMS_AT_ONCE: i64 = 100;

/// Notes that memberships of these users changed, and what the room is to be told. In the transaction of the change.
pub async fn note(
    client: &impl Sql,
    room: RoomId,
    users: &[UserId],
    record: Option<&Record<'_>>,
) -> Result<(), Error> {
    changes::note(client, room, users, record.map(|record| encode(0, 0, &[record.encode()]))).await
}

/// Carries out what is noted of a room, behind the transaction. The change is made, so a failure is no concern of
/// whoever asked for it: it is tried again.
pub async fn carry_out(app: &App, room: RoomId) {
    if let Err(error) = carry_out_all(app, room).await {
        tracing::warn!(%room, ?error, "a change is carried out later");
    }
}

/// Carries out what was left behind, for ever.
pub async fn run(app: App) {
    loop {
        tokio::time::sleep(EVERY).await;
        if let Err(error) = carry_out_late(&app).await {
            tracing::debug!(?error, "changes are carried out later");
        }
    }
}

async fn carry_out_late(app: &App) -> Result<(), Error> {
    let late = changes::late(&**app.database().await?, ROOMS_AT_ONCE).await?;
    for room in late {
        carry_out_all(app, room).await?;
    }
    Ok(())
}

async fn carry_out_all(app: &App, room: RoomId) -> Result<(), Error> {
    let mut database = app.database().await?;
    loop {
        let seen = changes::pending(&**database, room, AT_ONCE).await?;
        let Some(newest) = seen.last().map(|change| change.id) else { return Ok(()) };
        // The order of these does not matter: each writes what stands in Postgres.
        for user in seen.iter().flat_map(|change| &change.users).collect::<BTreeSet<_>>() {
            membership::refresh_by(app, &mut database, *user).await?;
        }
        let transaction = database.transaction().await?;
        let (mut told, mut outcome) = (Vec::new(), Ok(()));
        for change in changes::take(&*transaction, room, newest).await? {
            outcome = tell(app, &*transaction, room, &change).await;
            if outcome.is_err() {
                break;
            }
            told.push(change.id);
        }
        changes::forget(&*transaction, told).await?;
        transaction.commit().await?;
        outcome?;
    }
}

async fn tell(app: &App, client: &impl Sql, room: RoomId, change: &Pending) -> Result<(), Error> {
    let entry = change.entry.as_deref().map(Entry::decode).transpose();
    let Some(entry) = entry.map_err(|error| Error::Internal(error.to_string()))? else {
        // The room is new: its stream has nothing to say, and nobody who could hear it.
        for user in &change.users {
            if let Some(role) = rooms::role_of(client, room, *user).await? {
                tell_member(app, room, *user, role).await?;
            }
        }
        return Ok(());
    };
    for (_, record) in entry.records() {
        let record = record.ok_or_else(|| Error::Internal("a change that can't be read".to_owned()))?;
        app.publisher.append(&app.redis, &record).await?;
        if let Record::Member { room, user, state: MemberState::Joined, role: Some(role) } = record {
            tell_member(app, room, user, role).await?;
        }
    }
    Ok(())
}

/// Tells somebody that they are a member now, wherever they are connected and did not join the room yet.
async fn tell_member(app: &App, room: RoomId, user: UserId, role: Role) -> Result<(), Error> {
    app.publisher.notify(&app.redis, &Notice::Joined { user, room, role }).await
}
