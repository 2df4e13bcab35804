//! Which pages of other sites may use the API from a browser (the CORS protocol of the Fetch standard): those of
//! `HUBBUB_ALLOWED_ORIGINS`, with cookies. Our own pages need no leave.

use std::time::Duration;

use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, RETRY_AFTER};
use axum::http::{HeaderValue, Method};
use hubbub_common::config::Origins;
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::observe::REQUEST_ID;
use super::observe::{RATE_LIMIT, RATE_LIMIT_POLICY};

/// How long a browser remembers what it may do.
const REMEMBERED: Duration = Duration::from_mins(10);
const METHODS: [Method; 5] = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
const SENT: [HeaderName; 2] = [AUTHORIZATION, CONTENT_TYPE];
const SEEN: [HeaderName; 4] = [RETRY_AFTER, RATE_LIMIT, RATE_LIMIT_POLICY, REQUEST_ID];

pub(super) fn layer(origins: &Origins) -> CorsLayer {
    let allowed = origins.clone();
    let allow = move |origin: &HeaderValue| match &allowed {
        Origins::SameHost => false,
        Origins::List(_) | Origins::Any => origin.to_str().is_ok_and(|origin| allowed.allow(origin, None)),
    };
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(move |origin, _| allow(origin)))
        .allow_credentials(true)
        .allow_methods(METHODS)
        .allow_headers(SENT)
        .expose_headers(SEEN)
        .max_age(REMEMBERED)
}
