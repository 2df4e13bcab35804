//! HTTP: handlers translate between requests and rules, and do nothing else.

mod admin;
mod auth;
mod cors;
mod docs;
mod extract;
mod health;
mod messages;
mod observe;
mod openapi;
mod page;
mod problem;
mod rooms;
mod routes;
pub mod server;
mod trace;
mod uploads;
mod users;
mod web;

use axum::Router;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::get;

use crate::app::App;

/// What is served to everybody.
pub fn public(app: App) -> Router {
    let (routes, _) = routes::all(app.config.request_max * 2).split_for_parts();
    routes
        .method_not_allowed_fallback(async || {
            problem::plain(StatusCode::METHOD_NOT_ALLOWED, problem::Code::BadRequest)
        })
        .layer(cors::layer(&app.config.shared.allowed_origins))
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
