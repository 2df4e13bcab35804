//! Limits of sizes and numbers.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use hubbub_common::clock::Monotonic;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::{Client, DEADLINE, UPGRADE, any, gateway_with, raw};

#[test]
fn each_size_limit_has_its_answer() {
    let address = gateway_with(&[]);
    let mut client = Client::connect(address, &any(1));
    client.join("5");
    let long = |bytes: usize| "x".repeat(bytes);
    // Up to the limit everything passes, and one byte more is refused without harm to the connection.
    let mut passes = |request: Value, op: &str| {
        client.send(&request);
        while client.expect_any()["op"] != op {}
    };
    passes(json!({"op": "send", "ref": long(64), "room": "5", "body": long(4_096)}), "ack");
    passes(json!({"op": "send", "ref": 1, "room": "5", "body": "x", "nonce": long(64)}), "ack");
    let mut refused = |request: Value, code: &str| {
        client.send(&request);
        let error = client.expect("error");
        assert_eq!(error["code"], code, "{error}");
    };
    refused(json!({"op": "send", "ref": 2, "room": "5", "body": long(4_097)}), "too_large");
    refused(json!({"op": "send", "ref": 2, "room": "5", "body": ""}), "bad_request");
    refused(json!({"op": "send", "ref": 2, "room": "5", "body": "x", "nonce": long(65)}), "bad_request");
    refused(json!({"op": "send", "ref": 2, "room": "5", "body": "x", "nonce": ""}), "bad_request");
    refused(json!({"op": "ping", "ref": long(65)}), "bad_request");
    let emoji = long(33);
    refused(
        json!({"op": "react", "ref": 2, "room": "5", "id": "1", "emoji": emoji, "on": true}),
        "bad_request",
    );
    refused(json!({"op": "react", "ref": 2, "room": "5", "id": "1", "emoji": "", "on": true}), "bad_request");
    let rooms = |range: std::ops::Range<u64>| -> Vec<Value> {
        range.map(|room| json!({"room": room.to_string()})).collect()
    };
    refused(json!({"op": "join", "ref": 2, "rooms": rooms(1_000..1_257)}), "bad_request");
    // The largest frame passes, one byte more ends the connection.
    let mut client = Client::connect(address, &any(1));
    let frame = |bytes: usize| {
        let empty = r#"{"op":"ping","x":""}"#.len();
        format!(r#"{{"op":"ping","x":"{}"}}"#, long(bytes - empty))
    };
    client.0.send(Message::text(frame(65_536))).unwrap();
    client.expect("pong");
    client.0.send(Message::text(frame(65_537))).unwrap();
    assert_eq!(client.closed().0, 1009);
}

#[test]
fn a_client_may_be_joined_to_a_thousand_rooms() {
    let address = gateway_with(&[]);
    let mut client = Client::connect(address, &any(1));
    let mut join = |range: std::ops::Range<u64>| {
        let rooms: Vec<Value> = range.map(|room| json!({"room": room.to_string()})).collect();
        client.send(&json!({"op": "join", "ref": 1, "rooms": rooms}));
        client.expect_any()
    };
    for first in [1, 251, 501] {
        let joined = join(first..first + 250);
        assert!(joined["rooms"].as_array().unwrap().iter().all(|room| room["last"] == "0"), "{joined}");
    }
    // The rate of joining lets a whole client's rooms pass at once, and then says when to try again.
    let joined = join(751..1_002);
    let limited = joined["op"] == "error";
    assert!(!limited || joined["code"] == "rate_limited" && joined["retry_after_ms"].as_u64() > Some(0));
    let mut client = Client::connect(gateway_with(&[("HUBBUB_JOINS_PER_SECOND", "0")]), &any(1));
    let mut last = Value::Null;
    for first in (0..5).map(|n| 1 + n * 250) {
        let rooms: Vec<Value> = (first..first + 250).map(|room| json!({"room": room.to_string()})).collect();
        client.send(&json!({"op": "join", "ref": 1, "rooms": rooms}));
        last = client.expect("joined");
    }
    assert!(last["rooms"].as_array().unwrap().iter().all(|room| room["error"] == "too_large"), "{last}");
}

#[test]
fn one_connection_more_of_a_user_closes_the_oldest() {
    let address = gateway_with(&[("HUBBUB_CONNECTIONS_PER_USER_MAX", "2")]);
    let mut oldest = Client::connect(address, &any(1));
    let mut second = Client::connect(address, &any(1));
    let mut other = Client::connect(address, &any(2));
    let mut newest = Client::connect(address, &any(1));
    let (code, events) = oldest.closed();
    assert_eq!(code, 4010);
    assert_eq!(events, [json!({"op": "bye", "code": "replaced", "reconnect_after_ms": 0})]);
    for client in [&mut second, &mut other, &mut newest] {
        client.send(&json!({"op": "ping"}));
        client.expect("pong");
    }
}

#[test]
fn one_connection_more_from_an_address_is_refused() {
    let address = gateway_with(&[("HUBBUB_CONNECTIONS_PER_ADDRESS_MAX", "2")]);
    let ask = |client: &str| {
        let head =
            format!("GET /ws?ticket={} HTTP/1.1\r\n{UPGRADE}X-Forwarded-For: {client}\r\n\r\n", any(1));
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        (String::from_utf8(answer.to_vec()).unwrap(), stream)
    };
    let (first, second) = (ask("10.0.0.1"), ask("10.0.0.1"));
    assert_eq!((first.0.as_str(), second.0.as_str()), ("HTTP/1.1 101", "HTTP/1.1 101"));
    let refusal = raw(
        address,
        &format!("GET /ws?ticket={} HTTP/1.1\r\n{UPGRADE}X-Forwarded-For: 10.0.0.1\r\n\r\n", any(1)),
    );
    assert!(refusal.starts_with("http/1.1 429"), "{refusal}");
    for part in ["retry-after: 10", "application/problem+json", "\"code\":\"rate_limited\""] {
        assert!(refusal.contains(part), "{refusal}");
    }
    assert_eq!(ask("10.0.0.2").0, "HTTP/1.1 101");
    // A bad token keeps no place, and neither does a connection that has ended.
    assert!(raw(address, &format!("GET /ws?ticket=x HTTP/1.1\r\n{UPGRADE}\r\n")).starts_with("http/1.1 401"));
    drop(first);
    let waiting = Monotonic::start();
    while ask("10.0.0.1").0 != "HTTP/1.1 101" {
        assert!(waiting.elapsed() < DEADLINE, "the place of an ended connection is free again");
    }
}
