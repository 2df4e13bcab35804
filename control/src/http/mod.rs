//! HTTP: handlers translate between requests and rules, and do nothing else.

mod auth;
mod extract;
mod health;
mod messages;
mod observe;
mod problem;
mod rooms;
mod uploads;
mod users;
mod web;

use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{delete, get, patch, post, put};

use crate::app::App;
use crate::error::Error;
use problem::Problem;

/// Bytes of a request's body.
const BODY_BYTES_MAX: usize = 65_536;
/// How long a request may take.
const REQUEST_MAX: Duration = Duration::from_secs(15);

/// What is served to everybody.
pub fn public(app: App) -> Router {
    let api = Router::new()
        .route("/auth/register", post(auth::register))
        .route("/auth/login", post(auth::login))
        .route("/auth/logout", post(auth::logout))
        .route("/auth/me", get(auth::me))
        .route("/auth/password", post(auth::password))
        .route("/auth/sessions", get(auth::sessions))
        .route("/auth/sessions/{id}", delete(auth::revoke))
        .route("/auth/ticket", post(auth::ticket))
        .route("/users", get(users::search))
        .route("/users/{id}", get(users::get))
        .route("/rooms", get(rooms::mine).post(rooms::create))
        .route("/rooms/public", get(rooms::public))
        .route("/rooms/{id}", get(rooms::get).patch(rooms::update).delete(rooms::delete))
        .route("/rooms/{id}/join", post(rooms::join))
        .route("/rooms/{id}/leave", post(rooms::leave))
        .route("/rooms/{id}/members", get(rooms::members))
        .route("/rooms/{id}/members/{user}", put(rooms::set_member).delete(rooms::remove_member))
        .route("/rooms/{id}/messages", get(messages::history).post(messages::send))
        .route("/rooms/{id}/messages/{msg}", patch(messages::edit).delete(messages::delete))
        .route("/rooms/{id}/read", put(messages::read))
        .route("/dms", post(rooms::direct))
        .route("/uploads", post(uploads::announce))
        .route("/uploads/{id}", get(uploads::get))
        .fallback(async || Problem(Error::NotFound("path")));
    Router::new()
        .nest("/api/v1", api)
        .route("/health", get(health::health))
        .route("/api/health", get(health::health))
        .fallback(web::file)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn(observe::time_limit))
        // After the limits: a file may be large and take its time.
        .route("/api/v1/uploads/{id}/content", get(uploads::read).put(uploads::put))
        .method_not_allowed_fallback(async || problem::plain(StatusCode::METHOD_NOT_ALLOWED, "bad_request"))
        .layer(from_fn_with_state(observe::page_policy(app.uploads.origin()), observe::security_headers))
        .layer(from_fn_with_state(app.clone(), observe::request))
        .with_state(app)
}

/// What is served to operators.
pub fn internal(app: App) -> Router {
    Router::new()
        .route("/health", get(health::health))
        .route("/metrics", get(health::metrics))
        .with_state(app)
}
