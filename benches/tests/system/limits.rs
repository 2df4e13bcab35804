//! Limits that hold over cores and gateways.

use std::time::Duration;

use hubbub_benches::stack::{Stack, wait};
use serde_json::{Value, json};
use tokio::task::{JoinSet, block_in_place};

use crate::client::{Client, Jar, Proof, mint};

const ROOM: &str = "7";
/// Rounds of a test whose outcome a slow machine can delay, and nothing else can bring about.
const ROUNDS: usize = 100;
const DEADLINE: Duration = Duration::from_secs(30);

fn gateways(count: usize, settings: &[(&str, &str)]) -> Stack {
    let builder = Stack::builder().controls(0).without_haproxy().gateways(count);
    let builder = settings.iter().fold(builder, |builder, (name, value)| builder.env(*name, *value));
    block_in_place(|| builder.start().unwrap())
}

async fn joined(stack: &Stack, gateway: usize, user: u64) -> Client {
    Client::in_room(stack, gateway, user, ROOM).await
}

async fn send(client: &mut Client, body: &str) -> Value {
    client.request(json!({"op": "send", "room": ROOM, "body": body})).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_has_one_rate_of_sending_over_all_gateways() {
    let stack = gateways(2, &[("HUBBUB_SENDS_PER_SECOND", "1")]);
    let mut reader = joined(&stack, 1, 2).await;
    for round in 0..ROUNDS {
        let mut here = joined(&stack, 0, 1).await;
        // A fresh connection, on which nothing was sent.
        let mut there = joined(&stack, 1, 1).await;
        let mut sent = Vec::new();
        loop {
            let body = format!("{round} {}", sent.len());
            let answer = send(&mut here, &body).await;
            if answer["code"] == "rate_limited" {
                break;
            }
            assert_eq!(answer["op"], "ack", "{answer}");
            sent.push(body);
        }
        // The other gateway has seen all of them.
        for body in &sent {
            reader.find(|event| event["body"] == json!(body)).await;
        }
        let answer = send(&mut there, "too many").await;
        if answer["code"] == "rate_limited" {
            assert!(
                answer["retry_after_ms"].as_u64().is_some_and(|ms| (1..=1_000).contains(&ms)),
                "{answer}"
            );
            // Nobody else is held up, and nothing was stored.
            assert_eq!(send(&mut reader, "mine").await["op"], "ack");
            let next = reader.expect("message").await;
            assert_eq!(next["body"], "mine", "{next}");
            return;
        }
        reader.find(|event| event["body"] == "too many").await;
    }
    panic!("a user sends by each gateway as if there were no other");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_keeps_the_newest_connections_whatever_the_core() {
    const KEPT: usize = 3;
    const RACING: usize = 40;
    let stack = gateways(1, &[("HUBBUB_CONNECTIONS_PER_USER_MAX", "3")]);
    let url = stack.gateway(0).url().to_owned();
    let token = mint(&stack, 1, &json!("*"));
    let mut racing = JoinSet::new();
    for _ in 0..RACING {
        let (url, token) = (url.clone(), token.clone());
        racing.spawn(async move {
            let mut client = Client::connect(&url, Proof::Bearer(&token), &mut Jar::default()).await;
            // Ends for all but those that may stay.
            let bye = client.expect("bye").await;
            (bye["code"].clone(), client.closed().await)
        });
    }
    for _ in 0..RACING - KEPT {
        let (code, closed) = racing.join_next().await.unwrap().unwrap();
        assert_eq!((code, closed), (json!("replaced"), 4010));
    }
    let open = || {
        let health = ureq::get(stack.gateway(0).health_url().unwrap()).call().unwrap();
        let health: Value = serde_json::from_str(&health.into_body().read_to_string().unwrap()).unwrap();
        health["connections"].as_u64().unwrap()
    };
    block_in_place(|| wait::until(DEADLINE, || (open() == KEPT as u64).then_some(())))
        .expect("three are left");
    assert!(racing.try_join_next().is_none());
    // Three more replace exactly those three.
    for _ in 0..KEPT {
        let (url, token) = (url.clone(), token.clone());
        racing.spawn(async move {
            let mut client = Client::connect(&url, Proof::Bearer(&token), &mut Jar::default()).await;
            let bye = client.expect("bye").await;
            (bye["code"].clone(), client.closed().await)
        });
    }
    for _ in 0..KEPT {
        assert_eq!(racing.join_next().await.unwrap().unwrap().1, 4010);
    }
    block_in_place(|| wait::until(DEADLINE, || (open() == KEPT as u64).then_some(())))
        .expect("three are left");
    racing.abort_all();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_so_many_connections_whatever_the_core() {
    const MAX: usize = 5;
    let stack = gateways(1, &[("HUBBUB_CONNECTIONS_PER_ADDRESS_MAX", "5")]);
    let url = stack.gateway(0).url().to_owned();
    let token = mint(&stack, 1, &json!("*"));
    for _ in 0..3 {
        let mut racing = JoinSet::new();
        for _ in 0..40 {
            let (url, token) = (url.clone(), token.clone());
            racing.spawn(async move {
                Client::try_connect(&url, Proof::Bearer(&token), &mut Jar::default()).await
            });
        }
        let mut open = Vec::new();
        while let Some(outcome) = racing.join_next().await {
            match outcome.unwrap() {
                Ok(client) => open.push(client),
                Err(refused) => {
                    assert_eq!(refused.status, 429, "{refused:?}");
                    assert!(refused.headers.contains_key("retry-after"), "{refused:?}");
                    assert!(refused.body.contains("\"code\":\"rate_limited\""), "{refused:?}");
                }
            }
        }
        assert_eq!(open.len(), MAX);
        for client in open {
            client.close().await;
        }
        // Their places are free again.
        let connections = || {
            let health = ureq::get(stack.gateway(0).health_url().unwrap()).call().unwrap();
            let health: Value = serde_json::from_str(&health.into_body().read_to_string().unwrap()).unwrap();
            health["connections"].as_u64().unwrap()
        };
        block_in_place(|| wait::until(DEADLINE, || (connections() == 0).then_some(())))
            .expect("all are gone");
    }
}
