//! Uploads, and which messages name them.

use hubbub_common::clock::{UnixMs, now_ms};
use hubbub_common::ids::{UploadId, UserId};
use tokio_postgres::Row;

use super::sql::{Param, Sql};
use crate::error::Error;
use crate::uploads::Upload;

/// Holds "upl" in ASCII: the first half of the locks of owners.
const OWNER_LOCKS: i32 = 0x75_706c;

/// Adds one that was announced.
pub async fn insert(client: &impl Sql, upload: &Upload) -> Result<(), Error> {
    let sql = "INSERT INTO uploads (id, owner, file_name, content_type, size, created_at)
               VALUES ($1, $2, $3, $4, $5, $6)";
    let Upload { id, owner, file_name, content_type, size, is_complete: _ } = upload;
    let (id, owner, size) = (id.as_i64(), owner.as_i64(), size.cast_signed());
    let params: [&dyn Param; 6] =
        [&id, &owner, file_name, &content_type.as_str(), &size, &now_ms().cast_signed()];
    client.run(sql, &params).await?;
    Ok(())
}

/// The bytes of all uploads of a user; keeps others who ask the same out until the transaction ends.
pub async fn bytes_of(client: &impl Sql, owner: UserId) -> Result<u64, Error> {
    client.run("SELECT pg_advisory_xact_lock($1, $2)", &[&OWNER_LOCKS, &half(owner)]).await?;
    let sql = "SELECT coalesce(sum(size), 0)::bigint FROM uploads WHERE owner = $1";
    Ok(client.one_row(sql, &[&owner.as_i64()]).await?.get::<_, i64>(0).cast_unsigned())
}

/// Users with the same lower half share a lock, and lose nothing but a moment.
#[expect(clippy::cast_possible_truncation, reason = "the lower half is wanted")]
fn half(owner: UserId) -> i32 {
    owner.as_i64() as i32
}

/// The upload with this id.
pub async fn get(client: &impl Sql, id: UploadId) -> Result<Option<Upload>, Error> {
    let sql = "SELECT id, owner, file_name, content_type, size, state = 'complete' AS is_complete
               FROM uploads WHERE id = $1";
    let row = client.maybe_row(sql, &[&id.as_i64()]).await?;
    Ok(row.as_ref().and_then(upload))
}

fn upload(row: &Row) -> Option<Upload> {
    Some(Upload {
        id: UploadId::from_i64(row.get("id"))?,
        owner: UserId::from_i64(row.get("owner"))?,
        file_name: row.get("file_name"),
        content_type: row.get::<_, &str>("content_type").parse().ok()?,
        size: row.get::<_, i64>("size").cast_unsigned(),
        is_complete: row.get("is_complete"),
    })
}

/// Notes that the bytes are there; whether that is news.
pub async fn set_complete(client: &impl Sql, id: UploadId) -> Result<bool, Error> {
    let sql = "UPDATE uploads SET state = 'complete' WHERE id = $1 AND state = 'pending'";
    Ok(client.run(sql, &[&id.as_i64()]).await? > 0)
}

/// Uploads announced before a time that no message names, oldest first.
pub async fn unused(client: &impl Sql, announced_before: UnixMs, limit: i64) -> Result<Vec<UploadId>, Error> {
    let sql = "SELECT id FROM uploads u WHERE created_at < $1
               AND NOT EXISTS (SELECT FROM upload_uses WHERE upload = u.id) ORDER BY created_at LIMIT $2";
    let rows = client.rows(sql, &[&announced_before.cast_signed(), &limit]).await?;
    Ok(rows.iter().filter_map(|row| UploadId::from_i64(row.get(0))).collect())
}

/// Forgets uploads.
pub async fn remove(client: &impl Sql, ids: &[UploadId]) -> Result<(), Error> {
    let ids: Vec<i64> = ids.iter().copied().map(UploadId::as_i64).collect();
    client.run("DELETE FROM uploads WHERE id = ANY($1)", &[&ids]).await?;
    Ok(())
}
