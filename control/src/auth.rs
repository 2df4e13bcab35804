//! Accounts and login sessions.

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

use crate::app::App;
use crate::error::Error;
use crate::membership;
use crate::rate::{self, AUTH_PER_ADDRESS, LOGIN_PER_ACCOUNT};
use crate::store::users::User;
use crate::store::{audit, users};

/// How long a ticket is good for.
pub const TICKET_SECONDS: u64 = 60;

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
}

/// From where and with what somebody logs in.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// The client's address.
    pub address: String,
    /// Its `User-Agent`.
    pub user_agent: Option<String>,
}

/// Makes an account and logs it in.
pub async fn register(
    app: &App,
    username: &str,
    password: String,
    display_name: Option<String>,
    origin: Origin,
) -> Result<(User, String), Error> {
    rate::take(&app.redis, AUTH_PER_ADDRESS, &origin.address).await?;
    let username = username.to_lowercase();
    let display_name = display_name.unwrap_or_else(|| username.clone());
    check_account(&username, &password, display_name.trim())?;
    let hash = app.passwords.hash(password).await?;
    let database = app.database().await?;
    let user = users::insert(&**database, &username, display_name.trim(), &hash).await?;
    let user = user.ok_or(Error::Conflict("this user name is taken"))?;
    audit::add(&**database, Some(user.id), "register", &username, &origin.address).await?;
    drop(database);
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
    rate::take(&app.redis, AUTH_PER_ADDRESS, &origin.address).await?;
    let username = username.to_lowercase();
    rate::take(&app.redis, LOGIN_PER_ACCOUNT, &username).await?;
    let database = app.database().await?;
    let (user, hash) = users::with_password(&**database, &username).await?.unzip();
    let fits = app.passwords.verify(password, hash).await?;
    let action = if fits { "login" } else { "login failed" };
    audit::add(&**database, user.as_ref().map(|user| user.id), action, &username, &origin.address).await?;
    drop(database);
    match user {
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
    let mut set = cmd("SET");
    set.arg(keys::login_session(&hash)).arg(json).arg("EX").arg(LOGIN_SESSION_SECONDS);
    set.query_async::<()>(&mut redis).await?;
    Ok(token)
}

/// Who stands behind a token.
pub async fn authenticate(app: &App, token: &str) -> Result<Caller, Error> {
    if is_jwt(token) {
        let claims = app.verifier.verify(token, now_ms());
        let claims = claims.map_err(|_| Error::Unauthorized("the token is not valid or has expired"))?;
        return Ok(Caller {
            user: claims.sub,
            name: claims.name.unwrap_or_else(|| claims.sub.to_string()),
            rooms: claims.rooms,
            session: None,
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
    Ok(Caller { user: session.user, name: session.name, rooms: None, session: Some((hash, session.id)) })
}

/// Ends the caller's login session.
pub async fn logout(app: &App, caller: &Caller, address: &str) -> Result<(), Error> {
    let Some((hash, id)) = &caller.session else {
        return Err(Error::Forbidden("a ticket can't be logged out: it ends by itself"));
    };
    end_sessions(app, caller.user, &[(hash.clone(), id.clone())]).await?;
    let database = app.database().await?;
    audit::add(&**database, Some(caller.user), "logout", "", address).await
}

/// A login session as its user sees it.
#[derive(Debug, Serialize)]
pub struct ListedSession {
    /// To revoke it by.
    id: String,
    /// When it was made, in Unix milliseconds.
    created_at: u64,
    /// From which address.
    address: Option<String>,
    /// With which program.
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
pub async fn revoke(app: &App, caller: &Caller, id: &str, address: &str) -> Result<(), Error> {
    let sessions = sessions_of(app, caller.user).await?;
    let (hash, session) =
        sessions.into_iter().find(|(_, session)| session.id == id).ok_or(Error::NotFound("session"))?;
    end_sessions(app, caller.user, &[(hash, session.id)]).await?;
    let database = app.database().await?;
    audit::add(&**database, Some(caller.user), "session revoked", id, address).await
}

/// Changes the caller's password, and ends their other login sessions.
pub async fn change_password(
    app: &App,
    caller: &Caller,
    old: String,
    new: String,
    address: &str,
) -> Result<(), Error> {
    if caller.session.is_none() {
        return Err(Error::Forbidden("with a ticket the password can't be changed: log in"));
    }
    check_password(&new).map_err(|reason| Error::invalid("new", reason))?;
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
    audit::add(&**database, Some(caller.user), "password changed", "", address).await?;
    drop(database);
    let own = caller.session.as_ref().map(|(hash, _)| hash);
    let others = sessions_of(app, caller.user).await?.into_iter();
    let others: Vec<_> =
        others.filter(|(hash, _)| Some(hash) != own).map(|(hash, session)| (hash, session.id)).collect();
    end_sessions(app, caller.user, &others).await
}

/// The login sessions of a user that have not ended, each with the hash of its token, oldest first.
async fn sessions_of(app: &App, user: UserId) -> Result<Vec<(String, LoginSession)>, Error> {
    let mut redis = app.redis.clone();
    let key = keys::login_sessions_of(user);
    let hashes: Vec<String> = cmd("ZRANGE").arg(&key).arg(0).arg(-1).query_async(&mut redis).await?;
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
    for (hash, _) in sessions {
        cmd("DEL").arg(keys::login_session(hash)).query_async::<()>(&mut redis).await?;
        cmd("ZREM").arg(keys::login_sessions_of(user)).arg(hash).query_async::<()>(&mut redis).await?;
    }
    let ids = sessions.iter().map(|(_, id)| Cow::Borrowed(id.as_str())).collect();
    app.publisher.notify(&app.redis, &Notice::SessionsEnded { user, sessions: ids }).await
}

/// The caller's own account.
pub async fn me(app: &App, caller: &Caller) -> Result<User, Error> {
    let database = app.database().await?;
    users::by_id(&**database, caller.user).await?.ok_or(Error::NotFound("user"))
}

/// A short-lived proof for connecting to a gateway.
pub fn ticket(app: &App, caller: &Caller) -> Result<String, Error> {
    let claims = Claims {
        sub: caller.user,
        exp: now_ms() / 1_000 + TICKET_SECONDS,
        name: Some(caller.name.clone()),
        rooms: caller.rooms.clone(),
        sid: caller.session.as_ref().map(|(_, id)| id.clone()),
    };
    app.signer.sign(&claims).map_err(|error| Error::Internal(error.to_string()))
}

fn check_password(password: &str) -> Result<(), &'static str> {
    if (8..=256).contains(&password.chars().count()) { Ok(()) } else { Err("expected 8 to 256 characters") }
}

fn check_account(username: &str, password: &str, display_name: &str) -> Result<(), Error> {
    let mut errors = std::collections::BTreeMap::new();
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.-".contains(&byte);
    if !(3..=32).contains(&username.len()) || !username.bytes().all(allowed) {
        errors.insert("username", "expected 3 to 32 of a-z 0-9 _ . -".to_owned());
    }
    if let Err(reason) = check_password(password) {
        errors.insert("password", reason.to_owned());
    }
    if display_name.is_empty()
        || display_name.chars().count() > 64
        || display_name.chars().any(char::is_control)
    {
        errors.insert("display_name", "expected 1 to 64 printable characters".to_owned());
    }
    if errors.is_empty() { Ok(()) } else { Err(Error::Invalid(errors)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_has_its_rule() {
        let check = |username: &str, password: &str, name: &str, field: Option<&str>| {
            let found = match check_account(username, password, name) {
                Ok(()) => None,
                Err(Error::Invalid(errors)) => errors.keys().next().copied(),
                Err(other) => panic!("{other:?}"),
            };
            assert_eq!(found, field, "{username} {password} {name}");
        };
        check("a.b-c_1", "12345678", "Ada L.", None);
        check("ab", "12345678", "Ada", Some("username"));
        check("a b c", "12345678", "Ada", Some("username"));
        check(&"a".repeat(33), "12345678", "Ada", Some("username"));
        check("ada", "1234567", "Ada", Some("password"));
        check("ada", &"é".repeat(256), "Ada", None);
        check("ada", &"é".repeat(257), "Ada", Some("password"));
        check("ada", "12345678", "", Some("display_name"));
        check("ada", "12345678", "a\nb", Some("display_name"));
    }
}
