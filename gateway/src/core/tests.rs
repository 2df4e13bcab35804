//! A whole gateway on the memory bus, spoken to over real sockets by another WebSocket implementation.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use hubbub_common::clock::now_ms;
use hubbub_common::settings::{Settings, gateway};
use hubbub_common::token::{Claims, RoomsClaim, Signer, Star, Verifier};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket, client};

use super::{CoreSeed, start};
use crate::admission::Admission;
use crate::bus::{BusConfig, Links, start as start_bus};
use crate::config::Config;
use crate::status::Status;

mod limits;
mod rude;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const DEADLINE: Duration = Duration::from_secs(10);

/// Starts one core with these settings; the test's process ends it.
fn gateway_with(settings: &[(&str, &str)]) -> SocketAddr {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let listen = address.to_string();
    let fixed = [("HUBBUB_BUS", "memory"), ("HUBBUB_JWT_SECRET", SECRET), ("HUBBUB_LISTEN", listen.as_str())];
    let find = |asked: &str| {
        let found = settings.iter().chain(&fixed).find(|(name, _)| *name == asked);
        found.map(|(_, value)| Ok((*value).to_owned()))
    };
    let config = Settings::from_sources(&gateway(), |_| None, find).unwrap();
    let config = Arc::new(Config::check(&config).unwrap());
    let status = Arc::new(Status::new("g1", "io_uring", false, 1));
    let mut links = Links::new(1).unwrap();
    let bus = BusConfig { server_id: "g1".to_owned(), ..BusConfig::of(&config) };
    start_bus(bus, links.bus.clone(), links.cores.clone(), Arc::clone(&status)).unwrap();
    let verifier = Arc::new(Verifier::new(&SECRET.into()).unwrap());
    let (per_user, per_address) = (config.connections_per_user_max, config.connections_per_address_max);
    let admission = Admission::new(per_user, per_address, links.cores.clone());
    let (cpu, inbox) = (config.cpus[0], links.inboxes.remove(0));
    start(CoreSeed { id: 0, cpu, config, verifier, admission, bus: links.bus, inbox, status, listens: true })
        .unwrap();
    address
}

fn token(user: u64, rooms: RoomsClaim, seconds: u64) -> String {
    let sub = user.to_string().parse().unwrap();
    let exp = now_ms() / 1_000 + seconds;
    let claims = Claims { sub, exp, name: Some(format!("u{user}")), rooms: Some(rooms), sid: None };
    Signer::from(SECRET).sign(&claims).unwrap()
}

fn any(user: u64) -> String {
    token(user, RoomsClaim::Any(Star::Star), 60)
}

struct Client(WebSocket<TcpStream>);

impl Client {
    fn connect(address: SocketAddr, token: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut request = format!("ws://{address}/ws").into_client_request().unwrap();
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        let (socket, _) = client(request, stream).unwrap();
        let mut client = Self(socket);
        assert_eq!(client.next()["op"], "welcome");
        client
    }

    fn send(&mut self, request: &Value) {
        self.0.send(Message::text(request.to_string())).unwrap();
    }

    /// The next event.
    fn next(&mut self) -> Value {
        loop {
            if let Message::Text(text) = self.0.read().unwrap() {
                return serde_json::from_str(&text).unwrap();
            }
        }
    }

    /// The next event that answers something or tells a message.
    fn expect_any(&mut self) -> Value {
        loop {
            let event = self.next();
            if event["op"] != "presence" || event.get("online").is_some() {
                return event;
            }
        }
    }

    /// The next event that is no presence change.
    fn expect(&mut self, op: &str) -> Value {
        let event = self.expect_any();
        assert_eq!(event["op"], op, "{event}");
        event
    }

    fn join(&mut self, room: &str) -> Value {
        self.send(&json!({"op": "join", "ref": 1, "rooms": [{"room": room}]}));
        self.expect("joined")
    }

    /// The code with which the server closes, and the events before that.
    fn closed(&mut self) -> (u16, Vec<Value>) {
        let mut events = Vec::new();
        loop {
            match self.0.read() {
                Ok(Message::Text(text)) => events.push(serde_json::from_str(&text).unwrap()),
                Ok(Message::Close(frame)) => return (frame.unwrap().code.into(), events),
                Ok(_) => {}
                Err(error) => panic!("{error} after {events:?}"),
            }
        }
    }
}

/// Sends bytes and reads the whole answer.
fn raw(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // The server closes after a refusal, perhaps before it read everything.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).to_lowercase()
}

const UPGRADE: &str = "Host: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

#[test]
fn requests_without_a_websocket_get_a_status() {
    let address = gateway_with(&[]);
    let check = |request: &str, expected: &[&str]| {
        let answer = raw(address, request);
        for part in expected {
            assert!(answer.contains(part), "{request:?} gave {answer:?}, without {part:?}");
        }
    };
    let problem = "content-type: application/problem+json";
    check("GET / HTTP/1.1\r\nHost: h\r\n\r\n", &["http/1.1 404", problem, "\"code\":\"not_found\""]);
    check("GET /ws HTTP/1.1\r\nHost: h\r\n\r\n", &["http/1.1 426", problem, "sec-websocket-version: 13"]);
    check(
        &format!("GET /ws HTTP/1.1\r\n{UPGRADE}\r\n"),
        &["http/1.1 401", problem, "\"code\":\"unauthorized\""],
    );
    check(&format!("GET /ws?ticket=a.b.c HTTP/1.1\r\n{UPGRADE}\r\n"), &["http/1.1 401", problem]);
    check(&format!("GET /ws?ticket=opaque HTTP/1.1\r\n{UPGRADE}\r\n"), &["http/1.1 401", problem]);
    let origin = format!("GET /ws HTTP/1.1\r\n{UPGRADE}Origin: https://evil.example\r\n\r\n");
    check(&origin, &["http/1.1 403", problem]);
    let protocol = format!("GET /ws HTTP/1.1\r\n{UPGRADE}Sec-WebSocket-Protocol: mqtt\r\n\r\n");
    check(&protocol, &["http/1.1 400", problem]);
    check(
        "GET /health HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
        &["http/1.1 200", "\"status\":\"healthy\""],
    );
    check("\0\r\n\r\n", &["http/1.1 400"]);
    check(&format!("GET /ws HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "x".repeat(20_000)), &["http/1.1 431"]);
}

#[test]
fn what_comes_right_behind_the_request_is_not_lost() {
    let address = gateway_with(&[]);
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let head = format!(
        "GET /ws?ticket={} HTTP/1.1\r\n{UPGRADE}Sec-WebSocket-Protocol: hubbub.v1.json\r\n\r\n",
        any(7)
    );
    // A masked ping request, its mask zero, in the same segment.
    let text = br#"{"op":"ping","ref":"early"}"#;
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(&[0x81, 0x80 | u8::try_from(text.len()).unwrap(), 0, 0, 0, 0]);
    bytes.extend_from_slice(text);
    stream.write_all(&bytes).unwrap();
    let mut answer = Vec::new();
    while !String::from_utf8_lossy(&answer).contains("early") {
        let mut part = [0; 4096];
        let count = stream.read(&mut part).unwrap();
        assert!(count > 0, "closed after {:?}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&part[..count]);
    }
    let answer = String::from_utf8_lossy(&answer);
    assert!(
        answer.starts_with("HTTP/1.1 101") && answer.contains("hubbub.v1.json") && answer.contains("welcome")
    );
}

/// Both ways of watching and writing sockets.
const DRIVERS: [&str; 2] = ["io_uring", "epoll"];

#[test]
fn more_than_one_read_takes_is_handled_whole_and_in_order() {
    for driver in DRIVERS {
        let address = gateway_with(&[("HUBBUB_DRIVER", driver), ("HUBBUB_SENDS_PER_SECOND", "0")]);
        let mut client = Client::connect(address, &any(1));
        // The join stands in front of everything, and more follows than one read takes.
        let mut requests = vec![json!({"op": "join", "ref": "j", "rooms": [{"room": "5"}]})];
        requests
            .extend((0..50).map(|n| json!({"op": "send", "ref": n, "room": "5", "body": "x".repeat(4_000)})));
        for request in &requests {
            client.0.write(Message::text(request.to_string())).unwrap();
        }
        client.0.flush().unwrap();
        assert_eq!(client.expect("joined")["ref"], "j");
        for n in 0..50 {
            client.expect("message");
            assert_eq!(client.expect("ack")["ref"], n, "{driver}");
        }
    }
}

#[test]
fn two_clients_talk() {
    for driver in DRIVERS {
        talk(gateway_with(&[("HUBBUB_DRIVER", driver)]));
    }
}

fn talk(address: SocketAddr) {
    let (mut ada, mut bob) = (Client::connect(address, &any(1)), Client::connect(address, &any(2)));
    assert_eq!(ada.join("5")["rooms"], json!([{"room": "5", "last": "0", "replayed": 0}]));
    bob.join("5");
    ada.send(&json!({"op": "send", "ref": "r", "room": "5", "body": "hé", "nonce": "n", "reply_to": "9"}));
    let message = ada.expect("message");
    let ack = ada.expect("ack");
    assert_eq!((&ack["ref"], &ack["id"], &ack["ts"]), (&json!("r"), &message["id"], &message["ts"]));
    let expected = json!({"op": "message", "room": "5", "id": ack["id"], "ts": ack["ts"], "from": "1", "name": "u1",
                          "kind": "text", "body": "hé", "nonce": "n", "reply_to": "9"});
    assert_eq!(message, expected);
    assert_eq!(bob.expect("message"), expected);
    // The repeat is acknowledged with the first one's id and not delivered.
    ada.send(&json!({"op": "send", "ref": 2, "room": "5", "body": "hé", "nonce": "n"}));
    assert_eq!(ada.expect("ack")["id"], ack["id"]);
    bob.send(&json!({"op": "typing", "room": "5"}));
    assert_eq!(ada.expect("typing"), json!({"op": "typing", "room": "5", "from": "2"}));
    bob.send(&json!({"op": "read", "room": "5", "id": ack["id"]}));
    assert_eq!(ada.expect("read"), json!({"op": "read", "room": "5", "from": "2", "msg": ack["id"]}));
    bob.send(&json!({"op": "presence", "ref": 3, "room": "5"}));
    let present = bob.expect("presence");
    assert_eq!((&present["online"], &present["count"]), (&json!(["1", "2"]), &json!(2)));
    bob.send(&json!({"op": "ping", "ref": 4}));
    assert_eq!(bob.expect("pong"), json!({"op": "pong", "ref": 4}));
    // After leaving nothing comes; joining with `since` gives what was missed, and requests stay in order.
    bob.send(&json!({"op": "leave", "ref": 5, "rooms": ["5"]}));
    assert_eq!(bob.expect("left"), json!({"op": "left", "ref": 5, "rooms": ["5"]}));
    ada.send(&json!({"op": "send", "ref": 6, "room": "5", "body": "missed"}));
    ada.expect("message");
    bob.send(&json!({"op": "join", "ref": 7, "rooms": [{"room": "5", "since": ack["id"]}]}));
    bob.send(&json!({"op": "send", "ref": 8, "room": "5", "body": "back"}));
    assert_eq!(bob.expect("joined")["rooms"][0]["replayed"], 1);
    assert_eq!(bob.expect("message")["body"], "missed");
    assert_eq!(bob.expect("message")["body"], "back");
    bob.expect("ack");
}

#[test]
fn each_refusal_has_its_code_and_keeps_the_connection() {
    let address = gateway_with(&[("HUBBUB_BODY_BYTES_MAX", "10"), ("HUBBUB_SENDS_PER_SECOND", "1")]);
    let mut client = Client::connect(address, &token(1, RoomsClaim::List(vec!["5".parse().unwrap()]), 60));
    client.send(&json!({"op": "join", "ref": 1, "rooms": [{"room": "5"}, {"room": "6"}]}));
    let joined = client.expect("joined");
    assert_eq!(joined["rooms"][1], json!({"room": "6", "error": "forbidden"}));
    let mut check = |request: Value, code: &str| {
        client.send(&request);
        let error = client.expect("error");
        assert_eq!((&error["code"], &error["ref"]), (&json!(code), &request["ref"]), "{request}");
        error
    };
    check(json!({"op": "send", "ref": 1, "room": "6", "body": "x"}), "not_joined");
    check(json!({"op": "send", "ref": 2, "room": "5", "body": "longer than ten"}), "too_large");
    check(json!({"op": "fly", "ref": 3}), "unknown_op");
    check(json!({"op": "send", "ref": 4, "room": "5"}), "bad_request");
    check(json!({"op": "edit", "ref": 5, "room": "5", "id": "1", "body": "x"}), "not_found");
    // Of the two that may come at once, the edit was one.
    client.send(&json!({"op": "send", "room": "5", "body": "x"}));
    client.expect("message");
    client.expect("ack");
    client.send(&json!({"op": "send", "ref": 6, "room": "5", "body": "x"}));
    let limited = client.expect("error");
    assert_eq!(limited["code"], "rate_limited");
    assert!(limited["retry_after_ms"].as_u64().unwrap() > 0);
    client.send(&json!({"op": "ping"}));
    client.expect("pong");
}

#[test]
fn each_offence_has_its_close_code() {
    let address = gateway_with(&[("HUBBUB_FRAME_BYTES_MAX", "5000")]);
    let check = |code: u16, offend: &dyn Fn(&mut Client)| {
        let mut client = Client::connect(address, &any(1));
        offend(&mut client);
        assert_eq!(client.closed().0, code);
        // And then the socket.
        assert!(matches!(client.0.read(), Err(Error::ConnectionClosed | Error::Protocol(_) | Error::Io(_))));
    };
    let bytes =
        |bytes: &'static [u8]| move |client: &mut Client| client.0.get_mut().write_all(bytes).unwrap();
    check(1002, &bytes(&[0x81, 0x02, b'h', b'i']));
    check(1003, &|client| client.0.send(Message::binary(vec![1])).unwrap());
    check(1007, &bytes(&[0x81, 0x81, 0, 0, 0, 0, 0xff]));
    check(1009, &|client| client.0.send(Message::text("x".repeat(5_001))).unwrap());
    check(1008, &|client| {
        for _ in 0..10 {
            client.0.send(Message::text("no")).unwrap();
        }
    });
    check(1000, &|client| {
        let close =
            tokio_tungstenite::tungstenite::protocol::CloseFrame { code: 1000.into(), reason: "".into() };
        client.0.close(Some(close)).unwrap();
    });
}

#[test]
fn a_client_that_does_not_answer_pings_is_closed() {
    let address = gateway_with(&[("HUBBUB_HEARTBEAT_SECONDS", "1")]);
    let mut answering = Client::connect(address, &any(1));
    let silent = Client::connect(address, &any(2));
    // The silent one reads only now: the answers to its pings come too late by then.
    let (mut stream, mut seen) = (silent.0.get_ref().try_clone().unwrap(), Vec::new());
    let mut pings = 0;
    loop {
        if let Message::Ping(_) = answering.0.read().unwrap() {
            answering.0.flush().unwrap();
            pings += 1;
        }
        if pings == 4 {
            break;
        }
    }
    stream.read_to_end(&mut seen).unwrap();
    let text = String::from_utf8_lossy(&seen);
    assert!(text.contains(r#"{"op":"bye","code":"idle""#), "{text}");
    assert!(seen.windows(2).any(|pair| pair == 4009u16.to_be_bytes()));
    answering.send(&json!({"op": "ping"}));
    answering.expect("pong");
}

#[test]
fn a_connection_ends_with_its_token() {
    let address = gateway_with(&[]);
    let mut client = Client::connect(address, &token(1, RoomsClaim::Any(Star::Star), 2));
    let (code, events) = client.closed();
    assert_eq!((code, &events[0]["code"]), (4001, &json!("revoked")));
}
