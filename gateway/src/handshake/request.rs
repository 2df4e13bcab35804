//! What a request for a WebSocket says, and whether it may have one. Pure: decided from path and headers.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hubbub_common::config::{Origins, Shared};
use hubbub_common::protocol::{SUBPROTOCOL, WEBSOCKET_PATH};
use hubbub_common::token;

use super::answer::Refusal;
use super::http::Request;

const KEY_BYTES: usize = 16;

/// A request that may have a WebSocket, if its token is good.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Checked<'a> {
    /// The proof of who asks.
    pub(super) token: String,
    /// What the answer has to be made from.
    pub(super) key: &'a str,
    /// Whether the client offered the subprotocol, so that the answer has to name it.
    pub(super) names_subprotocol: bool,
}

/// Checks everything but the token.
pub(super) fn check<'a>(request: &Request<'a>, origins: &Origins) -> Result<Checked<'a>, Refusal> {
    if request.path != WEBSOCKET_PATH {
        return Err(Refusal::not_found());
    }
    let is_upgrade = request.method == "GET"
        && request.minor_version == 1
        && request.names("connection", "upgrade")
        && request.names("upgrade", "websocket")
        && request.text("sec-websocket-version") == Some("13");
    if !is_upgrade {
        return Err(Refusal::upgrade_required());
    }
    let key = request.text("sec-websocket-key").unwrap_or_default();
    let mut decoded = [0; KEY_BYTES + 2];
    if STANDARD.decode_slice(key, &mut decoded) != Ok(KEY_BYTES) {
        return Err(Refusal::bad_request("Sec-WebSocket-Key: expected 16 bytes in base64"));
    }
    if request.has("origin") {
        let origin = request.text("origin").unwrap_or_default();
        if !origins.allow(origin, request.text("host")) {
            return Err(Refusal::forbidden_origin());
        }
    }
    let names_subprotocol = request.has("sec-websocket-protocol");
    if names_subprotocol && !request.names("sec-websocket-protocol", SUBPROTOCOL) {
        return Err(Refusal::bad_request("Sec-WebSocket-Protocol: expected hubbub.v1.json among the offers"));
    }
    let token = first_token(request).ok_or_else(|| Refusal::unauthorized("no token"))?;
    Ok(Checked { token, key, names_subprotocol })
}

/// The address of the client, also behind proxies.
pub(super) fn client_address(peer: IpAddr, request: &Request<'_>, settings: &Shared) -> IpAddr {
    settings.client_address(peer, request.texts("x-forwarded-for"))
}

/// The first token in the protocol's order: header, cookie, query.
fn first_token(request: &Request<'_>) -> Option<String> {
    let bearer = request.text("authorization").and_then(token::bearer).map(str::to_owned);
    let cookie = || token::session_cookie(request.texts("cookie")).map(str::to_owned);
    let ticket = || {
        let mut pairs = request.query.split('&').filter_map(|pair| pair.split_once('='));
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

#[cfg(test)]
mod tests {
    use super::super::http;
    use super::*;

    const GOOD: [(&str, &str); 6] = [
        ("host", "chat.example"),
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("authorization", "Bearer abc"),
    ];

    /// The good request with some headers replaced; an empty value removes one.
    fn ask(uri: &str, changes: &[(&str, &str)]) -> Result<(String, bool), u16> {
        let kept = GOOD.iter().filter(|(name, _)| changes.iter().all(|(other, _)| name != other));
        let given = changes.iter().filter(|(_, value)| !value.is_empty());
        let headers: Vec<_> = kept.chain(given).map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let (uri, version) = uri.split_once(' ').unwrap_or((uri, "HTTP/1.1"));
        let head = format!("GET {uri} {version}\r\n{}\r\n", headers.concat());
        let checked = http::parse(head.as_bytes(), |request, _| {
            check(request, &Origins::SameHost).map(|checked| (checked.token, checked.names_subprotocol))
        });
        checked.unwrap().unwrap().map_err(|refusal| refusal.status)
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
        check("/ws HTTP/1.0", &[], 426);
        check("/ws", &[("sec-websocket-version", "8")], 426);
        check("/ws", &[("sec-websocket-key", "short")], 400);
        check("/ws", &[("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZSE!")], 400);
        check("/ws", &[("sec-websocket-protocol", "chat, mqtt")], 400);
        check("/ws", &[("origin", "https://evil.example"), ("host", "chat.example")], 403);
        check("/ws", &[("authorization", "")], 401);
        check("/ws", &[("authorization", "Basic abc")], 401);
        check("/ws?ticket=", &[("authorization", "")], 401);
    }

    #[test]
    fn the_subprotocol_is_named_only_when_offered() {
        assert!(!ask("/ws", &[]).unwrap().1);
        assert!(ask("/ws", &[("sec-websocket-protocol", "x, hubbub.v1.json")]).unwrap().1);
        assert!(ask("/ws", &[("origin", "https://a.org"), ("host", "a.org")]).is_ok());
    }

    #[test]
    fn the_first_token_wins() {
        let token = |uri: &str, changes: &[(&str, &str)]| ask(uri, changes).unwrap().0;
        let cookie = ("cookie", "a=b; hubbub_session=from-cookie");
        assert_eq!(token("/ws?ticket=q", &[("authorization", "bearer abc"), cookie]), "abc");
        assert_eq!(token("/ws?ticket=q", &[("authorization", ""), cookie]), "from-cookie");
        assert_eq!(token("/ws?x=1&ticket=a%2Eb%", &[("authorization", "")]), "a.b%");
    }
}
