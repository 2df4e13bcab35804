//! Every route, and what the document says of it: the same list.

use std::time::Duration;

use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::problem::Problem;
use super::{admin, auth, health, messages, observe, openapi, rooms, uploads, users, web};
use crate::app::App;
use crate::error::Error;

/// Where the API is.
pub(super) const API: &str = "/api/v1";
/// Bytes of a request's body.
const BODY_BYTES_MAX: usize = 65_536;

/// What is served to everybody. A request may take so long, and its body as long before that.
pub(super) fn all(request_max: Duration) -> OpenApiRouter<App> {
    let api = OpenApiRouter::default()
        .routes(routes!(auth::register))
        .routes(routes!(auth::login))
        .routes(routes!(auth::logout))
        .routes(routes!(auth::me))
        .routes(routes!(auth::password))
        .routes(routes!(auth::sessions))
        .routes(routes!(auth::revoke))
        .routes(routes!(auth::ticket))
        .routes(routes!(users::find_users))
        .routes(routes!(users::user))
        .routes(routes!(users::update_own))
        .routes(routes!(rooms::mine, rooms::create))
        .routes(routes!(rooms::public))
        .routes(routes!(rooms::direct))
        .routes(routes!(rooms::room, rooms::update, rooms::delete))
        .routes(routes!(rooms::join))
        .routes(routes!(rooms::leave))
        .routes(routes!(rooms::members))
        .routes(routes!(rooms::set_member, rooms::remove_member))
        .routes(routes!(rooms::presence))
        .routes(routes!(messages::history, messages::send))
        .routes(routes!(messages::edit, messages::delete))
        .routes(routes!(messages::search))
        .routes(routes!(messages::read))
        .routes(routes!(uploads::announce))
        .routes(routes!(uploads::file))
        .routes(routes!(admin::gateways))
        .routes(routes!(admin::controls))
        .routes(routes!(admin::drain))
        .routes(routes!(admin::ban, admin::lift_ban))
        .routes(routes!(admin::audit))
        .routes(routes!(openapi::json))
        .routes(routes!(openapi::page))
        .fallback(async || Problem(Error::NotFound("path")));
    // After the limits: a file may be large and take its time.
    let files = OpenApiRouter::default().routes(routes!(uploads::read, uploads::put));
    let mut all = OpenApiRouter::with_openapi(openapi::head())
        .nest(API, api)
        .routes(routes!(health::health))
        .routes(routes!(health::health_of_api))
        .fallback_service(web::files())
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn_with_state(request_max, observe::time_limit))
        .merge(files);
    openapi::complete(all.get_openapi_mut());
    all
}
