//! `/admin`: for operators only.

use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use hubbub_common::gateways::GatewayReport;
use hubbub_common::ids::UserId;
use serde::Deserialize;
use utoipa::ToSchema;

use super::extract::{Json, LoggedIn, Path, Query};
use super::page::{AuditQuery, Page, bad_cursor, limit};
use super::problem::Problem;
use crate::app::App;
use crate::auth::Caller;
use crate::roll::{self, ControlReport};
use crate::store::audit::{Filter, Line};
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

/// Every gateway that lives
#[utoipa::path(
    get,
    path = "/admin/gateways",
    tag = "operators",
    responses((status = 200, body = Page<GatewayReport>)),
)]
pub(super) async fn gateways(
    State(app): State<App>,
    _: Operator,
) -> Result<axum::Json<Page<GatewayReport>>, Problem> {
    Ok(Page::whole(operators::gateways(&app).await?))
}

/// Every control plane that lives
///
/// One of them leads: it writes messages into Postgres.
#[utoipa::path(
    get,
    path = "/admin/controls",
    operation_id = "control_planes",
    tag = "operators",
    responses((status = 200, body = Page<ControlReport>)),
)]
pub(super) async fn controls(
    State(app): State<App>,
    _: Operator,
) -> Result<axum::Json<Page<ControlReport>>, Problem> {
    Ok(Page::whole(roll::all(&app).await?))
}

/// Send a gateway's clients away
///
/// It takes no new ones until it is started anew.
#[utoipa::path(
    post,
    path = "/admin/gateways/{server_id}/drain",
    operation_id = "drain_gateway",
    tag = "operators",
    params(("server_id" = String, Path, description = "`HUBBUB_SERVER_ID` of the gateway")),
    responses((status = 204, description = "It was told")),
)]
pub(super) async fn drain(
    State(app): State<App>,
    Operator(caller): Operator,
    Path(server_id): Path<String>,
) -> Result<StatusCode, Problem> {
    operators::drain(&app, &caller, &server_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, ToSchema)]
pub(super) struct Ban {
    /// For the audit log.
    #[serde(default)]
    #[schema(max_length = 256)]
    reason: String,
}

/// Keep a user out
///
/// They can't log in; their login sessions, tickets, other tokens in their name, and open connections end.
#[utoipa::path(
    post,
    path = "/admin/users/{id}/ban",
    operation_id = "ban_user",
    tag = "operators",
    params(("id" = UserId, Path)),
    request_body = Ban,
    responses(
        (status = 204, description = "They are out"),
        (status = 409, description = "They are an operator"),
    ),
)]
pub(super) async fn ban(
    State(app): State<App>,
    Operator(caller): Operator,
    Path(id): Path<UserId>,
    Json(body): Json<Ban>,
) -> Result<StatusCode, Problem> {
    accounts::ban(&app, &caller, id, body.reason.trim()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Let a user in again
#[utoipa::path(
    delete,
    path = "/admin/users/{id}/ban",
    tag = "operators",
    params(("id" = UserId, Path)),
    responses((status = 204, description = "They may log in")),
)]
pub(super) async fn lift_ban(
    State(app): State<App>,
    Operator(caller): Operator,
    Path(id): Path<UserId>,
) -> Result<StatusCode, Problem> {
    accounts::lift_ban(&app, &caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Who did what from where, newest first
#[utoipa::path(
    get,
    path = "/admin/audit",
    operation_id = "audit_log",
    tag = "operators",
    params(AuditQuery),
    responses((status = 200, body = Page<Line>)),
)]
pub(super) async fn audit(
    State(app): State<App>,
    _: Operator,
    Query(query): Query<AuditQuery>,
) -> Result<axum::Json<Page<Line>>, Problem> {
    let limit = limit(query.limit)?;
    let before = query.cursor.map_or(Ok(i64::MAX), |cursor| cursor.parse());
    let before = before.map_err(|_| bad_cursor())?;
    let filter = Filter { actor: query.actor, action: query.action };
    let lines = operators::audit_log(&app, &filter, before, limit).await?;
    Ok(Page::of(lines, limit, |line| line.id.clone()))
}
