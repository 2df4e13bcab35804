//! Users.

use hubbub_common::clock::now_ms;
use hubbub_common::ids::UserId;
use serde::Serialize;
use tokio_postgres::Row;
use utoipa::ToSchema;

use super::sql::Sql;
use crate::error::Error;

/// A user as others see them.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct User {
    /// Who.
    pub id: UserId,
    /// Unique name.
    pub username: String,
    /// The name to show.
    pub display_name: String,
    /// Unix milliseconds.
    pub created_at: i64,
    /// `true` where they may administer the whole system; told to themselves alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator: Option<bool>,
}

const COLUMNS: &str = "id, username, display_name, created_at";

fn user(row: &Row) -> Option<User> {
    Some(User {
        id: UserId::from_i64(row.get("id"))?,
        username: row.get("username"),
        display_name: row.get("display_name"),
        created_at: row.get("created_at"),
        operator: None,
    })
}

/// Adds a user; `None` when the name is taken.
pub async fn insert(
    client: &impl Sql,
    username: &str,
    display_name: &str,
    password_hash: &str,
) -> Result<Option<User>, Error> {
    let sql = format!(
        "INSERT INTO users (username, display_name, password_hash, created_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (lower(username)) DO NOTHING RETURNING {COLUMNS}"
    );
    let row =
        client.maybe_row(&sql, &[&username, &display_name, &password_hash, &now_ms().cast_signed()]).await?;
    Ok(row.as_ref().and_then(user))
}

/// The user with this id.
pub async fn by_id(client: &impl Sql, id: UserId) -> Result<Option<User>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM users WHERE id = $1");
    Ok(client.maybe_row(&sql, &[&id.as_i64()]).await?.as_ref().and_then(user))
}

/// A user as a login sees them.
#[derive(Debug)]
pub struct LoggingIn {
    /// Who.
    pub user: User,
    /// The hash of their password.
    pub password_hash: String,
    /// Whether they are kept out.
    pub is_banned: bool,
}

/// The user with this name, and what a login needs to know.
pub async fn with_password(client: &impl Sql, username: &str) -> Result<Option<LoggingIn>, Error> {
    let sql = format!(
        "SELECT {COLUMNS}, password_hash, banned_at IS NOT NULL AS is_banned
         FROM users WHERE lower(username) = lower($1)"
    );
    let row = client.maybe_row(&sql, &[&username]).await?;
    Ok(row.and_then(|row| {
        let (password_hash, is_banned) = (row.get("password_hash"), row.get("is_banned"));
        Some(LoggingIn { user: user(&row)?, password_hash, is_banned })
    }))
}

/// What a user may do beyond what everybody may, or less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Whether they may administer the whole system.
    pub is_operator: bool,
    /// Whether they are kept out.
    pub is_banned: bool,
}

/// How a user stands.
pub async fn standing(client: &impl Sql, id: UserId) -> Result<Option<Standing>, Error> {
    let sql = "SELECT is_operator, banned_at IS NOT NULL FROM users WHERE id = $1";
    let row = client.maybe_row(sql, &[&id.as_i64()]).await?;
    Ok(row.map(|row| Standing { is_operator: row.get(0), is_banned: row.get(1) }))
}

/// Gives or takes the right to administer.
pub async fn set_operator(client: &impl Sql, id: UserId, operator: bool) -> Result<(), Error> {
    client.run("UPDATE users SET is_operator = $2 WHERE id = $1", &[&id.as_i64(), &operator]).await?;
    Ok(())
}

/// Bans, or lifts a ban; the time of the first ban stays.
pub async fn set_banned(client: &impl Sql, id: UserId, banned: bool) -> Result<(), Error> {
    let at = banned.then(|| now_ms().cast_signed());
    let sql = "UPDATE users SET banned_at = CASE WHEN $2::bigint IS NULL THEN NULL
               ELSE coalesce(banned_at, $2) END WHERE id = $1";
    client.run(sql, &[&id.as_i64(), &at]).await?;
    Ok(())
}

/// Users who are banned, by id, after one.
pub async fn banned(client: &impl Sql, after: i64, limit: i64) -> Result<Vec<UserId>, Error> {
    let sql = "SELECT id FROM users WHERE banned_at IS NOT NULL AND id > $1 ORDER BY id LIMIT $2";
    let rows = client.rows(sql, &[&after, &limit]).await?;
    Ok(rows.iter().filter_map(|row| UserId::from_i64(row.get(0))).collect())
}

/// Changes what is given.
pub async fn update(
    client: &impl Sql,
    id: UserId,
    display_name: Option<&str>,
) -> Result<Option<User>, Error> {
    let sql = format!(
        "UPDATE users SET display_name = coalesce($2, display_name) WHERE id = $1 RETURNING {COLUMNS}"
    );
    Ok(client.maybe_row(&sql, &[&id.as_i64(), &display_name]).await?.as_ref().and_then(user))
}

/// Users by id, after one, each with how they stand.
pub async fn all(client: &impl Sql, after: i64, limit: i64) -> Result<Vec<(User, Standing)>, Error> {
    let sql = format!(
        "SELECT {COLUMNS}, is_operator, banned_at IS NOT NULL AS is_banned
         FROM users WHERE id > $1 ORDER BY id LIMIT $2"
    );
    let rows = client.rows(&sql, &[&after, &limit]).await?;
    let one = |row: &Row| {
        let standing = Standing { is_operator: row.get("is_operator"), is_banned: row.get("is_banned") };
        Some((user(row)?, standing))
    };
    Ok(rows.iter().filter_map(one).collect())
}

/// The hash of a user's password.
pub async fn password_hash(client: &impl Sql, id: UserId) -> Result<Option<String>, Error> {
    let row = client.maybe_row("SELECT password_hash FROM users WHERE id = $1", &[&id.as_i64()]).await?;
    Ok(row.map(|row| row.get(0)))
}

/// Puts a new hash in its place.
pub async fn set_password_hash(client: &impl Sql, id: UserId, hash: &str) -> Result<(), Error> {
    client.run("UPDATE users SET password_hash = $2 WHERE id = $1", &[&id.as_i64(), &hash]).await?;
    Ok(())
}

/// Users whose name begins so, by name, after a name.
pub async fn search(client: &impl Sql, prefix: &str, after: &str, limit: i64) -> Result<Vec<User>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM users WHERE lower(username) LIKE $1 AND lower(username) ~>~ $2
         ORDER BY lower(username) USING ~<~ LIMIT $3"
    );
    let pattern = starting_with(prefix);
    let rows = client.rows(&sql, &[&pattern, &after.to_lowercase(), &limit]).await?;
    Ok(rows.iter().filter_map(user).collect())
}

/// A `LIKE` pattern for texts that begin so, without regard to case.
pub(super) fn starting_with(prefix: &str) -> String {
    let mut pattern = String::with_capacity(prefix.len() + 1);
    for character in prefix.to_lowercase().chars() {
        if matches!(character, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push('%');
    pattern
}

#[cfg(test)]
mod tests {
    #[test]
    fn patterns_are_escaped() {
        assert_eq!(super::starting_with("A_b%\\"), "a\\_b\\%\\\\%");
    }
}
