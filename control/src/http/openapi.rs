//! The document that describes the API (`OpenAPI` 3.1), made of what stands beside the handlers.
//!
//! Handlers say what is their own: what they do, what they answer when it goes well, and errors that need a word. What is
//! true of every request of a kind is added here: who has to be logged in, and every way in which it can fail.

use std::sync::LazyLock;
use std::time::Duration;

use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, Parameter, ParameterIn, PathItem};
use utoipa::openapi::response::Response as Answer;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{Components, Content, Info, OpenApi, Paths, Ref, RefOr, SecurityRequirement};
use utoipa::{PartialSchema as _, ToSchema as _};

use super::problem::{Code, PROBLEM_JSON, ProblemBody};
use super::{docs, routes};

const DESCRIPTION: &str = include_str!("openapi.md");

const TAGS: [(&str, &str); 8] = [
    ("login", "Accounts, login sessions, tickets"),
    ("users", "Profiles"),
    ("rooms", "Rooms"),
    ("members", "Who is in a room, and who is there"),
    ("messages", "Messages, history, read positions"),
    ("uploads", "Files"),
    ("operators", "For operators only"),
    ("about", "The system and this document"),
];

/// Both forms in which it is served, made once.
struct Served {
    json: String,
    page: String,
}

static SERVED: LazyLock<Served> = LazyLock::new(|| {
    let document = routes::all(Duration::MAX).into_openapi();
    Served { json: document.to_json().unwrap_or_default(), page: docs::page(&document) }
});

/// This document
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "api_document",
    tag = "about",
    security(()),
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value)),
)]
pub(super) async fn json() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], SERVED.json.as_str())
}

/// This document as a page to read
#[utoipa::path(
    get,
    path = "/docs",
    operation_id = "api_page",
    tag = "about",
    security(()),
    responses((status = 200, description = "HTML", body = String, content_type = "text/html")),
)]
pub(super) async fn page() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/html; charset=utf-8")], SERVED.page.as_str())
}

/// What the document says before any route does.
pub(super) fn head() -> OpenApi {
    let mut info = Info::new("Hubbub", env!("CARGO_PKG_VERSION"));
    info.description = Some(DESCRIPTION.to_owned());
    let mut head = OpenApi::new(info, Paths::new());
    let tag = |(name, about)| TagBuilder::new().name(name).description(Some(about)).build();
    head.tags = Some(TAGS.map(tag).into());
    head.security = Some(["bearer", "cookie"].map(|name| SecurityRequirement::new(name, [""; 0])).into());
    let mut components = Components::new();
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("The `token` of a login, a ticket, or a JWT that another application signed"));
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer.build()));
    let cookie = ApiKeyValue::with_description(
        hubbub_common::protocol::SESSION_COOKIE,
        "Set by a login. What changes something needs an allowed `Origin` with it",
    );
    components.add_security_scheme("cookie", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
    components.schemas.insert(ProblemBody::name().into(), ProblemBody::schema());
    components.schemas.insert(Code::name().into(), Code::schema());
    head.components = Some(components);
    head
}

/// Adds to every operation what is true of all of its kind.
pub(super) fn complete(document: &mut OpenApi) {
    for (path, item) in &mut document.paths.paths {
        let PathItem { get, put, post, patch, delete, .. } = item;
        for (operation, changes) in [(get, false), (put, true), (post, true), (patch, true), (delete, true)] {
            if let Some(operation) = operation {
                let of = Kind::of(path, operation, changes);
                add_failures(operation, &of);
                add_headers(operation, &of);
            }
        }
    }
}

/// What decides in which ways a request can fail.
#[expect(clippy::struct_excessive_bools, reason = "a list of questions about a request")]
struct Kind {
    changes: bool,
    is_api: bool,
    is_open: bool,
    /// Only some who are logged in may do it.
    has_rights: bool,
    has_path: bool,
    has_query: bool,
    has_body: bool,
    has_json: bool,
}

impl Kind {
    fn of(path: &str, operation: &Operation, changes: bool) -> Self {
        let body = match &operation.request_body {
            Some(RefOr::T(body)) => Some(body),
            Some(RefOr::Ref(_)) | None => None,
        };
        let is_in_query = |parameter: &RefOr<Parameter>| {
            matches!(parameter, RefOr::T(Parameter { parameter_in: ParameterIn::Query, .. }))
        };
        let has_path = path.contains('{');
        Self {
            changes,
            // What says how the system is, and the document, needs nothing that could be away.
            is_api: path.starts_with(routes::API)
                && !operation.tags.iter().flatten().any(|tag| tag == "about"),
            is_open: operation.security.is_some(),
            has_rights: changes || has_path || path.contains("/admin/"),
            has_path,
            has_query: operation.parameters.iter().flatten().any(is_in_query),
            has_body: body.is_some(),
            has_json: body.is_some_and(|body| body.content.contains_key("application/json")),
        }
    }
}

fn add_failures(operation: &mut Operation, of: &Kind) {
    let failures = [
        ("400", of.has_body || of.has_query, "The request can't be understood"),
        ("401", !of.is_open, "Nobody is logged in, or the token is not good any more"),
        (
            "403",
            !of.is_open && of.has_rights,
            "It is not allowed; or a cookie came without an allowed `Origin`",
        ),
        ("404", of.has_path, "No such thing, or not visible"),
        ("408", of.has_json, "The body did not come in time"),
        ("413", of.has_body, "More bytes than are taken"),
        ("415", of.has_json, "The body is not JSON"),
        ("422", of.has_body || of.has_query, "A field breaks a rule: `errors` says which"),
        ("429", of.is_api && of.changes, "Too many requests: `Retry-After` says when to come again"),
        ("500", of.is_api, "A bug, or the outcome is unknown"),
        ("503", of.is_api, "Something that is needed is away; nothing was stored"),
    ];
    let answers = &mut operation.responses.responses;
    for (status, can_happen, description) in failures {
        if can_happen {
            answers.entry(status.to_owned()).or_insert_with(|| RefOr::T(Answer::new(description)));
        }
    }
    for (status, answer) in answers {
        if let RefOr::T(answer) = answer
            && status.as_str() >= "400"
            && answer.content.is_empty()
        {
            let problem = Ref::from_schema_name(ProblemBody::name());
            answer.content.insert(PROBLEM_JSON.to_owned(), RefOr::T(Content::new(Some(problem))));
        }
    }
}

fn add_headers(operation: &mut Operation, of: &Kind) {
    for (status, answer) in &mut operation.responses.responses {
        let RefOr::T(answer) = answer else { continue };
        let mut add = |name: &str, description: &str| {
            let header = HeaderBuilder::new().schema(Some(String::schema())).description(Some(description));
            answer.headers.insert(name.to_owned(), RefOr::T(header.build()));
        };
        add("X-Request-Id", "Of this request, as in logs, errors and the audit log");
        if matches!(status.as_str(), "429" | "503") {
            add("Retry-After", "Seconds");
        }
        if of.is_api && of.changes && !matches!(status.as_str(), "401" | "500" | "503") {
            add("RateLimit", "What is left of each limit that this request counted for");
            add("RateLimit-Policy", "These limits: so many (`q`) in so many seconds (`w`)");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn operations(document: &OpenApi) -> impl Iterator<Item = (&String, &Operation)> {
        document.paths.paths.iter().flat_map(|(path, item)| {
            let PathItem { get, put, post, patch, delete, .. } = item;
            [get, put, post, patch, delete].into_iter().flatten().map(move |operation| (path, operation))
        })
    }

    #[test]
    fn every_operation_says_what_it_does() {
        let document = routes::all(Duration::MAX).into_openapi();
        let mut ids = BTreeSet::new();
        for (path, operation) in operations(&document) {
            let id = operation.operation_id.as_ref().unwrap();
            assert!(ids.insert(id), "{path}: another operation is named {id}");
            assert!(operation.summary.as_ref().is_some_and(|text| !text.is_empty()), "{path}");
            let tags = operation.tags.as_ref().unwrap();
            assert!(tags.len() == 1 && TAGS.iter().any(|(name, _)| name == &tags[0]), "{path}: {tags:?}");
            let parameters: Vec<_> = operation.parameters.iter().flatten().collect();
            for name in path.split('{').skip(1).filter_map(|rest| rest.split('}').next()) {
                let is_named = |parameter: &&RefOr<Parameter>| matches!(parameter, RefOr::T(Parameter { name: known, parameter_in: ParameterIn::Path, .. }) if known == name);
                assert!(parameters.iter().any(is_named), "{path}: {name}");
            }
        }
        assert!(ids.len() > 40, "{ids:?}");
    }

    #[test]
    fn every_failure_is_a_problem() {
        let document = routes::all(Duration::MAX).into_openapi();
        for (path, operation) in operations(&document) {
            for (status, answer) in &operation.responses.responses {
                let RefOr::T(answer) = answer else { panic!("{path} {status}") };
                let is_problem = answer.content.keys().eq([PROBLEM_JSON]);
                // Health has a body of its own, and a part of a file that is not there none.
                let is_special = path.ends_with("/health") || status == "416";
                assert_eq!(is_problem, status.as_str() >= "400" && !is_special, "{path} {status}");
            }
        }
    }

    #[test]
    fn every_schema_that_is_named_is_there() {
        let json = routes::all(Duration::MAX).into_openapi().to_json().unwrap();
        let document: serde_json::Value = serde_json::from_str(&json).unwrap();
        for name in json.split("#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(document["components"]["schemas"][name].is_object(), "{name}");
        }
    }
}
