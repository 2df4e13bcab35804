//! Nobody misses anything without being told, whatever happens to the streams and their readers.

use std::time::Duration;

use hubbub_benches::rest::Rest;
use hubbub_benches::stack::{Builder, Part, Stack, wait};
use serde_json::{Value, json};
use tokio::task::{JoinSet, block_in_place};

use crate::client::{Client, Jar, Proof, mint};

const DEADLINE: Duration = Duration::from_secs(30);

/// Gateways alone, with one stream, so that tests know where a room is.
fn builder() -> Builder {
    let builder = Stack::builder().controls(0).gateways(1).without_haproxy();
    builder.env("HUBBUB_SENDS_PER_SECOND", "0").env("HUBBUB_JOINS_PER_SECOND", "0").env("HUBBUB_SHARDS", "1")
}

fn start(builder: Builder) -> Stack {
    block_in_place(|| builder.start().unwrap())
}

/// Kills it, and starts it when its port is free: rings of the dead may hold listeners for a moment.
fn restart(gateway: &Part) {
    block_in_place(|| {
        gateway.kill().unwrap();
        wait::until(DEADLINE, || gateway.start().ok()).expect("the gateway should start again");
    });
}

async fn connect(stack: &Stack, gateway: &Part, user: u64) -> Client {
    Client::connect(gateway.url(), Proof::Bearer(&mint(stack, user, &json!("*"))), &mut Jar::default()).await
}

/// Runs a Redis command.
fn redis<T: redis::FromRedisValue>(stack: &Stack, command: &[&str]) -> T {
    block_in_place(|| {
        let client = redis::Client::open(stack.redis_url().unwrap()).unwrap();
        let mut connection = client.get_connection().unwrap();
        let (name, args) = command.split_first().unwrap();
        redis::cmd(name).arg(args).query(&mut connection).unwrap()
    })
}

/// Waits until the clock of Redis has gone on so far.
fn let_pass(stack: &Stack, time: Duration) {
    let now_ms = || {
        let (seconds, micros): (u64, u64) = redis(stack, &["TIME"]);
        seconds * 1_000 + micros / 1_000
    };
    let began = now_ms();
    let passed = || (u128::from(now_ms() - began) >= time.as_millis()).then_some(());
    block_in_place(|| wait::until(DEADLINE, passed)).expect("time passes");
}

/// Sends one message after the other; gives their ids.
async fn send(client: &mut Client, room: &str, bodies: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut ids = Vec::new();
    for body in bodies {
        let ack = client.request(json!({"op": "send", "room": room, "body": body})).await;
        assert_eq!(ack["op"], "ack", "{ack}");
        ids.push(ack["id"].as_str().unwrap().to_owned());
    }
    ids
}

/// The next event that is not about presence.
async fn next(client: &mut Client) -> Value {
    loop {
        let event = client.event().await;
        if event["op"] != "presence" {
            return event;
        }
    }
}

/// The ids of the next messages, and that nothing else comes between them.
async fn messages(client: &mut Client, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    while ids.len() < count {
        let event = next(client).await;
        assert_eq!(event["op"], "message", "{event}");
        ids.push(event["id"].as_str().unwrap().to_owned());
    }
    ids
}

fn number(id: &str) -> u64 {
    id.parse().unwrap()
}

/// The id of an entry as Redis writes it.
fn entry_of(id: &str) -> String {
    let id = number(id);
    format!("{}-{}", (id >> 22) + 1_704_067_200_000, id >> 8 & ((1 << 14) - 1))
}

/// That this event tells that something was missed in these rooms; up to where.
fn missed(event: &Value, rooms: &[&str]) -> Vec<u64> {
    assert_eq!((&event["op"], event.get("ref")), (&json!("joined"), None), "{event}");
    let mut told: Vec<(&str, u64)> = Vec::new();
    for room in event["rooms"].as_array().unwrap() {
        assert_eq!(room["replayed"], Value::Null, "{event}");
        assert!(room.as_object().unwrap().contains_key("replayed"), "{event}");
        told.push((room["room"].as_str().unwrap(), number(room["last"].as_str().unwrap())));
    }
    told.sort_unstable();
    assert_eq!(told.iter().map(|(room, _)| *room).collect::<Vec<_>>(), rooms);
    told.into_iter().map(|(_, last)| last).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_window_let_go_is_replayed_from_the_stream() {
    const MESSAGES: usize = 400;
    let stack = start(builder().env("HUBBUB_RESUME_BYTES_MAX", "1000"));
    let gateway = stack.gateway(0);
    let mut writer = connect(&stack, gateway, 1).await;
    writer.join("7", None).await;
    writer.join("8", None).await;
    let mut ids = Vec::new();
    for n in 0..MESSAGES {
        ids.extend(send(&mut writer, "7", [format!("m{n}")]).await);
        send(&mut writer, "8", ["of another room".to_owned()]).await;
    }
    // More and more, while others join: what is live comes behind what is replayed.
    let mut readers = JoinSet::new();
    for n in 0..20 {
        let mut reader = connect(&stack, gateway, 2 + n as u64).await;
        let since = n * MESSAGES / 20;
        let since = (since, ids[since].clone());
        readers.spawn(async move {
            let joined = reader.join("7", Some(&since.1)).await;
            assert!(joined["replayed"].as_u64().unwrap() >= (MESSAGES - 1 - since.0) as u64, "{joined}");
            (since.0, messages(&mut reader, 2 * MESSAGES - 1 - since.0).await)
        });
    }
    for n in 0..MESSAGES {
        ids.extend(send(&mut writer, "7", [format!("live {n}")]).await);
    }
    while let Some(reader) = readers.join_next().await {
        let (since, seen) = reader.unwrap();
        assert_eq!(seen, ids[since + 1..], "since {since}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_trimmed_is_not_replayed_in_part() {
    let stack = start(builder().gateways(2).env("HUBBUB_RESUME_BYTES_MAX", "0"));
    let mut writer = connect(&stack, stack.gateway(0), 1).await;
    writer.join("7", None).await;
    let ids = send(&mut writer, "7", (0..300).map(|n| format!("m{n}"))).await;
    let () = redis(&stack, &["XTRIM", "bus:{0}", "MINID", "=", &entry_of(&ids[200])]);
    for gateway in stack.gateways() {
        let mut reader = connect(&stack, gateway, 2).await;
        for since in ["0", &ids[0], &ids[100], &ids[198]] {
            let joined = reader.join("7", Some(since)).await;
            assert_eq!(joined["replayed"], Value::Null, "since {since}: {joined}");
            reader.request(json!({"op": "leave", "rooms": ["7"]})).await;
        }
        let joined = reader.join("7", Some(&ids[299])).await;
        assert_eq!(joined["replayed"], 0, "{joined}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_gateway_told_already_does_not_come_again() {
    let stack = start(builder().gateways(2));
    let (ahead, behind) = (stack.gateway(0), stack.gateway(1));
    let mut writer = connect(&stack, ahead, 1).await;
    let mut reader = connect(&stack, behind, 2).await;
    writer.join("7", None).await;
    reader.join("7", None).await;
    let mut returning = connect(&stack, behind, 3).await;
    // Frozen: it has read none of these when the client that saw them comes.
    behind.pause().unwrap();
    let ids = send(&mut writer, "7", (0..50).map(|n| format!("m{n}"))).await;
    let asked = returning.ask(json!({"op": "join", "rooms": [{"room": "7", "since": ids[40]}]})).await;
    behind.resume().unwrap();
    let joined = returning.expect("joined").await;
    assert_eq!((&joined["ref"], &joined["rooms"][0]["replayed"]), (&asked, &json!(9)), "{joined}");
    assert_eq!(messages(&mut returning, 9).await, ids[41..]);
    assert_eq!(messages(&mut reader, 50).await, ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_stood_still_loses_nothing() {
    let stack = start(builder().env("HUBBUB_RESUME_WINDOW_SECONDS", "2"));
    let mut writer = connect(&stack, stack.gateway(0), 1).await;
    let mut reader = connect(&stack, stack.gateway(0), 2).await;
    writer.join("7", None).await;
    reader.join("7", None).await;
    let redis = stack.redis().unwrap();
    let mut ids = Vec::new();
    for round in 0..2 {
        redis.pause().unwrap();
        let waiting = writer.ask(json!({"op": "send", "room": "7", "body": format!("{round}")})).await;
        // Long enough for connections to be given up.
        let refused = |event: &Value| event["op"] == "error";
        let outcome =
            block_in_place(|| wait::until(DEADLINE, || is_degraded(stack.gateway(0)).then_some(())));
        outcome.expect("the gateway should notice");
        redis.resume().unwrap();
        let answer = writer.find(|event| event["ref"] == waiting).await;
        if !refused(&answer) {
            ids.push(answer["id"].as_str().unwrap().to_owned());
        }
        block_in_place(|| wait::until(DEADLINE, || (!is_degraded(stack.gateway(0))).then_some(()))).unwrap();
        ids.extend(send(&mut writer, "7", (0..20).map(|n| format!("{round}/{n}"))).await);
    }
    // None of them is missing, and nobody is told that one might be.
    let mut seen = Vec::new();
    while seen.last() != ids.last() {
        seen.extend(messages(&mut reader, 1).await);
    }
    assert!(ids.iter().all(|id| seen.contains(id)));
    assert!(seen.is_sorted_by_key(|id| number(id)));
}

fn is_degraded(gateway: &Part) -> bool {
    let url = gateway.health_url().unwrap();
    let text = ureq::get(&url).call().unwrap().body_mut().read_to_string().unwrap();
    serde_json::from_str::<Value>(&text).unwrap()["status"] == "degraded"
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_restarted_empty_is_noticed() {
    let stack = start(builder());
    let mut client = connect(&stack, stack.gateway(0), 1).await;
    for room in ["7", "8", "9"] {
        client.join(room, None).await;
    }
    let lost = client.send("7", "lost", "nonce").await;
    let before = messages(&mut client, 1).await;
    assert_eq!(before, [lost["id"].as_str().unwrap()]);
    block_in_place(|| {
        let redis = stack.redis().unwrap();
        redis.kill().unwrap();
        std::fs::remove_dir_all(stack.folder().join("redis/appendonlydir")).unwrap();
        redis.start().unwrap();
    });
    let last = missed(&next(&mut client).await, &["7", "8", "9"]);
    assert!(last.iter().all(|last| *last >= number(&before[0])), "{last:?}");
    // The same nonce is not taken for a repeat of what is gone.
    let again = client.send("7", "again", "nonce").await;
    assert!(number(again["id"].as_str().unwrap()) > number(&before[0]));
    assert_eq!(messages(&mut client, 1).await, [again["id"].as_str().unwrap()]);
    let mut returning = connect(&stack, stack.gateway(0), 2).await;
    assert_eq!(returning.join("7", Some(&before[0])).await["replayed"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_redis_is_noticed_and_history_goes_on() {
    let builder = builder().controls(1).env("HUBBUB_RESUME_WINDOW_SECONDS", "2");
    let stack = start(builder);
    let mut client = connect(&stack, stack.gateway(0), 1).await;
    client.join("7", None).await;
    let rest = Rest::new(stack.control(0).url()).with_token(&mint(&stack, 1, &json!("*")));
    let persisted = |count: usize| {
        let page = || rest.get("/rooms/7/messages?limit=200").ok();
        let bodies = |page: Value| -> Vec<String> {
            let items = page["items"].as_array().unwrap();
            items.iter().map(|item| item["body"].as_str().unwrap().to_owned()).collect()
        };
        let enough = || page().map(bodies).filter(|bodies| bodies.len() >= count);
        block_in_place(|| wait::until(DEADLINE, enough)).expect("it should be persisted")
    };
    let ids = send(&mut client, "7", ["one".to_owned(), "two".to_owned()]).await;
    messages(&mut client, 2).await;
    persisted(2);
    // A gateway that knows nothing yet learns from the control plane that a room had nothing since.
    let_pass(&stack, Duration::from_secs(3));
    restart(stack.gateway(0));
    let mut client = connect(&stack, stack.gateway(0), 1).await;
    assert_eq!(client.join("7", Some(&ids[1])).await["replayed"], 0);

    let () = redis(&stack, &["FLUSHALL"]);
    missed(&next(&mut client).await, &["7"]);
    send(&mut client, "7", ["three".to_owned()]).await;
    messages(&mut client, 1).await;
    assert_eq!(persisted(3), ["one", "two", "three"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_trimmed_before_it_was_read_is_told() {
    let stack = start(builder().gateways(2).env("HUBBUB_RESUME_WINDOW_SECONDS", "1"));
    let mut writer = connect(&stack, stack.gateway(0), 1).await;
    let mut reader = connect(&stack, stack.gateway(1), 2).await;
    for room in ["7", "8"] {
        writer.join(room, None).await;
        reader.join(room, None).await;
    }
    let seen = send(&mut writer, "7", ["seen".to_owned()]).await;
    assert_eq!(messages(&mut reader, 1).await, seen);
    for _ in 0..2 {
        stack.gateway(1).pause().unwrap();
        let ids = send(&mut writer, "7", (0..200).map(|n| format!("m{n}"))).await;
        let () = redis(&stack, &["XTRIM", "bus:{0}", "MINID", "=", &entry_of(&ids[150])]);
        let_pass(&stack, Duration::from_secs(1));
        stack.gateway(1).resume().unwrap();
        // The gap comes first, then what is left, all of it.
        let last = missed(&next(&mut reader).await, &["7", "8"]);
        assert!(last.iter().all(|last| number(&ids[149]) <= *last && *last < number(&ids[150])), "{last:?}");
        assert_eq!(messages(&mut reader, 50).await, ids[150..]);
        let mut returning = connect(&stack, stack.gateway(1), 3).await;
        assert_eq!(returning.join("7", Some(&ids[100])).await["replayed"], Value::Null);
        returning.close().await;
    }
    // Who was not away heard everything, and of no gap.
    let mut heard = 0;
    while heard < 401 {
        heard += usize::from(writer.expect("message").await["op"] == "message");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_alone_keep_redis_small() {
    let builder = builder().env("HUBBUB_HISTORY", "none").env("HUBBUB_RESUME_WINDOW_SECONDS", "1");
    let stack = start(builder);
    let mut writer = connect(&stack, stack.gateway(0), 1).await;
    writer.join("7", None).await;
    let ids = send(&mut writer, "7", (0..500).map(|n| format!("m{n}"))).await;
    let small = || (redis::<usize>(&stack, &["XLEN", "bus:{0}"]) < 200).then_some(());
    block_in_place(|| wait::until(DEADLINE, small)).expect("old entries should be trimmed");
    // Trimming what was read is no gap.
    let more = send(&mut writer, "7", ["more".to_owned()]).await;
    assert_eq!(messages(&mut writer, 501).await, [ids, more].concat());
}

/// Calls of the commands that joins could need, from `INFO commandstats`.
fn reads(stack: &Stack) -> u64 {
    let info: String = redis(stack, &["INFO", "commandstats"]);
    let is_meant = |line: &&str| {
        let names = ["xinfo", "xrange", "xrevrange", "hget", "hmget", "client|unblock"];
        line.strip_prefix("cmdstat_").and_then(|line| line.split(':').next()).is_some_and(|name| {
            names.iter().any(|meant| name == *meant || name.starts_with(&format!("{meant}|")))
        })
    };
    let calls = |line: &str| line.split("calls=").nth(1)?.split(',').next()?.parse::<u64>().ok();
    info.lines().filter(is_meant).filter_map(calls).sum()
}

/// Everybody connects and joins again at once; gives what that cost Redis.
async fn storm(stack: &Stack, gateway: &Part, clients: u64, since: &[String]) -> u64 {
    let before = reads(stack);
    let mut storm = JoinSet::new();
    for user in 1..=clients {
        let (url, token) = (gateway.url().to_owned(), mint(stack, user, &json!("*")));
        let place = usize::try_from(user).unwrap() % since.len();
        let since = since[place].clone();
        storm.spawn(async move {
            let mut client = Client::connect(&url, Proof::Bearer(&token), &mut Jar::default()).await;
            let joined = client.join(&(place + 1).to_string(), Some(&since)).await;
            assert_eq!(joined["replayed"], 1, "{joined}");
            assert_eq!(client.expect("message").await["body"], "missed");
            client
        });
    }
    let connected = storm.join_all().await;
    assert_eq!(connected.len() as u64, clients);
    reads(stack) - before
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_clients_costs_redis_by_shards_not_by_clients() {
    const CLIENTS: u64 = 1_000;
    const ROOMS: usize = 50;
    const SHARDS: u64 = 4;
    let builder = builder().gateways(2).env("HUBBUB_SHARDS", SHARDS.to_string());
    // The second one keeps no frames: all of its replays come from the streams.
    let stack = start(builder.env_of_part("gateway-2", "HUBBUB_RESUME_BYTES_MAX", "0"));
    let mut writer = connect(&stack, stack.gateway(0), 1).await;
    let mut since = Vec::new();
    for room in 1..=ROOMS {
        let room = room.to_string();
        writer.join(&room, None).await;
        since.extend(send(&mut writer, &room, ["seen".to_owned()]).await);
        send(&mut writer, &room, ["missed".to_owned()]).await;
    }
    let to_the_same = storm(&stack, stack.gateway(0), CLIENTS, &since).await;
    assert_eq!(to_the_same, 0);
    restart(stack.gateway(0));
    // The extent before and after, and the reader is woken.
    let to_a_fresh_one = storm(&stack, stack.gateway(0), CLIENTS, &since).await;
    assert!(to_a_fresh_one <= 8 * SHARDS, "{to_a_fresh_one}");
    let without_window = storm(&stack, stack.gateway(1), CLIENTS, &since).await;
    assert!(without_window <= CLIENTS / 2, "{without_window}");
}

/// The second gateway takes nothing that replicas lack, and there are none: it stays behind the first one.
#[tokio::test(flavor = "multi_thread")]
async fn who_has_seen_more_than_a_gateway_has_read_is_not_let_in() {
    let builder = builder().gateways(2).env_of_part("gateway-2", "HUBBUB_ACK", "replicated");
    let stack = start(builder.env_of_part("gateway-2", "HUBBUB_ACK_WAIT_MS", "50"));
    let mut behind = connect(&stack, stack.gateway(1), 1).await;
    behind.join("1", None).await;
    let mut ahead = connect(&stack, stack.gateway(0), 1).await;
    ahead.join("1", None).await;
    let seen = send(&mut ahead, "1", ["one".to_owned()]).await;
    let mut returned = connect(&stack, stack.gateway(1), 1).await;
    let joined = returned.join("1", Some(&seen[0])).await;
    assert_eq!(joined["error"], "unavailable", "it would come again: {joined}");
}

/// What the control plane noted of a room whose stream Redis has lost since.
#[tokio::test(flavor = "multi_thread")]
async fn a_room_whose_stream_is_lost_can_be_joined() {
    let stack = start(builder());
    let last = (1_u64 << 40).to_string();
    redis::<()>(&stack, &["HSET", "last:{0}", "1", &last, "to", "1704067462144-0"]);
    let mut client = connect(&stack, stack.gateway(0), 1).await;
    let joined = client.join("1", Some("1")).await;
    assert_eq!((&joined["last"], &joined["replayed"]), (&json!(last), &json!(null)), "{joined}");
    let ack = client.send("1", "on it goes", "n").await;
    assert_eq!(client.expect("message").await["id"], ack["id"]);
}
