//! Who is online stays true whatever becomes of gateways and Redis, and others are told.

use std::time::Duration;

use hubbub_benches::stack::{RedisShape, Stack, wait};
use serde_json::{Value, json};
use tokio::task::{JoinSet, block_in_place};

use crate::client::{Client, Jar, Proof, mint};

const ROOM: &str = "7";
const DEADLINE: Duration = Duration::from_secs(40);

fn stack(gateways: usize) -> Stack {
    let builder = Stack::builder().controls(0).without_haproxy().gateways(gateways);
    block_in_place(|| builder.env("HUBBUB_GATEWAY_TIMEOUT_SECONDS", "3").start().unwrap())
}

async fn joined(stack: &Stack, gateway: usize, user: u64) -> Client {
    Client::in_room(stack, gateway, user, ROOM).await
}

/// Who is online, as asked by a client that is joined.
async fn online(client: &mut Client) -> Vec<u64> {
    let answer = client.request(json!({"op": "presence", "room": ROOM})).await;
    if answer["code"] == "rate_limited" || answer["code"] == "unavailable" {
        return Vec::new();
    }
    assert_eq!(answer["op"], "presence", "{answer}");
    let ids = answer["online"].as_array().unwrap().iter();
    let mut users: Vec<u64> = ids.map(|id| id.as_str().unwrap().parse().unwrap()).collect();
    users.sort_unstable();
    assert_eq!(answer["count"], users.len(), "{answer}");
    users
}

/// Asks until these are online, and only these.
async fn until_online(client: &mut Client, expected: &[u64]) {
    let waiting = tokio::time::timeout(DEADLINE, async { while online(client).await != expected {} });
    let in_time = waiting.await.is_ok();
    assert!(in_time, "expected {expected:?}, are {:?}", online(client).await);
}

/// The next change told of a user.
async fn change_of(client: &mut Client, user: u64) -> Value {
    let user = json!(user.to_string());
    let event = client.find(|event| event["op"] == "presence" && event["user"] == user).await;
    event["state"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn users_of_a_killed_gateway_go_offline_and_come_back() {
    kill_one_of_three(stack(3)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_cluster_too() {
    let builder = Stack::builder().controls(0).without_haproxy().gateways(3).redis_shape(RedisShape::Cluster);
    let stack = block_in_place(|| builder.env("HUBBUB_GATEWAY_TIMEOUT_SECONDS", "3").start().unwrap());
    kill_one_of_three(stack).await;
}

async fn kill_one_of_three(stack: Stack) {
    let mut watcher = joined(&stack, 0, 1).await;
    let _also = joined(&stack, 1, 1).await;
    let mut lost: Vec<Client> = Vec::new();
    for user in [2, 3, 4] {
        lost.push(joined(&stack, 2, user).await);
        assert_eq!(change_of(&mut watcher, user).await, "online");
    }
    // Four is elsewhere as well, and three comes back elsewhere before anybody knows.
    let _four = joined(&stack, 1, 4).await;
    block_in_place(|| stack.gateway(2).kill().unwrap());
    let _three = joined(&stack, 1, 3).await;
    assert_eq!(change_of(&mut watcher, 2).await, "offline");
    until_online(&mut watcher, &[1, 3, 4]).await;
    let _two = joined(&stack, 1, 2).await;
    assert_eq!(change_of(&mut watcher, 2).await, "online");
    until_online(&mut watcher, &[1, 2, 3, 4]).await;
    // A message later: nothing was told of those who never were away.
    watcher.send(ROOM, "still here", "n").await;
    watcher.expect("message").await;
    let told = watcher.passed(|event| event["user"] == "3" || event["user"] == "4");
    assert_eq!(told, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_stood_still_notes_its_users_anew() {
    let stack = stack(2);
    let mut watcher = joined(&stack, 0, 1).await;
    let mut other = joined(&stack, 1, 2).await;
    assert_eq!(change_of(&mut watcher, 2).await, "online");
    block_in_place(|| stack.gateway(1).pause().unwrap());
    assert_eq!(change_of(&mut watcher, 2).await, "offline");
    until_online(&mut watcher, &[1]).await;
    block_in_place(|| stack.gateway(1).resume().unwrap());
    assert_eq!(change_of(&mut watcher, 2).await, "online");
    until_online(&mut watcher, &[1, 2]).await;
    until_online(&mut other, &[1, 2]).await;
    // And what changes from here on is noted as ever.
    other.close().await;
    assert_eq!(change_of(&mut watcher, 2).await, "offline");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_comes_back_empty_is_told_again() {
    let stack = stack(2);
    let mut clients = [joined(&stack, 0, 1).await, joined(&stack, 1, 2).await];
    for client in &mut clients {
        until_online(client, &[1, 2]).await;
    }
    let url = stack.redis_url().unwrap().to_owned();
    let mut redis = block_in_place(|| redis(&url));
    block_in_place(|| command(&mut redis, "FLUSHALL"));
    for client in &mut clients {
        until_online(client, &[1, 2]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_leaves_takes_its_users_along() {
    let stack = stack(2);
    let mut watcher = joined(&stack, 0, 1).await;
    // It never reads, so it does not go by itself.
    let _deaf = joined(&stack, 1, 2).await;
    assert_eq!(change_of(&mut watcher, 2).await, "online");
    block_in_place(|| stack.gateway(1).stop().unwrap());
    assert_eq!(change_of(&mut watcher, 2).await, "offline");
    until_online(&mut watcher, &[1]).await;
    let mut redis = block_in_place(|| redis(stack.redis_url().unwrap()));
    let left = || {
        let [roll, gone] = ["ZCARD gateways", "ZCARD {gateways}:gone"].map(|text| command(&mut redis, text));
        (roll == ":1" && gone == ":0").then_some(())
    };
    block_in_place(|| wait::until(DEADLINE, left)).expect("nothing is left of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_joins_and_leaves_ends_with_the_truth() {
    const USERS: u64 = 60;
    let stack = stack(2);
    let mut watcher = joined(&stack, 0, 1_000).await;
    let mut storm = JoinSet::new();
    for user in 1..=USERS {
        let token = mint(&stack, user, &json!("*"));
        let urls = [0, 1].map(|gateway| stack.gateway(gateway).url().to_owned());
        storm.spawn(async move {
            let connect = async |url: &str| {
                let mut client = Client::connect(url, Proof::Bearer(&token), &mut Jar::default()).await;
                client.join(ROOM, None).await;
                client
            };
            let mut clients = [connect(&urls[0]).await, connect(&urls[1]).await];
            for turn in 0..10usize {
                let client = &mut clients[turn % 2];
                client.request(json!({"op": "leave", "rooms": [ROOM]})).await;
                client.join(ROOM, None).await;
            }
            let [one, two] = clients;
            // A third stays on both, a third on one, a third on none.
            match user % 3 {
                0 => vec![one, two],
                1 => {
                    one.close().await;
                    vec![two]
                }
                _ => {
                    one.close().await;
                    two.close().await;
                    vec![]
                }
            }
        });
    }
    let stay = storm.join_all().await;
    let mut expected: Vec<u64> = (1..=USERS).filter(|user| user % 3 != 2).collect();
    expected.push(1_000);
    until_online(&mut watcher, &expected).await;
    drop(stay);
    until_online(&mut watcher, &[1_000]).await;
}

fn redis(url: &str) -> std::net::TcpStream {
    let stream = std::net::TcpStream::connect(url.strip_prefix("redis://").unwrap()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Sends an inline command; gives the line that answers it.
fn command(redis: &mut std::net::TcpStream, text: &str) -> String {
    use std::io::{Read as _, Write as _};
    redis.write_all(format!("{text}\r\n").as_bytes()).unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n") {
        let mut byte = [0];
        redis.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    String::from_utf8(answer).unwrap().trim().to_owned()
}
