//! A gateway with the memory bus is a whole chat server of its own.

use hubbub_benches::stack::Stack;
use serde_json::json;
use tokio::task::block_in_place;

use crate::client::{Client, Jar, Proof, mint};

fn gateway() -> Stack {
    let builder = Stack::builder().without_redis().without_haproxy().gateways(1);
    block_in_place(|| builder.env("HUBBUB_SENDS_PER_SECOND", "0").start().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_go_both_ways_and_are_replayed() {
    let stack = gateway();
    let url = stack.public_url();
    let (one, two) = (mint(&stack, 1, &json!(["7"])), mint(&stack, 2, &json!("*")));
    let mut one = Client::connect(url, Proof::Bearer(&one), &mut Jar::default()).await;
    let mut other = Client::connect(url, Proof::Ticket(&two), &mut Jar::default()).await;
    assert_eq!(one.gateway(), "gateway-1");
    one.join("7", None).await;
    other.join("7", None).await;

    let first = one.send("7", "hello", "n1").await;
    let second = other.send("7", "hello yourself", "n1").await;
    for client in [&mut one, &mut other] {
        let (hello, answer) = (client.expect("message").await, client.expect("message").await);
        assert_eq!(
            (&hello["id"], &hello["from"], &hello["body"]),
            (&first["id"], &json!("1"), &json!("hello"))
        );
        assert_eq!((&answer["id"], &answer["name"]), (&second["id"], &json!("user 2")));
    }
    assert_eq!(one.send("7", "hello", "n1").await["id"], first["id"], "a repeat is stored once");

    let refused = one.request(json!({"op": "join", "rooms": [{"room": "8"}]})).await;
    assert_eq!(refused["rooms"][0]["error"], "forbidden");
    let pong = one.request(json!({"op": "ping"})).await;
    assert_eq!(pong["op"], "pong");
    let left = one.request(json!({"op": "leave", "rooms": ["7"]})).await;
    assert_eq!((&left["op"], &left["rooms"]), (&json!("left"), &json!(["7"])));

    let joined = one.join("7", first["id"].as_str()).await;
    assert_eq!(joined["replayed"], 1);
    assert_eq!(one.expect("message").await["id"], second["id"]);
    one.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_longer_than_an_outbox_arrives_whole() {
    const MESSAGES: usize = 3_000;
    let stack = gateway();
    let token = mint(&stack, 1, &json!("*"));
    let mut writer = Client::connect(stack.public_url(), Proof::Bearer(&token), &mut Jar::default()).await;
    writer.join("7", None).await;
    let first = writer.send("7", "the first", "first").await;
    let body = "x".repeat(200);
    for _ in 0..MESSAGES {
        writer.ask(json!({"op": "send", "room": "7", "body": body})).await;
        writer.expect("ack").await;
    }
    // More than the 262,144 bytes that may wait for one client: it is not slow, it has only just come.
    let mut reader = Client::connect(stack.public_url(), Proof::Bearer(&token), &mut Jar::default()).await;
    let joined = reader.join("7", first["id"].as_str()).await;
    assert_eq!(joined["replayed"], MESSAGES);
    for _ in 0..MESSAGES {
        assert_eq!(reader.expect("message").await["body"], json!(body));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_refused_before_the_upgrade() {
    let stack = gateway();
    let foreign = Stack::builder().without_redis().without_haproxy().gateways(0).start().unwrap();
    let forged = mint(&foreign, 1, &json!("*"));
    for proof in [Proof::Nothing, Proof::Bearer(&forged), Proof::Ticket("x"), Proof::Session("x")] {
        let refused =
            Client::try_connect(stack.public_url(), proof.clone(), &mut Jar::default()).await.unwrap_err();
        assert_eq!(refused.status, 401, "{proof:?}: {refused:?}");
        assert_eq!(refused.headers.get("content-type").unwrap(), "application/problem+json");
        assert!(refused.body.contains("\"status\":401"), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_told_to_leave_says_good_bye() {
    let stack = gateway();
    let token = mint(&stack, 1, &json!("*"));
    let mut client = Client::connect(stack.public_url(), Proof::Bearer(&token), &mut Jar::default()).await;
    let stopping = std::thread::spawn(move || stack.stop());
    assert_eq!(client.expect("bye").await["code"], "drain");
    assert_eq!(client.closed().await, 1012);
    stopping.join().unwrap().unwrap();
}
