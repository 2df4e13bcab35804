//! What handlers take from a request: who asks, from where, and checked bodies, paths and queries.

use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{ConnectInfo, FromRequest, FromRequestParts, Request};
use axum::http::header::{AUTHORIZATION, COOKIE, HOST, HeaderName, ORIGIN, USER_AGENT};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use hubbub_common::token;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, MapAccess, Visitor};
use tokio::time::timeout;

use super::observe;
use super::problem::{self, Code, Problem};
use crate::app::App;
use crate::auth::{self, Caller};
use crate::error::Error;
use crate::origin::Origin;
use crate::rate;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Somebody with an account, logged in. A token that names rooms is good for these alone, whosever id stands in it.
pub(super) struct LoggedIn(pub(super) Caller);

impl FromRequestParts<App> for LoggedIn {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Known(caller) = Known::from_request_parts(parts, app).await?;
        if caller.rooms.is_some() {
            return Err(Problem(Error::Forbidden("this token is good for what happens in its rooms only")));
        }
        Ok(Self(caller))
    }
}

/// Somebody with a good token of whatever kind. A cookie that changes state needs an allowed `Origin`, and everybody may
/// change only so much.
pub(super) struct Known(pub(super) Caller);

impl FromRequestParts<App> for Known {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let headers = &parts.headers;
        let changes_something = !matches!(parts.method, Method::GET | Method::HEAD);
        let token = if let Some(token) = texts(headers, AUTHORIZATION).find_map(token::bearer) {
            token
        } else if let Some(token) = token::session_cookie(texts(headers, COOKIE)) {
            if changes_something && !has_allowed_origin(&parts.headers, app) {
                return Err(Problem(Error::Forbidden("with a cookie, an allowed Origin is needed")));
            }
            token
        } else {
            return Err(Problem(Error::Unauthorized("not logged in")));
        };
        let caller = auth::authenticate(app, token, origin(parts, app)).await?;
        if changes_something {
            rate::take(&app.redis, app.config.writes_per_user, &caller.user.to_string()).await?;
        }
        Ok(Self(caller))
    }
}

fn texts(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok())
}

fn has_allowed_origin(headers: &HeaderMap, app: &App) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    text(ORIGIN).is_some_and(|origin| app.config.shared.allowed_origins.allow(origin, text(HOST)))
}

/// From where a request comes. Pages of other sites are refused.
pub(super) struct From(pub(super) Origin);

impl FromRequestParts<App> for From {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        if parts.headers.contains_key(ORIGIN) && !has_allowed_origin(&parts.headers, app) {
            return Err(Problem(Error::Forbidden("this Origin is not allowed")));
        }
        Ok(Self(origin(parts, app)))
    }
}

fn origin(parts: &Parts, app: &App) -> Origin {
    Origin {
        address: client_address(parts, app),
        user_agent: texts(&parts.headers, USER_AGENT).next().map(str::to_owned),
        request: observe::request_id().unwrap_or_default(),
    }
}

fn client_address(parts: &Parts, app: &App) -> String {
    let Some(ConnectInfo(peer)) = parts.extensions.get::<ConnectInfo<SocketAddr>>() else {
        return String::new();
    };
    app.config.shared.client_address(peer.ip(), texts(&parts.headers, FORWARDED_FOR)).to_string()
}

/// A JSON body: an object.
pub(super) struct Json<T>(pub(super) T);

/// What is read from an object alone. By itself a struct would be read from a list of its fields as well.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = Object<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(fields)).map(Object)
            }
        }
        deserializer.deserialize_map(Fields(PhantomData))
    }
}

impl<T: DeserializeOwned> FromRequest<App> for Json<T> {
    type Rejection = Response;

    async fn from_request(request: Request, app: &App) -> Result<Self, Response> {
        let body = timeout(app.config.request_max, axum::Json::<Object<T>>::from_request(request, app)).await;
        match body.map_err(|_| problem::plain(StatusCode::REQUEST_TIMEOUT, Code::BadRequest))? {
            Ok(axum::Json(Object(body))) => Ok(Self(body)),
            Err(JsonRejection::MissingJsonContentType(_)) => {
                Err(problem::plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::BadRequest))
            }
            Err(JsonRejection::BytesRejection(rejection)) => {
                Err(problem::plain(rejection.status(), Code::TooLarge))
            }
            Err(rejection) => Err(Problem(Error::Malformed(rejection.body_text())).into_response()),
        }
    }
}

/// A path parameter.
pub(super) struct Path<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<App> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        // An id that can't be one names nothing.
        let path: Result<_, PathRejection> = axum::extract::Path::<T>::from_request_parts(parts, app).await;
        path.map(|path| Self(path.0)).map_err(|_| Problem(Error::NotFound("id")))
    }
}

/// A query string.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<App> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let query: Result<_, QueryRejection> =
            axum::extract::Query::<T>::from_request_parts(parts, app).await;
        query.map(|query| Self(query.0)).map_err(|rejection| Problem(Error::Malformed(rejection.body_text())))
    }
}
