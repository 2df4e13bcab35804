//! `/auth`.

use axum::extract::State;
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use hubbub_common::protocol::SESSION_COOKIE;
use hubbub_common::token::LOGIN_SESSION_SECONDS;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::{From, Json, Known, LoggedIn, Path};
use super::page::Page;
use super::problem::Problem;
use crate::accounts::Draft;
use crate::app::App;
use crate::auth::{self, ListedSession};
use crate::error::Error;
use crate::store::users::User;

#[derive(Deserialize, ToSchema)]
#[schema(as = Registration)]
pub(super) struct Register {
    /// Unique without regard to case.
    #[schema(min_length = 3, max_length = 32, pattern = "^[A-Za-z0-9_.-]{3,32}$")]
    username: String,
    #[schema(min_length = 8, max_length = 256, format = Password)]
    password: String,
    /// The name to show; the user name where absent.
    #[schema(min_length = 1, max_length = 64)]
    display_name: Option<String>,
}

/// A login session that was just made.
#[derive(Serialize, ToSchema)]
pub(super) struct LoginAnswer {
    user: User,
    /// For `Authorization: Bearer`; good for 24 hours after its last use. The cookie holds the same.
    token: String,
}

/// Make an account and log in
#[utoipa::path(
    post,
    path = "/auth/register",
    tag = "login",
    security(()),
    request_body = Register,
    responses(
        (status = 201, body = LoginAnswer, headers(("set-cookie" = String, description = "`hubbub_session`"))),
        (status = 403, description = "A page of an origin that is not allowed asks"),
        (status = 409, description = "The user name is taken"),
    ),
)]
pub(super) async fn register(
    State(app): State<App>,
    From(origin): From,
    Json(body): Json<Register>,
) -> Result<Response, Problem> {
    let draft = Draft { username: body.username, password: body.password, display_name: body.display_name };
    let (user, token) = auth::register(&app, draft, origin).await?;
    logged_in(&app, StatusCode::CREATED, LoginAnswer { user, token })
}

#[derive(Deserialize, ToSchema)]
#[schema(as = Credentials)]
pub(super) struct Login {
    username: String,
    #[schema(format = Password)]
    password: String,
}

/// Log in
///
/// An unknown name gets the same answer, after the same time, as a wrong password.
#[utoipa::path(
    post,
    path = "/auth/login",
    tag = "login",
    security(()),
    request_body = Login,
    responses(
        (status = 200, body = LoginAnswer, headers(("set-cookie" = String, description = "`hubbub_session`"))),
        (status = 401, description = "User name or password is wrong"),
        (status = 403, description = "The account is banned, or a page of an origin that is not allowed asks"),
    ),
)]
pub(super) async fn login(
    State(app): State<App>,
    From(origin): From,
    Json(body): Json<Login>,
) -> Result<Response, Problem> {
    let (user, token) = auth::login(&app, &body.username, body.password, origin).await?;
    logged_in(&app, StatusCode::OK, LoginAnswer { user, token })
}

fn logged_in(app: &App, status: StatusCode, answer: LoginAnswer) -> Result<Response, Problem> {
    let mut headers = HeaderMap::new();
    headers.insert(SET_COOKIE, cookie(app, &answer.token, LOGIN_SESSION_SECONDS)?);
    Ok((status, headers, axum::Json(answer)).into_response())
}

fn cookie(app: &App, token: &str, seconds: u64) -> Result<HeaderValue, Problem> {
    let secure = if app.config.shared.development { "" } else { "; Secure" };
    let text = format!("{SESSION_COOKIE}={token}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
    HeaderValue::try_from(text).map_err(|error| Problem(Error::Internal(error.to_string())))
}

/// End the login session
#[utoipa::path(
    post,
    path = "/auth/logout",
    tag = "login",
    responses((status = 204, description = "It has ended, with its connections")),
)]
pub(super) async fn logout(State(app): State<App>, LoggedIn(caller): LoggedIn) -> Result<Response, Problem> {
    auth::logout(&app, &caller).await?;
    let mut headers = HeaderMap::new();
    headers.insert(SET_COOKIE, cookie(&app, "", 0)?);
    Ok((StatusCode::NO_CONTENT, headers).into_response())
}

/// The own login sessions, oldest first
#[utoipa::path(
    get,
    path = "/auth/sessions",
    operation_id = "login_sessions",
    tag = "login",
    responses((status = 200, body = Page<ListedSession>)),
)]
pub(super) async fn sessions(
    State(app): State<App>,
    LoggedIn(caller): LoggedIn,
) -> Result<axum::Json<Page<ListedSession>>, Problem> {
    Ok(Page::whole(auth::sessions(&app, &caller).await?))
}

/// End one of the own login sessions
///
/// Its WebSockets close with 4001 within a second.
#[utoipa::path(
    delete,
    path = "/auth/sessions/{id}",
    operation_id = "end_login_session",
    tag = "login",
    params(("id" = String, Path, description = "From the list of sessions")),
    responses((status = 204, description = "It has ended")),
)]
pub(super) async fn revoke(
    State(app): State<App>,
    LoggedIn(caller): LoggedIn,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    auth::revoke(&app, &caller, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, ToSchema)]
#[schema(as = PasswordChange)]
pub(super) struct Password {
    #[schema(format = Password)]
    old: String,
    #[schema(min_length = 8, max_length = 256, format = Password)]
    new: String,
}

/// Change the password
///
/// Ends all other login sessions of the account.
#[utoipa::path(
    post,
    path = "/auth/password",
    operation_id = "change_password",
    tag = "login",
    request_body = Password,
    responses((status = 204, description = "It is changed")),
)]
pub(super) async fn password(
    State(app): State<App>,
    LoggedIn(caller): LoggedIn,
    Json(body): Json<Password>,
) -> Result<StatusCode, Problem> {
    auth::change_password(&app, &caller, body.old, body.new).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Who is logged in
#[utoipa::path(
    get,
    path = "/auth/me",
    operation_id = "own_user",
    tag = "login",
    responses(
        (status = 200, body = User),
        (status = 404, description = "The token was made by another application, for a user without an account"),
    ),
)]
pub(super) async fn me(
    State(app): State<App>,
    LoggedIn(caller): LoggedIn,
) -> Result<axum::Json<User>, Problem> {
    Ok(axum::Json(auth::me(&app, &caller).await?))
}

/// A proof for connecting to `/ws`.
#[derive(Serialize, ToSchema)]
#[schema(as = Ticket)]
pub(super) struct TicketAnswer {
    /// A JWT for `/ws?ticket=`.
    ticket: String,
    /// Seconds, at most 60.
    expires_in: u64,
}

/// Make a ticket for connecting to `/ws`
#[utoipa::path(
    post,
    path = "/auth/ticket",
    operation_id = "make_ticket",
    tag = "login",
    responses((status = 200,
    body = TicketAnswer)),
)]
pub(super) async fn ticket(
    State(app): State<App>,
    Known(caller): Known,
) -> Result<axum::Json<TicketAnswer>, Problem> {
    let (ticket, expires_in) = auth::ticket(&app, &caller)?;
    Ok(axum::Json(TicketAnswer { ticket, expires_in }))
}
