//! Registering, logging in and out, login sessions and tickets.

use std::borrow::Cow;

use hubbub_common::clock::now_ms;
use hubbub_common::entry::Notice;
use hubbub_common::ids::UserId;
use hubbub_common::keys;
use hubbub_common::token::{
    Claims, LOGIN_SESSION_SECONDS, LoginSession, RoomsClaim, is_jwt, new_session_token, session_token_hash,
};
use redis::cmd;
use serde::Serialize;
use utoipa::ToSchema;

use crate::accounts::{self, Draft};
use crate::app::App;
use crate::bans;
use crate::error::Error;
use crate::membership;
use crate::origin::Origin;
use crate::rate::{self, LOGIN_PER_ACCOUNT};
use crate::store::users::User;
use crate::store::{audit, users};

/// How long a ticket is good for.
pub const TICKET_SECONDS: u64 = 60;
/// How long an ended login session is remembered: no ticket of it is left then.
const ENDED_SECONDS: u64 = 2 * TICKET_SECONDS;
/// Login sessions of one user; one more ends the oldest. Signed, as Redis counts from the end by it.
const SESSIONS_MAX: i64 = 100;
/// Characters of a name in Redis and in the audit log that belongs to nobody, perhaps.
const USERNAME_SHOWN_MAX: usize = 64;
const BANNED: Error = Error::Forbidden("this account is banned");

/// Who asks.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who.
    pub user: UserId,
    /// The name to show with what they write.
    pub name: String,
    /// The rooms that a ticket names; `None`: membership decides.
    pub rooms: Option<RoomsClaim>,
    /// The login session's token hash and id, where there is one.
    pub session: Option<(String, String)>,
    /// What they showed instead of a session's token, where they did.
    pub ticket: Option<Ticket>,
    /// From where they ask.
    pub origin: Origin,
}

/// What is left of a ticket that was shown.
#[derive(Debug, Clone)]
pub struct Ticket {
    /// The login session that it was made from.
    pub sid: Option<String>,
    /// Until when it is good, in Unix seconds.
    pub exp: u64,
}

impl Caller {
    /// The login session behind this, by its id.
    fn sid(&self) -> Option<&String> {
        let of_ticket = self.ticket.as_ref().and_then(|ticket| ticket.sid.as_ref());
        self.session.as_ref().map(|(_, id)| id).or(of_ticket)
    }
}

/// Makes an account and logs it in.
pub async fn register(app: &App, draft: Draft, origin: Origin) -> Result<(User, String), Error> {
    rate::take(&app.redis, app.config.auth_per_address, &origin.address).await?;
    let user = accounts::create(app, draft, &origin).await?;
    let token = log_in(app, &user, origin).await?;
    Ok((user, token))
}

/// Checks a password and makes a login session.
pub async fn login(
    app: &App,
    username: &str,
    password: String,
    origin: Origin,
) -> Result<(User, String), Error> {
    rate::take(&app.redis, app.config.auth_per_address, &origin.address).await?;
    let username = username.to_lowercase();
    let shown: String = username.chars().take(USERNAME_SHOWN_MAX).collect();
    rate::take(&app.redis, LOGIN_PER_ACCOUNT, &shown).await?;
    let database = app.database().await?;
    let found = users::with_password(&**database, &username).await?;
    drop(database);
    let (user, hash, banned) = match found {
        Some(found) => (Some(found.user), Some(found.password_hash), found.is_banned),
        None => (None, None, false),
    };
    let fits = app.passwords.verify(password, hash).await?;
    let action = match (fits, banned) {
        (true, false) => "login",
        (true, true) => "login while banned",
        (false, _) => "login failed",
    };
    let database = app.database().await?;
    let actor = user.as_ref().map(|user| user.id);
    audit::add(&**database, actor, action, &shown, &origin).await?;
    drop(database);
    match user {
        Some(_) if fits && banned => Err(BANNED),
        Some(user) if fits => {
            let token = log_in(app, &user, origin).await?;
            Ok((user, token))
        }
        _ => Err(Error::Unauthorized("user name or password is wrong")),
    }
}

async fn log_in(app: &App, user: &User, origin: Origin) -> Result<String, Error> {
    let random = |error| Error::Internal(format!("random numbers: {error}"));
    let token = new_session_token().map_err(random)?;
    let id = new_session_token().map_err(random)?;
    let created_at = now_ms();
    let session = LoginSession {
        id: id.get(..16).unwrap_or_default().to_owned(),
        user: user.id,
        name: user.display_name.clone(),
        created_at,
        address: Some(origin.address),
        user_agent: origin.user_agent.map(|agent| agent.chars().take(200).collect()),
    };
    let json = serde_json::to_string(&session).map_err(|error| Error::Internal(error.to_string()))?;
    let hash = session_token_hash(&token);
    membership::refresh(app, user.id).await?;
    // Listed before it is good for anything, so that none is good and not listed. Not a transaction: in a Cluster
    // the two keys live apart.
    let mut redis = app.redis.clone();
    let mut list = cmd("ZADD");
    list.arg(keys::login_sessions_of(user.id)).arg(created_at).arg(&hash);
    list.query_async::<()>(&mut redis).await?;
    end_oldest(app, user.id).await?;
    let mut set = cmd("SET");
    set.arg(keys::login_session(&hash)).arg(json).arg("EX").arg(LOGIN_SESSION_SECONDS);
    set.query_async::<()>(&mut redis).await?;
    // A ban ends the sessions that it finds: this one may have come too late to be found.
    let database = app.database().await?;
    let standing = users::standing(&**database, user.id).await?;
    drop(database);
    if standing.is_none_or(|standing| standing.is_banned) {
        end_sessions(app, user.id, &[(hash, session.id)]).await?;
        return Err(BANNED);
    }
    Ok(token)
}

/// Ends a user's oldest login sessions where there are more than they may have.
async fn end_oldest(app: &App, user: UserId) -> Result<(), Error> {
    let mut list = cmd("ZRANGE");
    list.arg(keys::login_sessions_of(user)).arg(0).arg(-SESSIONS_MAX - 1);
    let hashes: Vec<String> = list.query_async(&mut app.redis.clone()).await?;
    let sessions = living(app, user, hashes).await?.into_iter();
    let sessions: Vec<_> = sessions.map(|(hash, session)| (hash, session.id)).collect();
    end_sessions(app, user, &sessions).await
}

/// Who stands behind a token.
pub async fn authenticate(app: &App, token: &str, origin: Origin) -> Result<Caller, Error> {
    if is_jwt(token) {
        let claims = app.verifier.verify(token, now_ms());
        let claims = claims.map_err(|_| Error::Unauthorized("the token is not valid or has expired"))?;
        if let Some(sid) = &claims.sid {
            let mut ended = cmd("EXISTS");
            ended.arg(keys::ended_session(sid));
            if ended.query_async::<bool>(&mut app.redis.clone()).await? {
                return Err(Error::Unauthorized("the session of this ticket has ended: log in again"));
            }
        }
        // A login session of a banned user has ended; what others sign in their name has none.
        if bans::is_banned(app, claims.sub).await? {
            return Err(Error::Unauthorized("this account is banned"));
        }
        return Ok(Caller {
            user: claims.sub,
            name: claims.name.unwrap_or_else(|| claims.sub.to_string()),
            rooms: claims.rooms,
            session: None,
            ticket: Some(Ticket { sid: claims.sid, exp: claims.exp }),
            origin,
        });
    }
    let hash = session_token_hash(token);
    let json: Option<String> = cmd("GETEX")
        .arg(keys::login_session(&hash))
        .arg("EX")
        .arg(LOGIN_SESSION_SECONDS)
        .query_async(&mut app.redis.clone())
        .await?;
    let session: Option<LoginSession> = json.and_then(|json| serde_json::from_str(&json).ok());
    let session = session.ok_or(Error::Unauthorized("the session is not known: log in again"))?;
    let (user, name) = (session.user, session.name);
    Ok(Caller { user, name, rooms: None, session: Some((hash, session.id)), ticket: None, origin })
}

/// Ends the caller's login session.
pub async fn logout(app: &App, caller: &Caller) -> Result<(), Error> {
    let Some((hash, id)) = &caller.session else {
        return Err(Error::Forbidden("a ticket can't be logged out: it ends by itself"));
    };
    end_sessions(app, caller.user, &[(hash.clone(), id.clone())]).await?;
    let database = app.database().await?;
    audit::add(&**database, Some(caller.user), "logout", "", &caller.origin).await
}

/// A login session as its user sees it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LoginSession)]
pub struct ListedSession {
    /// To revoke it by.
    id: String,
    /// When it was made, in Unix milliseconds.
    created_at: u64,
    /// From which address.
    #[schema(required)]
    address: Option<String>,
    /// With which program.
    #[schema(required)]
    user_agent: Option<String>,
    /// Whether it is the one that asks.
    current: bool,
}

/// The caller's login sessions, oldest first.
pub async fn sessions(app: &App, caller: &Caller) -> Result<Vec<ListedSession>, Error> {
    let own = caller.session.as_ref().map(|(hash, _)| hash);
    let sessions = sessions_of(app, caller.user).await?;
    let listed = sessions.into_iter().map(|(hash, session)| ListedSession {
        current: Some(&hash) == own,
        id: session.id,
        created_at: session.created_at,
        address: session.address,
        user_agent: session.user_agent,
    });
    Ok(listed.collect())
}

/// Ends one of the caller's login sessions, and the connections that were made with it.
pub async fn revoke(app: &App, caller: &Caller, id: &str) -> Result<(), Error> {
    let sessions = sessions_of(app, caller.user).await?;
    let (hash, session) =
        sessions.into_iter().find(|(_, session)| session.id == id).ok_or(Error::NotFound("session"))?;
    end_sessions(app, caller.user, &[(hash, session.id)]).await?;
    let database = app.database().await?;
    audit::add(&**database, Some(caller.user), "session revoked", id, &caller.origin).await
}

/// Changes the caller's password, and ends their other login sessions.
pub async fn change_password(app: &App, caller: &Caller, old: String, new: String) -> Result<(), Error> {
    if caller.session.is_none() {
        return Err(Error::Forbidden("with a ticket the password can't be changed: log in"));
    }
    accounts::check_password(&new).map_err(|reason| Error::invalid("new", reason))?;
    rate::take(&app.redis, LOGIN_PER_ACCOUNT, &caller.user.to_string()).await?;
    let database = app.database().await?;
    let hash = users::password_hash(&**database, caller.user).await?;
    drop(database);
    if !app.passwords.verify(old, hash).await? {
        return Err(Error::invalid("old", "is not the password"));
    }
    let hash = app.passwords.hash(new).await?;
    let database = app.database().await?;
    users::set_password_hash(&**database, caller.user, &hash).await?;
    audit::add(&**database, Some(caller.user), "password changed", "", &caller.origin).await?;
    drop(database);
    let own = caller.session.as_ref().map(|(hash, _)| hash);
    let others = sessions_of(app, caller.user).await?.into_iter();
    let others: Vec<_> =
        others.filter(|(hash, _)| Some(hash) != own).map(|(hash, session)| (hash, session.id)).collect();
    end_sessions(app, caller.user, &others).await
}

/// The login sessions of a user that have not ended, each with the hash of its token, oldest first.
async fn sessions_of(app: &App, user: UserId) -> Result<Vec<(String, LoginSession)>, Error> {
    let mut list = cmd("ZRANGE");
    list.arg(keys::login_sessions_of(user)).arg(0).arg(-1);
    let hashes: Vec<String> = list.query_async(&mut app.redis.clone()).await?;
    living(app, user, hashes).await
}

/// Those of the login sessions that have not ended; the others are taken off the user's list.
async fn living(app: &App, user: UserId, hashes: Vec<String>) -> Result<Vec<(String, LoginSession)>, Error> {
    let mut redis = app.redis.clone();
    let key = keys::login_sessions_of(user);
    let mut sessions = Vec::with_capacity(hashes.len());
    for hash in hashes {
        let json: Option<String> = cmd("GET").arg(keys::login_session(&hash)).query_async(&mut redis).await?;
        match json.and_then(|json| serde_json::from_str::<LoginSession>(&json).ok()) {
            Some(session) => sessions.push((hash, session)),
            // It expired: nothing else takes it off the list.
            None => cmd("ZREM").arg(&key).arg(&hash).query_async::<()>(&mut redis).await?,
        }
    }
    Ok(sessions)
}

/// Ends login sessions, given by hash and id: for whoever comes next, then for whoever is connected.
async fn end_sessions(app: &App, user: UserId, sessions: &[(String, String)]) -> Result<(), Error> {
    if sessions.is_empty() {
        return Ok(());
    }
    let mut redis = app.redis.clone();
    for (_, id) in sessions {
        // First, so that no ticket is made from a session that looks alive.
        let mut end = cmd("SET");
        end.arg(keys::ended_session(id)).arg(1).arg("EX").arg(ENDED_SECONDS);
        end.query_async::<()>(&mut redis).await?;
    }
    // Before they are gone: whoever repeats this after a failure still finds whom to tell of.
    let ids = sessions.iter().map(|(_, id)| Cow::Borrowed(id.as_str())).collect();
    app.publisher.notify(&app.redis, &Notice::SessionsEnded { user, sessions: ids }).await?;
    for (hash, _) in sessions {
        cmd("DEL").arg(keys::login_session(hash)).query_async::<()>(&mut redis).await?;
        cmd("ZREM").arg(keys::login_sessions_of(user)).arg(hash).query_async::<()>(&mut redis).await?;
    }
    Ok(())
}

/// Ends every login session of a user.
pub(crate) async fn end_all_sessions(app: &App, user: UserId) -> Result<(), Error> {
    let sessions = sessions_of(app, user).await?.into_iter();
    let sessions: Vec<_> = sessions.map(|(hash, session)| (hash, session.id)).collect();
    end_sessions(app, user, &sessions).await
}

/// Gives the login sessions of a user their new name, which stands with what they write.
pub(crate) async fn rename_sessions(app: &App, user: UserId, name: &str) -> Result<(), Error> {
    for (hash, session) in sessions_of(app, user).await? {
        let session = LoginSession { name: name.to_owned(), ..session };
        let json = serde_json::to_string(&session).map_err(|error| Error::Internal(error.to_string()))?;
        let mut set = cmd("SET");
        set.arg(keys::login_session(&hash)).arg(json).arg("XX").arg("KEEPTTL");
        set.query_async::<()>(&mut app.redis.clone()).await?;
    }
    Ok(())
}

/// The caller's own account.
pub async fn me(app: &App, caller: &Caller) -> Result<User, Error> {
    let database = app.database().await?;
    let user = users::by_id(&**database, caller.user).await?.ok_or(Error::NotFound("user"))?;
    let standing = users::standing(&**database, caller.user).await?;
    let is_operator = standing.is_some_and(|standing| standing.is_operator);
    Ok(User { operator: is_operator.then_some(true), ..user })
}

/// A short-lived proof for connecting to a gateway, and for how many seconds it is good. One that is made from another
/// lives no longer than that.
pub fn ticket(app: &App, caller: &Caller) -> Result<(String, u64), Error> {
    let now_s = now_ms() / 1_000;
    let exp = now_s + TICKET_SECONDS;
    let exp = caller.ticket.as_ref().map_or(exp, |ticket| exp.min(ticket.exp));
    let claims = Claims {
        sub: caller.user,
        exp,
        name: Some(caller.name.clone()),
        rooms: caller.rooms.clone(),
        sid: caller.sid().cloned(),
    };
    let ticket = app.signer.sign(&claims).map_err(|error| Error::Internal(error.to_string()))?;
    Ok((ticket, exp.saturating_sub(now_s)))
}
