//! What a request for a WebSocket says, and whether it may have one. Pure: decided from path and headers.

use std::net::IpAddr;

use hubbub_common::config::{Origins, Shared};
use hubbub_common::protocol::{SUBPROTOCOL, WEBSOCKET_PATH};
use hubbub_common::token;
use hyper::header::{AUTHORIZATION, CONNECTION, COOKIE, HOST, HeaderName, ORIGIN, UPGRADE};
use hyper::{HeaderMap, Method, Uri};

use super::answer::Refusal;

const VERSION: HeaderName = HeaderName::from_static("sec-websocket-version");
const KEY: HeaderName = HeaderName::from_static("sec-websocket-key");
const PROTOCOL: HeaderName = HeaderName::from_static("sec-websocket-protocol");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Base64 of 16 bytes.
const KEY_CHARACTERS: usize = 24;

/// A request that may have a WebSocket, if its token is good.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Checked {
    /// The proof of who asks.
    pub(super) token: String,
    /// Whether the client offered the subprotocol, so that the answer has to name it.
    pub(super) names_subprotocol: bool,
}

/// Checks everything but the token.
pub(super) fn check(
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    origins: &Origins,
) -> Result<Checked, Refusal> {
    if uri.path() != WEBSOCKET_PATH {
        return Err(Refusal::not_found());
    }
    let is_upgrade = method == Method::GET
        && names(headers, CONNECTION, "upgrade")
        && names(headers, UPGRADE, "websocket")
        && text(headers, &VERSION) == Some("13");
    if !is_upgrade {
        return Err(Refusal::upgrade_required());
    }
    if text(headers, &KEY).is_none_or(|key| key.len() != KEY_CHARACTERS) {
        return Err(Refusal::bad_request("Sec-WebSocket-Key: expected 16 bytes in base64"));
    }
    if let Some(origin) = headers.get(ORIGIN) {
        let origin = origin.to_str().unwrap_or_default();
        if !origins.allow(origin, text(headers, &HOST)) {
            return Err(Refusal::forbidden_origin());
        }
    }
    let names_subprotocol = headers.contains_key(PROTOCOL);
    if names_subprotocol && !offers(headers).any(|offer| offer == SUBPROTOCOL) {
        return Err(Refusal::bad_request("Sec-WebSocket-Protocol: expected hubbub.v1.json among the offers"));
    }
    let token = first_token(uri, headers).ok_or_else(|| Refusal::unauthorized("no token"))?;
    Ok(Checked { token, names_subprotocol })
}

/// The address of the client, also behind proxies.
pub(super) fn client_address(peer: IpAddr, headers: &HeaderMap, settings: &Shared) -> IpAddr {
    settings.client_address(peer, texts(headers, FORWARDED_FOR))
}

/// The first token in the protocol's order: header, cookie, query.
fn first_token(uri: &Uri, headers: &HeaderMap) -> Option<String> {
    let bearer = text(headers, &AUTHORIZATION).and_then(token::bearer).map(str::to_owned);
    let cookie = || token::session_cookie(texts(headers, COOKIE)).map(str::to_owned);
    let ticket = || {
        let mut pairs = uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(name, _)| *name == "ticket").map(|(_, value)| percent_decode(value))
    };
    bearer.or_else(cookie).or_else(ticket).filter(|token| !token.is_empty())
}

/// Tokens are ASCII; whatever else decodes to is refused later as a token that is not good.
fn percent_decode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        match after.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(char::from(byte));
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                out.push('%');
                rest = after;
            }
        }
    }
    out + rest
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn texts(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok())
}

fn names(headers: &HeaderMap, name: HeaderName, word: &str) -> bool {
    texts(headers, name)
        .flat_map(|value| value.split(','))
        .any(|element| element.trim().eq_ignore_ascii_case(word))
}

fn offers(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    texts(headers, PROTOCOL).flat_map(|value| value.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    const GOOD: [(&str, &str); 5] = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("authorization", "Bearer abc"),
    ];

    /// The good request with some headers replaced; an empty value removes one.
    fn ask(uri: &str, changes: &[(&str, &str)]) -> Result<Checked, u16> {
        let mut request = Request::get(uri);
        for (name, value) in GOOD.iter().filter(|(name, _)| changes.iter().all(|(other, _)| name != other)) {
            request = request.header(*name, *value);
        }
        for (name, value) in changes.iter().filter(|(_, value)| !value.is_empty()) {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        check(&parts.method, &parts.uri, &parts.headers, &Origins::SameHost).map_err(|refusal| refusal.status)
    }

    #[test]
    fn each_mistake_has_its_status() {
        assert!(ask("/ws", &[]).is_ok());
        let check = |uri: &str, changes: &[(&str, &str)], status: u16| {
            assert_eq!(ask(uri, changes).unwrap_err(), status, "{uri} {changes:?}");
        };
        check("/", &[], 404);
        check("/ws/", &[], 404);
        check("/ws", &[("connection", "keep-alive")], 426);
        check("/ws", &[("upgrade", "h2c")], 426);
        check("/ws", &[("sec-websocket-version", "8")], 426);
        check("/ws", &[("sec-websocket-key", "short")], 400);
        check("/ws", &[("sec-websocket-protocol", "chat, mqtt")], 400);
        check("/ws", &[("origin", "https://evil.example"), ("host", "chat.example")], 403);
        check("/ws", &[("authorization", "")], 401);
        check("/ws", &[("authorization", "Basic abc")], 401);
        check("/ws?ticket=", &[("authorization", "")], 401);
    }

    #[test]
    fn the_subprotocol_is_named_only_when_offered() {
        assert!(!ask("/ws", &[]).unwrap().names_subprotocol);
        assert!(ask("/ws", &[("sec-websocket-protocol", "x, hubbub.v1.json")]).unwrap().names_subprotocol);
        assert!(ask("/ws", &[("origin", "https://a.org"), ("host", "a.org")]).is_ok());
    }

    #[test]
    fn the_first_token_wins() {
        let token = |uri: &str, changes: &[(&str, &str)]| ask(uri, changes).unwrap().token;
        let cookie = ("cookie", "a=b; hubbub_session=from-cookie");
        assert_eq!(token("/ws?ticket=q", &[("authorization", "bearer abc"), cookie]), "abc");
        assert_eq!(token("/ws?ticket=q", &[("authorization", ""), cookie]), "from-cookie");
        assert_eq!(token("/ws?x=1&ticket=a%2Eb%", &[("authorization", "")]), "a.b%");
    }
}
