//! A client of the control plane's REST API. It knows paths and JSON as the protocol page has them and no type of
//! ours, so that it can't share a mistake with the server.

use std::fmt::Display;
use std::time::Duration;

use serde_json::Value;
use ureq::http::request::Builder;
use ureq::http::{HeaderMap, Method, Request, Response};
use ureq::{Agent, Body};

/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// HTTP headers.
    pub headers: HeaderMap,
    /// The body, `Null` where there is none.
    pub json: Value,
}

impl Answer {
    /// The body of an answer with a status of 200 to 299.
    pub fn ok(self) -> Result<Value, String> {
        if (200..300).contains(&self.status) {
            Ok(self.json)
        } else {
            Err(format!("HTTP {}: {}", self.status, self.json))
        }
    }
}

/// A client, with the token of its login session once it has one.
#[derive(Debug, Clone)]
pub struct Rest {
    agent: Agent,
    base: String,
    prefix: &'static str,
    token: Option<String>,
}

impl Rest {
    /// Of the server at a URL without a path.
    pub fn new(public_url: &str) -> Self {
        let config =
            Agent::config_builder().http_status_as_error(false).timeout_global(Some(ANSWER_MAX)).build();
        Self { agent: config.into(), base: public_url.to_owned(), prefix: "/api/v1", token: None }
    }

    /// The same server, as somebody who is logged in.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    /// The same with paths that begin at the root instead of under `/api/v1`.
    #[must_use]
    pub fn at_root(&self) -> Self {
        Self { prefix: "", ..self.clone() }
    }

    /// The token of the login session.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Any request to a path under `/api/v1`. The error says why there was no answer at all.
    pub fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer, String> {
        self.call_with(method, path, body, &[])
    }

    /// The same, with more headers.
    pub fn call_with(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> Result<Answer, String> {
        let what = format!("{method} {path}");
        let mut request = self.request(method, path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = match body {
            Some(body) => {
                let request = request.header("Content-Type", "application/json").body(body.to_string());
                request.map(|request| self.agent.run(request))
            }
            None => request.body(()).map(|request| self.agent.run(request)),
        };
        read(&what, answer)
    }

    /// A request with any bytes for a body.
    pub fn call_raw(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: &[u8],
    ) -> Result<Answer, String> {
        let what = format!("{method} {path}");
        let request = self.request(method, path).header("Content-Type", content_type).body(body);
        read(&what, request.map(|request| self.agent.run(request)))
    }

    fn request(&self, method: Method, path: &str) -> Builder {
        let request = Request::builder().method(method).uri(format!("{}{}{path}", self.base, self.prefix));
        match &self.token {
            Some(token) => request.header("Authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    /// A request of any other kind that succeeds.
    pub fn ask(&self, method: &Method, path: &str, body: Option<&Value>) -> Result<Value, String> {
        let answer = self.call(method.clone(), path, body)?;
        answer.ok().map_err(|error| format!("{method} {path}: {error}"))
    }

    /// A successful GET.
    pub fn get(&self, path: &str) -> Result<Value, String> {
        let answer = self.call(Method::GET, path, None)?;
        answer.ok().map_err(|error| format!("GET {path}: {error}"))
    }

    /// A successful POST.
    pub fn post(&self, path: &str, body: &Value) -> Result<Value, String> {
        let answer = self.call(Method::POST, path, Some(body))?;
        answer.ok().map_err(|error| format!("POST {path}: {error}"))
    }
}

fn read<E: Display>(
    what: &str,
    answer: Result<Result<Response<Body>, ureq::Error>, E>,
) -> Result<Answer, String> {
    let answer = answer.map_err(|error| format!("{what}: {error}"))?;
    let mut answer = answer.map_err(|error| format!("{what}: {error}"))?;
    let text = answer.body_mut().read_to_string().map_err(|error| format!("{what}: {error}"))?;
    Ok(Answer {
        status: answer.status().as_u16(),
        headers: answer.headers().clone(),
        json: serde_json::from_str(&text).unwrap_or(Value::Null),
    })
}
