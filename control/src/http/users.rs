//! `/users`.

use axum::extract::State;
use hubbub_common::ids::UserId;
use serde::Deserialize;

use super::extract::{Json, ListQuery, LoggedIn, Path, Query, list};
use super::problem::Problem;
use crate::accounts;
use crate::app::App;
use crate::error::Error;
use crate::store::users::{self, User};

pub(super) async fn get(
    State(app): State<App>,
    LoggedIn(_): LoggedIn,
    Path(id): Path<UserId>,
) -> Result<axum::Json<User>, Problem> {
    let database = app.database().await?;
    let user = users::by_id(&**database, id).await?;
    Ok(axum::Json(user.ok_or(Error::NotFound("user"))?))
}

#[derive(Deserialize)]
pub(super) struct Update {
    display_name: Option<String>,
}

pub(super) async fn update_own(
    State(app): State<App>,
    LoggedIn(caller): LoggedIn,
    Json(body): Json<Update>,
) -> Result<axum::Json<User>, Problem> {
    Ok(axum::Json(accounts::update_profile(&app, &caller, body.display_name.as_deref()).await?))
}

pub(super) async fn search(
    State(app): State<App>,
    LoggedIn(_): LoggedIn,
    Query(query): Query<ListQuery>,
) -> Result<axum::Json<serde_json::Value>, Problem> {
    let limit = query.limit()?;
    let prefix = query.query.as_deref().unwrap_or_default();
    let after = query.cursor.as_deref().unwrap_or_default();
    let database = app.database().await?;
    let found = users::search(&**database, prefix, after, limit).await?;
    Ok(list(&found, limit, |user| user.username.clone()))
}
