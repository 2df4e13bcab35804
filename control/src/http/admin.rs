//! `/admin`: for operators only.

use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use hubbub_common::ids::UserId;
use serde::Deserialize;
use serde_json::json;

use super::extract::{Json, LoggedIn, Path, Query, limit, list};
use super::problem::Problem;
use crate::app::App;
use crate::auth::Caller;
use crate::error::Error;
use crate::store::audit::Filter;
use crate::{accounts, operators};

/// An operator who is logged in.
pub(super) struct Operator(Caller);

impl FromRequestParts<App> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let LoggedIn(caller) = LoggedIn::from_request_parts(parts, app).await?;
        operators::require(app, &caller).await?;
        Ok(Self(caller))
    }
}

pub(super) async fn gateways(
    State(app): State<App>,
    Operator(_): Operator,
) -> Result<axum::Json<serde_json::Value>, Problem> {
    let gateways = operators::gateways(&app).await?;
    Ok(axum::Json(json!({ "items": gateways, "next": null })))
}

pub(super) async fn drain(
    State(app): State<App>,
    Operator(caller): Operator,
    Path(server_id): Path<String>,
) -> Result<StatusCode, Problem> {
    operators::drain(&app, &caller, &server_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
pub(super) struct Ban {
    #[serde(default)]
    reason: String,
}

pub(super) async fn ban(
    State(app): State<App>,
    Operator(caller): Operator,
    Path(user): Path<UserId>,
    Json(body): Json<Ban>,
) -> Result<StatusCode, Problem> {
    accounts::ban(&app, &caller, user, body.reason.trim()).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn lift_ban(
    State(app): State<App>,
    Operator(caller): Operator,
    Path(user): Path<UserId>,
) -> Result<StatusCode, Problem> {
    accounts::lift_ban(&app, &caller, user).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
pub(super) struct AuditQuery {
    actor: Option<UserId>,
    action: Option<String>,
    limit: Option<i64>,
    cursor: Option<String>,
}

pub(super) async fn audit(
    State(app): State<App>,
    Operator(_): Operator,
    Query(query): Query<AuditQuery>,
) -> Result<axum::Json<serde_json::Value>, Problem> {
    let limit = limit(query.limit)?;
    let before = query.cursor.map_or(Ok(i64::MAX), |cursor| cursor.parse());
    let before =
        before.map_err(|_| Error::Malformed("cursor: expected the `next` of a page before".to_owned()))?;
    let filter = Filter { actor: query.actor, action: query.action };
    let lines = operators::audit_log(&app, &filter, before, limit).await?;
    Ok(list(&lines, limit, |line| line.id.clone()))
}
