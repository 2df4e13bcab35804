//! `/auth`.

use axum::extract::State;
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use hubbub_common::protocol::SESSION_COOKIE;
use hubbub_common::token::LOGIN_SESSION_SECONDS;
use serde::Deserialize;
use serde_json::json;

use super::extract::{From, Json, LoggedIn, Path};
use super::problem::Problem;
use crate::accounts::Draft;
use crate::app::App;
use crate::auth;
use crate::error::Error;
use crate::store::users::User;

#[derive(Deserialize)]
pub(super) struct Register {
    username: String,
    password: String,
    display_name: Option<String>,
}

pub(super) async fn register(
    State(app): State<App>,
    From(origin): From,
    Json(body): Json<Register>,
) -> Result<Response, Problem> {
    let draft = Draft { username: body.username, password: body.password, display_name: body.display_name };
    let (user, token) = auth::register(&app, draft, origin).await?;
    logged_in(&app, StatusCode::CREATED, &user, &token)
}

#[derive(Deserialize)]
pub(super) struct Login {
    username: String,
    password: String,
}

pub(super) async fn login(
    State(app): State<App>,
    From(origin): From,
    Json(body): Json<Login>,
) -> Result<Response, Problem> {
    let (user, token) = auth::login(&app, &body.username, body.password, origin).await?;
    logged_in(&app, StatusCode::OK, &user, &token)
}

fn logged_in(app: &App, status: StatusCode, user: &User, token: &str) -> Result<Response, Problem> {
    let mut headers = HeaderMap::new();
    headers.insert(SET_COOKIE, cookie(app, token, LOGIN_SESSION_SECONDS)?);
    Ok((status, headers, axum::Json(json!({ "user": user, "token": token }))).into_response())
}

fn cookie(app: &App, token: &str, seconds: u64) -> Result<HeaderValue, Problem> {
    let secure = if app.config.shared.development { "" } else { "; Secure" };
    let text = format!("{SESSION_COOKIE}={token}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
    HeaderValue::try_from(text).map_err(|error| Problem(Error::Internal(error.to_string())))
}

pub(super) async fn logout(State(app): State<App>, LoggedIn(caller): LoggedIn) -> Result<Response, Problem> {
    auth::logout(&app, &caller).await?;
    let mut headers = HeaderMap::new();
    headers.insert(SET_COOKIE, cookie(&app, "", 0)?);
    Ok((StatusCode::NO_CONTENT, headers).into_response())
}

pub(super) async fn sessions(
    State(app): State<App>,
    LoggedIn(caller): LoggedIn,
) -> Result<axum::Json<serde_json::Value>, Problem> {
    let sessions = auth::sessions(&app, &caller).await?;
    Ok(axum::Json(json!({ "items": sessions, "next": null })))
}

pub(super) async fn revoke(
    State(app): State<App>,
    LoggedIn(caller): LoggedIn,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    auth::revoke(&app, &caller, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
pub(super) struct Password {
    old: String,
    new: String,
}

pub(super) async fn password(
    State(app): State<App>,
    LoggedIn(caller): LoggedIn,
    Json(body): Json<Password>,
) -> Result<StatusCode, Problem> {
    auth::change_password(&app, &caller, body.old, body.new).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn me(
    State(app): State<App>,
    LoggedIn(caller): LoggedIn,
) -> Result<axum::Json<User>, Problem> {
    Ok(axum::Json(auth::me(&app, &caller).await?))
}

pub(super) async fn ticket(
    State(app): State<App>,
    LoggedIn(caller): LoggedIn,
) -> Result<axum::Json<serde_json::Value>, Problem> {
    let (ticket, expires_in) = auth::ticket(&app, &caller)?;
    Ok(axum::Json(json!({ "ticket": ticket, "expires_in": expires_in })))
}
