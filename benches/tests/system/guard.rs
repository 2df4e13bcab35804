//! What stands between the network and a handler: origins, headers, limits, proxies, keys.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use hubbub_benches::rest::{Answer, Rest};
use hubbub_benches::stack::Stack;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};
use tokio::task::block_in_place;
use ureq::http::Method;

use crate::client::{Client, Jar, Person, Proof, mint};
use crate::rest::{get, post, text};

const PAGE: &str = "https://chat.example.org";

fn control(env: &[(&str, &str)]) -> Stack {
    let builder = Stack::builder().gateways(0).controls(1).without_haproxy();
    env.iter().fold(builder, |builder, (name, value)| builder.env(*name, *value)).start().unwrap()
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers.get(name).map(|value| value.to_str().unwrap())
}

/// Sends bytes as they are, and gives what comes back until the server closes.
fn raw(url: &str, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(url.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    // A server that refuses may close before it has read everything.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn pages_of_listed_origins_may_use_the_api() {
    let stack = control(&[("HUBBUB_ALLOWED_ORIGINS", PAGE)]);
    let rest = Rest::new(stack.control(0).url());
    let ask = |method: Method, origin: &str, more: &[(&str, &str)]| {
        let headers: Vec<_> = [("origin", origin)].into_iter().chain(more.iter().copied()).collect();
        rest.call_with(method, "/auth/me", None, &headers).unwrap()
    };
    let wants = [
        ("access-control-request-method", "PATCH"),
        ("access-control-request-headers", "authorization,content-type"),
    ];
    let preflight = ask(Method::OPTIONS, PAGE, &wants);
    assert_eq!(preflight.status, 200);
    assert_eq!(header(&preflight, "access-control-allow-origin"), Some(PAGE));
    assert_eq!(header(&preflight, "access-control-allow-credentials"), Some("true"));
    assert!(header(&preflight, "access-control-allow-methods").unwrap().contains("PATCH"));
    assert!(header(&preflight, "access-control-allow-headers").unwrap().contains("authorization"));
    let answer = ask(Method::GET, PAGE, &[]);
    assert_eq!(header(&answer, "access-control-allow-origin"), Some(PAGE));
    assert!(header(&answer, "access-control-expose-headers").unwrap().contains("retry-after"));
    for other in
        ["https://evil.example", "null", "https://chat.example.org.evil.example", "http://chat.example.org"]
    {
        for answer in [ask(Method::OPTIONS, other, &wants), ask(Method::GET, other, &[])] {
            assert_eq!(header(&answer, "access-control-allow-origin"), None, "{other}");
        }
    }
    // A cookie changes something from the listed page only, not even from one that our own host served.
    let ada = Person::register(stack.control(0).url(), "ada");
    let cookie = format!("hubbub_session={}", ada.rest.token().unwrap());
    let patch = |origin: &str| {
        let headers = [("cookie", cookie.as_str()), ("origin", origin)];
        rest.call_with(Method::PATCH, "/users/me", Some(&json!({})), &headers).unwrap().status
    };
    assert_eq!((patch(PAGE), patch(stack.control(0).url())), (200, 403));
}

#[test]
fn every_answer_tells_browsers_to_be_strict() {
    let stack = control(&[("HUBBUB_ENV", "production")]);
    let rest = Rest::new(stack.control(0).url());
    let by = |headers: &[(&str, &str)]| rest.call_with(Method::GET, "/auth/me", None, headers).unwrap();
    let answer = by(&[]);
    let policy = header(&answer, "content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    let expected = [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cache-control", "no-store"),
    ];
    for (name, value) in expected {
        assert_eq!(header(&answer, name), Some(value), "{name}");
    }
    assert_eq!(header(&answer, "strict-transport-security"), None);
    let behind_tls = by(&[("x-forwarded-proto", "https")]);
    assert!(header(&behind_tls, "strict-transport-security").unwrap().starts_with("max-age=31536000"));

    // The id of a request: in the answer's head and in its problem; ours, unless a proxy gave a sensible one.
    assert_eq!(header(&answer, "x-request-id"), answer.json["request_id"].as_str());
    let named = by(&[("x-request-id", "abc-1")]);
    assert_eq!((header(&named, "x-request-id"), &named.json["request_id"]), (Some("abc-1"), &json!("abc-1")));
    for odd in ["a b", &"x".repeat(65)] {
        assert_eq!(header(&by(&[("x-request-id", odd)]), "x-request-id").unwrap().len(), 16, "{odd}");
    }
    // The cookie of a system that is not being developed is for TLS only.
    let account = json!({"username": "ada", "password": Person::PASSWORD});
    let made = rest.call(Method::POST, "/auth/register", Some(&account)).unwrap();
    assert!(header(&made, "set-cookie").unwrap().ends_with("; HttpOnly; SameSite=Lax; Secure"));
}

#[test]
fn clients_do_not_name_their_own_requests() {
    let stack = Stack::builder().gateways(0).controls(1).start().unwrap();
    let rest = Rest::new(stack.public_url());
    let named = || rest.call_with(Method::GET, "/auth/me", None, &[("x-request-id", "mine")]).unwrap();
    let ids = [named(), named()].map(|answer| header(&answer, "x-request-id").unwrap().to_owned());
    assert!(ids[0] != ids[1] && ids.iter().all(|id| id.len() == 36), "{ids:?}");
}

#[test]
fn who_is_no_proxy_of_ours_is_not_believed() {
    let stack = control(&[("HUBBUB_TRUSTED_PROXIES", "10.0.0.0/8")]);
    let rest = Rest::new(stack.control(0).url());
    let forged =
        [("x-forwarded-for", "192.0.2.7"), ("x-forwarded-proto", "https"), ("x-request-id", "abc-1")];
    let account = json!({"username": "ada", "password": Person::PASSWORD});
    let made = rest.call_with(Method::POST, "/auth/register", Some(&account), &forged).unwrap();
    assert_eq!((made.status, header(&made, "strict-transport-security")), (201, None));
    assert_ne!(header(&made, "x-request-id"), Some("abc-1"));
    let ada = rest.with_token(text(&made.json["token"]));
    assert_eq!(get(&ada, "/auth/sessions", 200)["items"][0]["address"], "127.0.0.1");
}

#[test]
fn limits_say_when_to_come_again() {
    let stack = control(&[("HUBBUB_AUTH_PER_MINUTE", "3"), ("HUBBUB_WRITES_PER_MINUTE", "2")]);
    let rest = Rest::new(stack.control(0).url());
    let limited = |answer: &Answer, name: &str, quota: u32| {
        assert_eq!((answer.status, &answer.json["code"]), (429, &json!("rate_limited")));
        let retry = header(answer, "retry-after").unwrap();
        assert!((1..=60).contains(&retry.parse().unwrap()), "{retry}");
        let policy = format!("\"{name}\";q={quota};w=60");
        assert_eq!(header(answer, "ratelimit-policy"), Some(policy.as_str()));
        assert_eq!(header(answer, "ratelimit"), Some(format!("\"{name}\";r=0;t={retry}").as_str()));
    };
    let register = |name: &str, address: &str| {
        let account = json!({"username": name, "password": Person::PASSWORD});
        let from = [("x-forwarded-for", address)];
        rest.call_with(Method::POST, "/auth/register", Some(&account), &from).unwrap()
    };
    let made = ["ada", "bob", "eve"].map(|name| register(name, "192.0.2.7"));
    assert!(made.iter().all(|answer| answer.status == 201));
    limited(&register("max", "192.0.2.7"), "auth-address", 3);
    assert_eq!(register("max", "192.0.2.8").status, 201);
    // Writes count for each user; reading is free.
    let ada = rest.with_token(text(&made[0].json["token"]));
    for (remaining, resets) in [("1", 30), ("0", 30)] {
        let answer = ada.call(Method::POST, "/auth/ticket", Some(&json!({}))).unwrap();
        assert_eq!(
            (answer.status, header(&answer, "ratelimit-policy")),
            (200, Some("\"write-user\";q=2;w=60"))
        );
        // What is left, and when all of it is there again; once nothing is left, when one is.
        let left = header(&answer, "ratelimit").unwrap();
        let (start, seconds) = left.rsplit_once("t=").unwrap();
        assert_eq!(start, format!("\"write-user\";r={remaining};"), "{left}");
        assert!((1..=resets).contains(&seconds.parse().unwrap()), "{left}");
    }
    limited(&ada.call(Method::POST, "/auth/ticket", Some(&json!({}))).unwrap(), "write-user", 2);
    get(&ada, "/auth/me", 200);
    post(&rest.with_token(text(&made[1].json["token"])), "/auth/ticket", &json!({}), 200);
}

#[test]
fn a_request_has_bounds() {
    let stack = control(&[]);
    let url = stack.control(0).url();
    let head = |more: &str| format!("GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{more}\r\n");
    assert!(raw(url, head("").as_bytes()).starts_with("HTTP/1.1 200 "));
    let many = "x-many: 1\r\n".repeat(100);
    assert!(raw(url, head(&many).as_bytes()).starts_with("HTTP/1.1 431 "));
    let large = format!("x-large: {}\r\n", "x".repeat(70_000));
    assert!(raw(url, head(&large).as_bytes()).starts_with("HTTP/1.1 431 "));
    let ada = Person::register(url, "ada");
    let body = json!({"display_name": "x".repeat(100_000)});
    assert_eq!(ada.rest.call(Method::PATCH, "/users/me", Some(&body)).unwrap().status, 413);
}

#[test]
fn a_request_that_does_not_end_is_ended() {
    let stack = control(&[("HUBBUB_REQUEST_SECONDS", "1")]);
    let url = stack.control(0).url();
    let token = Person::register(url, "ada").rest.token().unwrap().to_owned();
    // The client says no more and waits: whatever comes then, the connection is over.
    assert_eq!(raw(url, b"POST /api/v1/auth/login HTTP/1.1\r\nHost: a\r\nX-Slow: "), "", "a head");
    let post = |more: &str| {
        let head = "PATCH /api/v1/users/me HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nConnection: close";
        raw(url, format!("{head}\r\nAuthorization: Bearer {token}\r\n{more}").as_bytes())
    };
    let slow = post("Content-Length: 100\r\n\r\n{\"display_name\": ");
    assert!(slow.starts_with("HTTP/1.1 408 ") && slow.contains("application/problem+json"), "{slow}");
    let endless =
        format!("Transfer-Encoding: chunked\r\n\r\n{}", "400\r\n".to_owned() + &" ".repeat(1_024) + "\r\n");
    let slow = post(&endless);
    assert!(slow.starts_with("HTTP/1.1 408 "), "{slow}");
    let endless = endless + &("400\r\n".to_owned() + &" ".repeat(1_024) + "\r\n").repeat(100);
    let large = post(&endless);
    assert!(large.starts_with("HTTP/1.1 413 "), "{large}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_says_for_whom_it_connects() {
    let stack = block_in_place(|| {
        let builder = Stack::builder().gateways(1).controls(1).without_haproxy();
        builder
            .env("HUBBUB_PROXY_PROTOCOL", "on")
            .env("HUBBUB_CONNECTIONS_PER_ADDRESS_MAX", "1")
            .start()
            .unwrap()
    });
    let (control, gateway) = (stack.control(0).url(), stack.gateway(0).url());
    let v1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n".to_vec();
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc6\x33\x64\x01\x12\x67\x01\xbb".to_vec();
    let account = |name: &str| json!({"username": name, "password": Person::PASSWORD}).to_string();
    block_in_place(|| {
        for (name, header) in [("ada", &v1), ("bob", &v2)] {
            let body = account(name);
            let request = format!(
                "POST /api/v1/auth/register HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\n\
                 X-Forwarded-For: 203.0.113.9\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            let answer = raw(control, &[header.as_slice(), request.as_bytes()].concat());
            assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
        }
        // Without a header nothing is answered.
        assert_eq!(raw(control, b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"), "");
    });
    // The address is the client's that the proxy named, not what that client says of itself.
    let runtime_url = stack.database_url().unwrap();
    let (database, connection) = tokio_postgres::connect(runtime_url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let rows = database.query("SELECT address FROM audit_log WHERE action = 'register'", &[]).await.unwrap();
    let addresses: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(addresses, ["192.0.2.7", "192.0.2.7"]);

    // The gateway counts connections by that address too.
    let token = mint(&stack, 7, &json!("*"));
    block_in_place(|| {
        let request = |more: &str| {
            format!(
                "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                 Authorization: Bearer {token}\r\n{more}\r\n"
            )
        };
        let open = |header: &[u8]| {
            let mut stream = TcpStream::connect(gateway.trim_start_matches("http://")).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            stream.write_all(header).unwrap();
            stream.write_all(request("").as_bytes()).unwrap();
            let mut status = [0; 12];
            stream.read_exact(&mut status).unwrap();
            (stream, String::from_utf8(status.to_vec()).unwrap())
        };
        let (_first, status) = open(&v1);
        assert_eq!(status, "HTTP/1.1 101");
        assert_eq!(open(&v2).1, "HTTP/1.1 429");
        let (_other, status) = open(b"PROXY TCP4 192.0.2.8 198.51.100.1 4711 443\r\n");
        assert_eq!(status, "HTTP/1.1 101");
        assert_eq!(open(b"").1, "HTTP/1.1 400");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_change_without_sending_anybody_away() {
    let (old, new) = ("the secret that is on its way out 1", "the secret that is there to stay 22");
    let stack = block_in_place(|| {
        let builder = Stack::builder().gateways(1).controls(1).without_haproxy();
        let builder = builder.env("HUBBUB_JWT_SECRET", new).env("HUBBUB_JWT_KEY_ID", "2");
        builder.env("HUBBUB_JWT_SECRETS_OLD", format!("1:{old}")).start().unwrap()
    });
    let exp = u64::from(u32::MAX);
    let sign = |secret: &str, kid: Option<&str>| {
        let header = Header { kid: kid.map(str::to_owned), ..Header::default() };
        let claims: Value = json!({"sub": "7", "rooms": "*", "exp": exp});
        encode(&header, &claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
    };
    let status = async |token: &str| {
        let url = stack.gateway(0).url();
        match Client::try_connect(url, Proof::Bearer(token), &mut Jar::default()).await {
            Ok(client) => {
                client.close().await;
                101
            }
            Err(refused) => refused.status,
        }
    };
    for (token, good) in [
        (sign(old, Some("1")), true),
        (sign(new, Some("2")), true),
        (sign(new, None), true),
        (sign(old, None), false),
        (sign(old, Some("2")), false),
        (sign(new, Some("1")), false),
    ] {
        assert_eq!(status(&token).await == 101, good);
        let rest = Rest::new(stack.control(0).url()).with_token(&token);
        // Whoever is believed hears that this token is for rooms only.
        block_in_place(|| get(&rest, "/auth/me", if good { 403 } else { 401 }));
    }
    // What control signs names the key, and the gateway takes it.
    let ada = block_in_place(|| Person::register(stack.control(0).url(), "ada"));
    let ticket = block_in_place(|| ada.rest.post("/auth/ticket", &json!({})).unwrap());
    assert_eq!(jsonwebtoken::decode_header(text(&ticket["ticket"])).unwrap().kid.as_deref(), Some("2"));
    assert_eq!(status(text(&ticket["ticket"])).await, 101);
}
