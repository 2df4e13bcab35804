//! Finding messages of a room by their words, newest first, in bounded steps: whatever the room's size, there is an answer
//! in time, with a cursor to go on from where that was not enough.
//!
//! Messages are looked through from the newest on, some thousands at a time. Words that are common fill a page at once.
//! Where that reached a month with an index and the page is not full, the words are not common, and the index has the rest.

use std::time::Duration;

use hubbub_common::ids::{MessageId, RoomId};
use tokio_postgres::Client;

use crate::app::App;
use crate::auth::Caller;
use crate::error::Error;
use crate::rooms;
use crate::store::messages::Message;
use crate::store::search::{self as store, Wanted};

/// Characters of what is searched for.
const CHARS_MAX: usize = 256;
/// Messages that are looked through at once: few, so that a slow disk is no matter, and more where that was quick.
const STEP_MIN: i64 = 2_000;
const STEP_MAX: i64 = 64_000;
const QUICK: Duration = Duration::from_millis(200);

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// Newest first.
    pub messages: Vec<Message>,
    /// Only messages before this one are still to be searched; none are where there is none.
    pub next: Option<MessageId>,
}

/// A search under way.
struct Search<'a> {
    client: &'a Client,
    room: RoomId,
    wanted: Wanted,
    /// Before it there is an index.
    indexed_before: i64,
    /// What is newer was searched.
    before: i64,
    limit: usize,
    found: Vec<Message>,
}

/// Messages of a room with these words, before one. Quotes make a phrase, `or` and `-` are understood.
pub async fn search(
    app: &App,
    caller: &Caller,
    room: RoomId,
    words: &str,
    before: Option<MessageId>,
    limit: usize,
) -> Result<Found, Error> {
    let length = words.trim().chars().count();
    if length == 0 || length > CHARS_MAX || words.contains('\0') {
        return Err(Error::invalid("q", format!("expected 1 to {CHARS_MAX} characters")));
    }
    rooms::role(app, caller, room).await?;
    let database = app.read_database().await?;
    let Some(wanted) = store::wanted(&database, words).await? else { return Ok(Found::default()) };
    let search = Search {
        client: &database,
        room,
        wanted,
        indexed_before: store::indexed_before(&database).await?,
        before: before.map_or(i64::MAX, MessageId::as_i64),
        limit,
        found: Vec::new(),
    };
    search.run(app).await
}

impl Search<'_> {
    async fn run(mut self, app: &App) -> Result<Found, Error> {
        let time = app.config.search_max;
        let began = app.clock.elapsed();
        let (mut step, mut index_is_quick) = (STEP_MIN, true);
        loop {
            let step_began = app.clock.elapsed();
            let has_more = self.look_through(step).await?;
            if self.is_full() || !has_more {
                break;
            }
            if self.before <= self.indexed_before && index_is_quick {
                index_is_quick = self.by_index(time).await?;
                if index_is_quick {
                    break;
                }
            }
            let now = app.clock.elapsed();
            if now.saturating_sub(began) >= time {
                return Ok(Found { messages: self.found, next: MessageId::from_i64(self.before) });
            }
            if now.saturating_sub(step_began) < QUICK {
                step = (2 * step).min(STEP_MAX);
            }
        }
        let next = self.found.last().filter(|_| self.is_full()).map(|message| message.id);
        Ok(Found { messages: self.found, next })
    }

    /// Some of the messages that are left, to where the index begins at most; whether there may be more.
    async fn look_through(&mut self, count: i64) -> Result<bool, Error> {
        let end = if self.before > self.indexed_before { self.indexed_before } else { 0 };
        let begin = store::begin_of(self.client, self.room, &(end..self.before), count).await?;
        let ids = begin.unwrap_or(end)..self.before;
        let found = store::look_through(self.client, self.room, &self.wanted, &ids, self.missing()).await?;
        self.found.extend(found);
        self.before = ids.start;
        Ok(self.before > 0)
    }

    /// All messages that are left; whether that did not take too long.
    async fn by_index(&mut self, time: Duration) -> Result<bool, Error> {
        let (ids, missing) = (0..self.before, self.missing());
        let found = store::by_index(self.client, self.room, &self.wanted, &ids, missing, time).await?;
        let was_in_time = found.is_some();
        self.found.extend(found.into_iter().flatten());
        Ok(was_in_time)
    }

    fn is_full(&self) -> bool {
        self.found.len() >= self.limit
    }

    fn missing(&self) -> i64 {
        i64::try_from(self.limit.saturating_sub(self.found.len())).unwrap_or(i64::MAX)
    }
}
