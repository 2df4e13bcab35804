//! The audit log: who did what, from where. Only ever added to.

use hubbub_common::clock::now_ms;
use hubbub_common::ids::UserId;
use tokio_postgres::GenericClient;

use crate::error::Error;

/// Adds a line.
pub async fn add(
    client: &impl GenericClient,
    actor: Option<UserId>,
    action: &str,
    detail: &str,
    address: &str,
) -> Result<(), Error> {
    let actor = actor.map(UserId::as_i64);
    client
        .execute(
            "INSERT INTO audit_log (at, actor, action, detail, address) VALUES ($1, $2, $3, $4, $5)",
            &[&now_ms().cast_signed(), &actor, &action, &detail, &address],
        )
        .await?;
    Ok(())
}
