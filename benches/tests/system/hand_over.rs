//! A gateway goes on in another process, and no client notices.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hubbub_benches::stack::wait::until;
use hubbub_benches::stack::{Builder, Stack};
use serde_json::{Value, json};
use tokio::task::{JoinSet, block_in_place};

use crate::client::{Client, Jar, Proof, mint};
use crate::metrics::{ask_to_join, scrape, sum};

const CLIENTS: u64 = 30;
const ROOMS: u64 = 5;
const ROOMS_OF_EACH: u64 = 3;
const TIMES: usize = 3;
const DEADLINE: Duration = Duration::from_secs(30);

fn builder() -> Builder {
    let builder = Stack::builder().controls(0).gateways(1).without_haproxy();
    builder.env("HUBBUB_SENDS_PER_SECOND", "0").env("HUBBUB_JOINS_PER_SECOND", "0")
}

fn start(builder: Builder) -> Stack {
    block_in_place(|| builder.start().unwrap())
}

fn succeed(stack: &Stack) {
    block_in_place(|| {
        let before = stack.gateway(0).pid();
        stack.gateway(0).succeed().unwrap();
        assert_ne!(stack.gateway(0).pid(), before);
    });
}

/// Talks until it is told to stop, one message after the other; gives what it heard, in order, by room.
async fn talk(
    mut client: Client,
    user: u64,
    stop: Arc<AtomicBool>,
) -> (BTreeMap<String, Vec<String>>, Client) {
    let room = rooms_of(user).next().unwrap();
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        client.send(&room, &format!("{user}-{sent}"), &format!("{user}-{sent}")).await;
        sent += 1;
    }
    // Whoever is the last one says so in each of its rooms.
    for room in rooms_of(user) {
        client.send(&room, &format!("end of {user}"), &format!("{user}-end")).await;
    }
    let mut heard: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut ends: BTreeSet<(String, u64)> = BTreeSet::new();
    let wanted = (1..=CLIENTS).flat_map(|of| rooms_of(of).map(move |room| (room, of)));
    let wanted: BTreeSet<_> = wanted.filter(|(room, _)| rooms_of(user).any(|own| own == *room)).collect();
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    while ends != wanted {
        let event = client.event().await;
        if event["op"] == "presence" {
            continue;
        }
        assert_eq!(event["op"], "message", "{event}");
        let (room, body) = (event["room"].as_str().unwrap(), event["body"].as_str().unwrap());
        let id = event["id"].as_str().unwrap().parse().unwrap();
        let before = last.insert(room.to_owned(), id);
        assert!(before.is_none_or(|before| before < id), "{event} after {before:?}");
        if let Some(of) = body.strip_prefix("end of ") {
            ends.insert((room.to_owned(), of.parse().unwrap()));
        }
        heard.entry(room.to_owned()).or_default().push(body.to_owned());
    }
    (heard, client)
}

fn rooms_of(user: u64) -> impl Iterator<Item = String> {
    (0..ROOMS_OF_EACH).map(move |n| ((user + n) % ROOMS + 1).to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_notices() {
    let stack = start(builder());
    let stop = Arc::new(AtomicBool::new(false));
    let mut clients = Vec::new();
    for user in 1..=CLIENTS {
        let token = mint(&stack, user, &json!("*"));
        let url = stack.gateway(0).url();
        let mut client = Client::connect(url, Proof::Bearer(&token), &mut Jar::default()).await;
        for room in rooms_of(user) {
            client.join(&room, None).await;
        }
        clients.push((user, client));
    }
    let mut talks = JoinSet::new();
    for (user, client) in clients {
        talks.spawn(talk(client, user, Arc::clone(&stop)));
    }
    for _ in 0..TIMES {
        let delivered = |of: &Stack| sum(&scrape(of.gateway(0)), "hubbub_gateway_published_total", "");
        // Each of them has work to do.
        block_in_place(|| until(DEADLINE, || (delivered(&stack) > 5 * CLIENTS).then_some(()))).unwrap();
        succeed(&stack);
    }
    stop.store(true, Ordering::Relaxed);
    let mut heard: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut clients = Vec::new();
    while let Some(talked) = talks.join_next().await {
        let (of_one, client) = talked.unwrap();
        for (room, bodies) in of_one {
            // Everybody in a room hears the same in the same order.
            let first = heard.entry(room.clone()).or_insert_with(|| bodies.clone());
            assert_eq!(*first, bodies, "room {room}");
        }
        clients.push(client);
    }
    // Each message that was acknowledged, once and in the order of its sender.
    for user in 1..=CLIENTS {
        let room = rooms_of(user).next().unwrap();
        let own = heard[&room].iter().filter(|body| body.starts_with(&format!("{user}-")));
        for (n, body) in own.enumerate() {
            assert_eq!(*body, format!("{user}-{n}"));
        }
    }
    let counted = || sum(&scrape(stack.gateway(0)), "hubbub_gateway_connections", "") == CLIENTS;
    block_in_place(|| until(DEADLINE, || counted().then_some(()))).expect("everybody should be counted");
    // Whoever comes now is served as well.
    let mut late = Client::in_room(&stack, 0, 99, "1").await;
    late.send("1", "late", "n").await;
}

/// Reads until these bytes have come.
fn read_until(stream: &mut TcpStream, wanted: &str) -> String {
    let mut bytes = Vec::new();
    loop {
        let mut some = [0; 4_096];
        let count = stream.read(&mut some).unwrap();
        assert_ne!(count, 0, "the connection ended after {}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&some[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if text.contains(wanted) {
            return text;
        }
    }
}

fn frame(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81, 0x80 | u8::try_from(text.len()).unwrap(), 0, 0, 0, 0];
    frame.extend_from_slice(text.as_bytes());
    frame
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_half_said_goes_on() {
    let stack = start(builder());
    let mut bob = Client::in_room(&stack, 0, 2, "7").await;
    let token = mint(&stack, 1, &json!("*"));
    let address = stack.gateway(0).url().strip_prefix("http://").unwrap().to_owned();
    let mut ada = block_in_place(|| {
        let mut ada = TcpStream::connect(&address).unwrap();
        ada.set_read_timeout(Some(DEADLINE)).unwrap();
        ask_to_join(&mut ada, &token, "7");
        read_until(&mut ada, r#""op":"joined""#);
        ada
    });
    let send = frame(r#"{"op":"send","ref":2,"room":"7","body":"in two halves"}"#);
    let (first, second) = send.split_at(20);
    ada.write_all(first).unwrap();
    // The gateway has the first half when it has answered what stood before it.
    succeed(&stack);
    ada.write_all(second).unwrap();
    block_in_place(|| read_until(&mut ada, r#""op":"ack","ref":2"#));
    assert_eq!(bob.expect("message").await["body"], "in two halves");

    // What comes while nobody reads is read by whoever comes next.
    stack.gateway(0).pause().unwrap();
    ada.write_all(&frame(r#"{"op":"send","ref":3,"room":"7","body":"in the meantime"}"#)).unwrap();
    stack.gateway(0).resume().unwrap();
    succeed(&stack);
    assert_eq!(bob.expect("message").await["body"], "in the meantime");
    block_in_place(|| read_until(&mut ada, r#""op":"ack","ref":3"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn other_gateways_notice_nothing_either() {
    let stack = start(builder().gateways(2));
    let mut watcher = Client::in_room(&stack, 1, 9, "7").await;
    let mut clients = Vec::new();
    for user in 1..=5 {
        clients.push(Client::in_room(&stack, 0, user, "7").await);
    }
    let online = async |watcher: &mut Client| {
        // Whoever asks too often is told to wait.
        let list = watcher.request(json!({"op": "presence", "room": "7"})).await;
        list["online"].as_array().map(Vec::len)
    };
    while online(&mut watcher).await.is_none_or(|count| count < 6) {}
    while watcher.passed(|event| event["op"] == "presence").is_some() {
        watcher.event().await;
    }
    succeed(&stack);
    let still = loop {
        if let Some(count) = online(&mut watcher).await {
            break count;
        }
    };
    assert_eq!(still, 6);
    // One who really goes is the first of whom anything is told.
    clients.pop().unwrap().close().await;
    let gone = watcher.expect("presence").await;
    assert_eq!((&gone["user"], &gone["state"]), (&json!("5"), &json!("offline")), "{gone}");
    // Rights are what they were.
    for client in &mut clients {
        client.send("7", "still here", "n").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_where_it_fails() {
    let stack = start(builder());
    let gateway = stack.gateway(0);
    let mut ada = Client::in_room(&stack, 0, 1, "7").await;
    let try_with = |name: &str, value: &str, code: i32| {
        let program = hubbub_benches::stack::sibling("hubbub-gateway").unwrap();
        let mut command = std::process::Command::new(program);
        command.arg("--take-over").env("HUBBUB_LISTEN", gateway.url().strip_prefix("http://").unwrap());
        command
            .env("HUBBUB_JWT_SECRET", stack.jwt_secret())
            .env("HUBBUB_REDIS_URL", stack.redis_url().unwrap());
        command.env("HUBBUB_ADMIN_LISTEN", "127.0.0.1:0").env("HUBBUB_ENV", "development").env(name, value);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    block_in_place(|| {
        let refused = try_with("HUBBUB_SHARDS", "3", 2);
        assert!(refused.contains("HUBBUB_SHARDS"), "{refused}");
        // Found out when the old process has let go of its sockets, but not for good.
        let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let refused = try_with("HUBBUB_ADMIN_LISTEN", &other.local_addr().unwrap().to_string(), 1);
        assert!(refused.contains("HUBBUB_ADMIN_LISTEN"), "{refused}");
        let refused = try_with("HUBBUB_BUS", "memory", 1);
        assert!(refused.contains("memory"), "{refused}");
        let refused = try_with("HUBBUB_LISTEN", "127.0.0.1:1", 1);
        assert!(refused.contains("127.0.0.1:1"), "{refused}");
    });
    ada.send("7", "still here", "n").await;
    succeed(&stack);
    ada.send("7", "and here", "n2").await;

    // Redis is away: the requests of clients can't be answered, so nothing is handed over, and all goes on later.
    let redis = stack.redis().unwrap();
    block_in_place(|| {
        redis.pause().unwrap();
        let failed = gateway.succeed();
        redis.resume().unwrap();
        failed.unwrap_err();
    });
    let answer = loop {
        let answer: Value =
            ada.request(json!({"op": "send", "room": "7", "body": "again", "nonce": "n3"})).await;
        if answer["op"] == "ack" {
            break answer;
        }
    };
    assert_eq!(answer["room"], "7");
}
