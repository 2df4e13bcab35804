//! Answers what gateways ask ([`hubbub_common::asks`]): who wrote a message that is no longer in its stream.
//!
//! Every instance takes asks from the same list, each ask once.

use std::time::Duration;

use hubbub_common::asks::{ASK_MS_MAX, AuthorAnswer, AuthorAsk};
use hubbub_common::clock::now_ms;
use hubbub_common::keys;
use redis::aio::MultiplexedConnection;
use redis::cmd;

use crate::app::App;
use crate::error::Error;
use crate::store::messages;

/// Seconds for which one call waits for an ask.
const WAIT_S: u64 = 1;
/// How long a call may take before its connection counts as broken.
const RESPONSE_MAX: Duration = Duration::from_secs(5);
/// Pause after Redis or Postgres failed.
const RETRY: Duration = Duration::from_secs(1);

/// Answers for ever.
pub async fn run(app: App) {
    loop {
        if let Err(error) = answer_all(&app).await {
            tracing::debug!(?error, "gateways can't be answered");
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn answer_all(app: &App) -> Result<(), Error> {
    // Of its own, because a call that waits holds up everything behind it.
    let mut connection = app.redis.connect(keys::ASKS, Some(RESPONSE_MAX)).await?;
    loop {
        let ask = next(&mut connection).await.inspect_err(|_| app.redis.is_out_of_date())?;
        if let Some(ask) = ask {
            let answer = answer(app, &ask).await?;
            let answer =
                serde_json::to_string(&answer).map_err(|error| Error::Internal(error.to_string()))?;
            let mut publish = cmd("PUBLISH");
            publish.arg(keys::answers(&ask.run)).arg(answer);
            publish.query_async::<()>(&mut app.redis.clone()).await?;
        }
    }
}

/// The next ask for whose answer somebody may still wait.
async fn next(connection: &mut MultiplexedConnection) -> Result<Option<AuthorAsk>, Error> {
    let popped: Option<(String, String)> =
        cmd("BLPOP").arg(keys::ASKS).arg(WAIT_S).query_async(connection).await?;
    let ask: Option<AuthorAsk> = popped.and_then(|(_, json)| serde_json::from_str(&json).ok());
    Ok(ask.filter(|ask| now_ms().saturating_sub(ask.at_ms) <= ASK_MS_MAX))
}

async fn answer(app: &App, ask: &AuthorAsk) -> Result<AuthorAnswer, Error> {
    let database = app.database().await?;
    let author = messages::author(&**database, ask.room, ask.msg).await?;
    let author = author.and_then(|(author, deleted)| (!deleted).then_some(author));
    Ok(AuthorAnswer { ticket: ask.ticket, author })
}
