//! What clients may claim, ask for and do.

use hubbub_benches::rest::Rest;
use hubbub_benches::stack::{Builder, Stack, wait};
use serde_json::json;
use ureq::http::Method;

use super::{DEADLINE, address_of, connect_from, head, upgrade, whole};
use crate::client::{Person, mint};
use crate::rest::{get, text};

const ME: [u8; 4] = [127, 0, 0, 1];
const OTHER: [u8; 4] = [127, 0, 0, 2];
/// More than any limit here.
const MANY: usize = 1_000;

fn gateway(builder: impl FnOnce(Builder) -> Builder) -> Stack {
    builder(Stack::builder().without_redis().gateways(1)).start().unwrap()
}

#[test]
fn nobody_chooses_the_address_that_counts_as_theirs() {
    let stack = Stack::builder()
        .controls(1)
        .gateways(1)
        .env("HUBBUB_CONNECTIONS_PER_ADDRESS_MAX", "1")
        .start()
        .unwrap();
    let forged =
        [("x-forwarded-for", "192.0.2.7"), ("forwarded", "for=192.0.2.7"), ("x-forwarded-proto", "https")];
    let rest = Rest::new(stack.public_url());
    let account = json!({"username": "ada", "password": Person::PASSWORD});
    let made = rest.call_with(Method::POST, "/auth/register", Some(&account), &forged).unwrap();
    // Nothing here is TLS, so nothing is said that holds for TLS only.
    assert_eq!((made.status, made.headers.get("strict-transport-security")), (201, None));
    let ada = rest.with_token(text(&made.json["token"]));
    assert_eq!(get(&ada, "/auth/sessions", 200)["items"][0]["address"], "127.0.0.1");

    // Gateways hear by the PROXY header who it is, and count by that.
    let public = address_of(stack.public_url());
    let token = mint(&stack, 7, &json!("*"));
    let ask = |from, more: &str| {
        let mut stream = connect_from(from, public);
        let answer = head(&mut stream, upgrade("/ws", &token, more).as_bytes());
        (stream, answer)
    };
    let (_mine, answer) = ask(ME, "");
    assert!(answer.starts_with("http/1.1 101 "), "{answer}");
    let (_, answer) = ask(ME, "X-Forwarded-For: 192.0.2.7\r\nX-Real-IP: 192.0.2.7\r\n");
    assert!(answer.starts_with("http/1.1 429 "), "{answer}");
    let (_theirs, answer) = ask(OTHER, "X-Forwarded-For: 127.0.0.1\r\n");
    assert!(answer.starts_with("http/1.1 101 "), "{answer}");

    // A PROXY header of their own is taken for what it is, by HAProxy and by a gateway that they can reach.
    let v1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n".as_slice();
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc6\x33\x64\x01\x12\x67\x01\xbb".as_slice();
    for to in [public, address_of(stack.gateway(0).url())] {
        for header in [v1, v2] {
            let request = [header, upgrade("/ws", &token, "").as_bytes()].concat();
            let answer = whole(connect_from([127, 0, 0, 3], to), &request);
            assert!(answer.starts_with("http/1.1 400 "), "{to} {answer}");
        }
    }
}

#[test]
fn gateways_answer_whoever_wants_a_websocket() {
    let stack = Stack::builder().controls(1).gateways(1).start().unwrap();
    let public = address_of(stack.public_url());
    let token = mint(&stack, 7, &json!("*"));
    let ask = |request: &str| head(&mut connect_from(ME, public), request.as_bytes());
    assert!(ask(&upgrade("/ws", &token, "")).starts_with("http/1.1 101 "));
    let elsewhere = ask(&upgrade("/api/v1/rooms", &token, ""));
    assert!(elsewhere.starts_with("http/1.1 404 "), "{elsewhere}");
    let plain = ask("GET /ws HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(plain.starts_with("http/1.1 426 ") && plain.contains("sec-websocket-version: 13"), "{plain}");
    let page = ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(page.starts_with("http/1.1 200 ") && page.contains("content-security-policy"), "{page}");
}

#[test]
fn an_address_has_so_much_open_and_no_more() {
    let stack = gateway(|builder| builder.env_of_part("haproxy", "HUBBUB_CONNECTIONS_PER_ADDRESS", "2"));
    let public = address_of(stack.public_url());
    let token = mint(&stack, 7, &json!("*"));
    let open = |from| {
        let mut stream = connect_from(from, public);
        let answer = head(&mut stream, upgrade("/ws", &token, "").as_bytes());
        (stream, answer)
    };
    let mut mine = [open(ME), open(ME)].map(|(stream, answer)| {
        assert!(answer.starts_with("http/1.1 101 "), "{answer}");
        Some(stream)
    });
    let refused = whole(connect_from(ME, public), upgrade("/ws", &token, "").as_bytes());
    assert!(refused.starts_with("http/1.1 429 ") && refused.contains("\r\nretry-after: 10\r\n"), "{refused}");
    assert!(refused.contains("application/problem+json") && refused.contains("rate_limited"), "{refused}");
    let (_theirs, answer) = open(OTHER);
    assert!(answer.starts_with("http/1.1 101 "), "{answer}");
    mine[0] = None;
    let again =
        wait::until(DEADLINE, || Some(open(ME)).filter(|(_, answer)| answer.starts_with("http/1.1 101 ")));
    assert!(again.is_some());
}

#[test]
fn an_address_asks_so_often_and_no_more() {
    let stack = gateway(|builder| builder.env_of_part("haproxy", "HUBBUB_REQUESTS_PER_10S", "5"));
    let public = address_of(stack.public_url());
    let ask = |from| head(&mut connect_from(from, public), b"GET /ws HTTP/1.1\r\nHost: a\r\n\r\n");
    for _ in 0..5 {
        assert!(ask(ME).starts_with("http/1.1 426 "));
    }
    let limited = (0..MANY).map(|_| ask(ME)).find(|answer| answer.starts_with("http/1.1 429 "));
    assert!(limited.expect("a limit").contains("retry-after"));
    assert!(ask(OTHER).starts_with("http/1.1 426 "));
}

#[test]
fn an_address_that_connects_without_end_is_cut_off() {
    let stack = gateway(|builder| builder.env_of_part("haproxy", "HUBBUB_CONNECTS_PER_10S", "5"));
    let public = address_of(stack.public_url());
    let ask = |from| head(&mut connect_from(from, public), b"GET /ws HTTP/1.1\r\nHost: a\r\n\r\n");
    for _ in 0..5 {
        assert!(ask(ME).starts_with("http/1.1 426 "));
    }
    assert!((0..MANY).any(|_| ask(ME).is_empty()), "no connection was cut off");
    assert!(ask(OTHER).starts_with("http/1.1 426 "));
}
