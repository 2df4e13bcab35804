//! Accounts: what they are made of, and what operators do to them.

use std::collections::BTreeMap;

use hubbub_common::clock::now_ms;
use hubbub_common::ids::UserId;

use crate::app::App;
use crate::auth::{self, Caller};
use crate::bans;
use crate::error::Error;
use crate::janitor;
use crate::origin::Origin;
use crate::store::users::User;
use crate::store::{audit, erasures, users};

/// What a new account is made of.
#[derive(Debug)]
pub struct Draft {
    /// Unique name; lower case is stored.
    pub username: String,
    /// In the clear.
    pub password: String,
    /// The name to show; the user name where absent.
    pub display_name: Option<String>,
}

/// Makes an account.
pub async fn create(app: &App, draft: Draft, origin: &Origin) -> Result<User, Error> {
    let username = draft.username.to_lowercase();
    let display_name = draft.display_name.unwrap_or_else(|| username.clone());
    let display_name = display_name.trim();
    check(&username, &draft.password, display_name)?;
    let hash = app.passwords.hash(draft.password).await?;
    let mut database = app.database().await?;
    let transaction = database.transaction().await?;
    let user = users::insert(&*transaction, &username, display_name, &hash).await?;
    let user = user.ok_or(Error::Conflict("this user name is taken"))?;
    audit::add(&*transaction, Some(user.id), "register", &username, origin).await?;
    transaction.commit().await?;
    Ok(user)
}

/// Changes the caller's own profile.
pub async fn update_profile(app: &App, caller: &Caller, display_name: Option<&str>) -> Result<User, Error> {
    let display_name = display_name.map(str::trim);
    if let Some(name) = display_name {
        check_display_name(name).map_err(|reason| Error::invalid("display_name", reason))?;
    }
    let database = app.database().await?;
    let user = users::update(&**database, caller.user, display_name).await?.ok_or(Error::NotFound("user"))?;
    drop(database);
    if display_name.is_some() {
        auth::rename_sessions(app, caller.user, &user.display_name).await?;
    }
    Ok(user)
}

/// The account with a name.
pub async fn by_name(app: &App, username: &str) -> Result<User, Error> {
    let database = app.database().await?;
    let found = users::with_password(&**database, username).await?;
    found.map(|found| found.user).ok_or(Error::NotFound("user"))
}

/// Gives an account a new password, and ends its login sessions.
pub async fn set_password(app: &App, user: UserId, password: String, origin: &Origin) -> Result<(), Error> {
    check_password(&password).map_err(|reason| Error::invalid("password", reason))?;
    let hash = app.passwords.hash(password).await?;
    let mut database = app.database().await?;
    let transaction = database.transaction().await?;
    users::set_password_hash(&*transaction, user, &hash).await?;
    audit::add(&*transaction, None, "password set", &format!("user {user}"), origin).await?;
    transaction.commit().await?;
    drop(database);
    auth::end_all_sessions(app, user).await
}

/// Makes somebody an operator, or takes that right away.
pub async fn set_operator(app: &App, user: UserId, operator: bool, origin: &Origin) -> Result<(), Error> {
    let action = if operator { "operator made" } else { "operator removed" };
    let mut database = app.database().await?;
    let transaction = database.transaction().await?;
    users::set_operator(&*transaction, user, operator).await?;
    audit::add(&*transaction, None, action, &format!("user {user}"), origin).await?;
    transaction.commit().await?;
    Ok(())
}

/// Keeps somebody out: no login, and every login session ends with its connections and tickets. Asked again, it ends
/// whatever session was left.
pub async fn ban(app: &App, operator: &Caller, user: UserId, reason: &str) -> Result<(), Error> {
    if reason.chars().count() > 256 || reason.chars().any(char::is_control) {
        return Err(Error::invalid("reason", "expected at most 256 printable characters"));
    }
    let mut database = app.database().await?;
    let transaction = database.transaction().await?;
    let standing = users::standing(&*transaction, user).await?.ok_or(Error::NotFound("user"))?;
    if standing.is_operator {
        return Err(Error::Conflict("an operator can't be banned: take that right away first"));
    }
    users::set_banned(&*transaction, user, true).await?;
    let detail = if reason.is_empty() { format!("user {user}") } else { format!("user {user}: {reason}") };
    audit::add(&*transaction, Some(operator.user), "user banned", &detail, &operator.origin).await?;
    transaction.commit().await?;
    drop(database);
    bans::refresh(app, user).await?;
    auth::end_all_sessions(app, user).await
}

/// Lets somebody in again.
pub async fn lift_ban(app: &App, operator: &Caller, user: UserId) -> Result<(), Error> {
    let mut database = app.database().await?;
    let transaction = database.transaction().await?;
    let standing = users::standing(&*transaction, user).await?.ok_or(Error::NotFound("user"))?;
    if !standing.is_banned {
        return Err(Error::NotFound("ban"));
    }
    users::set_banned(&*transaction, user, false).await?;
    let detail = format!("user {user}");
    audit::add(&*transaction, Some(operator.user), "user ban lifted", &detail, &operator.origin).await?;
    transaction.commit().await?;
    drop(database);
    bans::refresh(app, user).await
}

/// Has everything that somebody wrote until now erased, by the janitor.
pub async fn erase_messages(app: &App, user: UserId, origin: &Origin) -> Result<(), Error> {
    let mut database = app.database().await?;
    let transaction = database.transaction().await?;
    erasures::wish(&*transaction, user, janitor::up_to_now(), now_ms()).await?;
    audit::add(&*transaction, None, "messages erased", &format!("user {user}"), origin).await?;
    transaction.commit().await?;
    Ok(())
}

/// The rule for passwords.
pub fn check_password(password: &str) -> Result<(), &'static str> {
    if (8..=256).contains(&password.chars().count()) { Ok(()) } else { Err("expected 8 to 256 characters") }
}

fn check_display_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name.chars().count() > 64 || name.chars().any(char::is_control) {
        return Err("expected 1 to 64 printable characters");
    }
    Ok(())
}

fn check(username: &str, password: &str, display_name: &str) -> Result<(), Error> {
    let mut errors = BTreeMap::new();
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.-".contains(&byte);
    if !(3..=32).contains(&username.len()) || !username.bytes().all(allowed) {
        errors.insert("username", "expected 3 to 32 of a-z 0-9 _ . -".to_owned());
    }
    if let Err(reason) = check_password(password) {
        errors.insert("password", reason.to_owned());
    }
    if let Err(reason) = check_display_name(display_name) {
        errors.insert("display_name", reason.to_owned());
    }
    if errors.is_empty() { Ok(()) } else { Err(Error::Invalid(errors)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_has_its_rule() {
        let check = |username: &str, password: &str, name: &str, field: Option<&str>| {
            let found = match check(username, password, name) {
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
