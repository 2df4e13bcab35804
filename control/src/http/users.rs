//! `/users`.

use axum::extract::State;
use hubbub_common::ids::UserId;
use serde::Deserialize;
use utoipa::ToSchema;

use super::extract::{Json, LoggedIn, Path, Query};
use super::page::{FindQuery, Page, PageQuery};
use super::problem::Problem;
use crate::accounts;
use crate::app::App;
use crate::error::Error;
use crate::store::users::{self, User};

/// A user
#[utoipa::path(
    get,
    path = "/users/{id}",
    operation_id = "get_user",
    tag = "users",
    params(("id" = UserId, Path)),
    responses((status = 200, body = User)),
)]
pub(super) async fn user(
    State(app): State<App>,
    _: LoggedIn,
    Path(id): Path<UserId>,
) -> Result<axum::Json<User>, Problem> {
    let database = app.database().await?;
    let user = users::by_id(&**database, id).await?;
    Ok(axum::Json(user.ok_or(Error::NotFound("user"))?))
}

#[derive(Deserialize, ToSchema)]
#[schema(as = ProfileChange)]
pub(super) struct Update {
    /// Stays as it is where absent.
    #[schema(min_length = 1, max_length = 64)]
    display_name: Option<String>,
}

/// Change the own profile
#[utoipa::path(
    patch,
    path = "/users/me",
    operation_id = "update_own_user",
    tag = "users",
    request_body = Update,
    responses((status = 200, body = User)),
)]
pub(super) async fn update_own(
    State(app): State<App>,
    LoggedIn(caller): LoggedIn,
    Json(body): Json<Update>,
) -> Result<axum::Json<User>, Problem> {
    Ok(axum::Json(accounts::update_profile(&app, &caller, body.display_name.as_deref()).await?))
}

/// Find users by the beginning of their names
#[utoipa::path(
    get,
    path = "/users",
    tag = "users",
    params(FindQuery, PageQuery),
    responses((status = 200, body = Page<User>)),
)]
pub(super) async fn find_users(
    State(app): State<App>,
    _: LoggedIn,
    Query(find): Query<FindQuery>,
    Query(page): Query<PageQuery>,
) -> Result<axum::Json<Page<User>>, Problem> {
    let limit = page.limit()?;
    let after = page.cursor.as_deref().unwrap_or_default();
    let database = app.database().await?;
    let found = users::search(&**database, find.prefix(), after, limit).await?;
    Ok(Page::of(found, limit, |user| user.username.clone()))
}
