//! The audit log: who did what, from where. Only ever added to.

use hubbub_common::clock::now_ms;
use hubbub_common::ids::UserId;
use serde::Serialize;
use tokio_postgres::Row;
use utoipa::ToSchema;

use super::sql::Sql;
use crate::error::Error;
use crate::origin::Origin;

/// Adds a line.
pub async fn add(
    client: &impl Sql,
    actor: Option<UserId>,
    action: &str,
    detail: &str,
    origin: &Origin,
) -> Result<(), Error> {
    let actor = actor.map(UserId::as_i64);
    let sql = "INSERT INTO audit_log (at, actor, action, detail, address, request)
               VALUES ($1, $2, $3, $4, $5, $6)";
    let at = now_ms().cast_signed();
    client.run(sql, &[&at, &actor, &action, &detail, &origin.address, &origin.request]).await?;
    Ok(())
}

/// A line of the log.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = AuditLine)]
pub struct Line {
    /// Rises with time.
    pub id: String,
    /// When, in Unix milliseconds.
    pub at: i64,
    /// Who; `None` for the command line, and for a login to no account.
    #[schema(required)]
    pub actor: Option<UserId>,
    /// What.
    pub action: String,
    /// To what.
    pub detail: String,
    /// From where.
    pub address: String,
    /// By which request.
    pub request: String,
}

/// Which lines.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of this user only.
    pub actor: Option<UserId>,
    /// With this action only.
    pub action: Option<String>,
}

/// Lines before an id, newest first.
pub async fn page(client: &impl Sql, filter: &Filter, before: i64, limit: i64) -> Result<Vec<Line>, Error> {
    let sql = "SELECT id, at, actor, action, detail, address, request FROM audit_log
               WHERE id < $1 AND ($2::bigint IS NULL OR actor = $2) AND ($3::text IS NULL OR action = $3)
               ORDER BY id DESC LIMIT $4";
    let actor = filter.actor.map(UserId::as_i64);
    let rows = client.rows(sql, &[&before, &actor, &filter.action, &limit]).await?;
    let line = |row: &Row| Line {
        id: row.get::<_, i64>("id").to_string(),
        at: row.get("at"),
        actor: row.get::<_, Option<i64>>("actor").and_then(UserId::from_i64),
        action: row.get("action"),
        detail: row.get("detail"),
        address: row.get("address"),
        request: row.get("request"),
    };
    Ok(rows.iter().map(line).collect())
}
