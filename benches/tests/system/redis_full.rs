//! Nobody persists: the streams grow, the lag shows it, and when Redis is full sends are refused. What was acknowledged
//! is stored once somebody persists again, and the streams shrink.

use hubbub_benches::stack::{Stack, wait};
use hubbub_common::clock::Monotonic;
use serde_json::json;
use tokio::task::block_in_place;

use crate::client::Client;
use crate::persister::{FOLLOWS_MAX, health, stored};

/// What a Redis with nothing in it, and its buffers, leave of this is soon full.
const MEMORY: &str = "maxmemory 24mb";

fn used_bytes(stack: &Stack) -> u64 {
    let client = redis::Client::open(stack.redis_url().unwrap()).unwrap();
    let info: String = redis::cmd("INFO").arg("memory").query(&mut client.get_connection().unwrap()).unwrap();
    info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap().trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_redis_refuses_and_loses_nothing() {
    let builder = Stack::builder().gateways(1).controls(2).without_haproxy().durable(true).redis_conf(MEMORY);
    // A short window, so that what is persisted is soon trimmed.
    let builder = builder.env("HUBBUB_SENDS_PER_SECOND", "0").env("HUBBUB_RESUME_WINDOW_SECONDS", "1");
    let stack = block_in_place(|| builder.start().unwrap());
    let mut client = Client::in_room(&stack, 0, 7, "1").await;
    let postgres = stack.postgres().unwrap();
    block_in_place(|| postgres.crash().unwrap());
    let body = "x".repeat(4_000);
    let (mut acked, mut sent, mut refused) = (Vec::new(), 0, 0);
    while refused == 0 {
        for n in sent..sent + 50 {
            client.ask(json!({"op": "send", "room": "1", "body": format!("{n} {body}")})).await;
        }
        for _ in 0..50 {
            let answer = client.find(|event| event["ref"].is_number()).await;
            if answer["op"] == "ack" {
                acked.push(answer["id"].as_str().unwrap().parse::<u64>().unwrap());
            } else {
                assert_eq!(answer["code"], "unavailable", "{answer}");
                refused += 1;
            }
        }
        sent += 50;
        assert!(sent < 100_000, "Redis is never full");
    }
    let full = block_in_place(|| {
        let lags = wait::until(FOLLOWS_MAX, || {
            let lag = |control| health(control)?["streamLag"].as_u64();
            stack.controls().iter().all(|control| lag(control) > Some(0)).then_some(())
        });
        assert!(lags.is_some(), "every instance tells what waits, though nobody can write");
        used_bytes(&stack)
    });

    block_in_place(|| {
        postgres.start().unwrap();
        let drained = wait::until(FOLLOWS_MAX, || {
            (health(stack.control(0))?["streamLag"] == 0 && used_bytes(&stack) < full / 2).then_some(())
        });
        assert!(drained.is_some(), "{:?}, {} bytes", health(stack.control(0)), used_bytes(&stack));
    });
    // Sends are taken again; the gateway finds that out by itself.
    let mut answer = json!({});
    for _ in 0..1_000 {
        answer = client.request(json!({"op": "send", "room": "1", "body": "again", "nonce": "again"})).await;
        if answer["op"] == "ack" {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(answer["op"], "ack", "{answer}");
    acked.push(answer["id"].as_str().unwrap().parse().unwrap());
    let database_url = stack.database_url().unwrap();
    let waiting = Monotonic::start();
    let mut found = stored(database_url).await;
    while found.len() < acked.len() && waiting.elapsed() < FOLLOWS_MAX {
        found = stored(database_url).await;
    }
    // A refused one may not be stored; each that was acknowledged is, once.
    assert_eq!(found.len(), acked.len());
    assert!(found.iter().zip(1..).all(|((_, n), at)| *n == at));
}
