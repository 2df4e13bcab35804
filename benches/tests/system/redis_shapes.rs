//! Messages flow through every shape of Redis: accounts, rooms, two gateways, the persister, history.

use std::time::Duration;

use hubbub_benches::rest::Rest;
use hubbub_benches::stack::{Builder, RedisShape, Stack, wait};
use serde_json::{Value, json};
use tokio::task::block_in_place;
use ureq::http::Method;

use crate::client::{Client, Jar, Proof, mint};

const FOLLOWS_MAX: Duration = Duration::from_mins(1);
/// Rooms, so that several shards, and in a Cluster all servers, have something to do.
const ROOMS: usize = 12;
const MESSAGES: usize = 5;

/// What the README says that the user needs.
pub(crate) const RIGHTS: &str = "~* &* +@all -@admin -@dangerous +info +config|get +client|unblock";

fn builder(shape: RedisShape) -> Builder {
    Stack::builder().gateways(2).controls(1).without_haproxy().redis_shape(shape)
}

/// Logs in, makes rooms, talks from one gateway to the other, and reads it all again.
async fn talks(builder: Builder) {
    let stack = block_in_place(|| builder.env("HUBBUB_SENDS_PER_SECOND", "0").start().unwrap());
    let rest = Rest::new(stack.control(0).url());
    let made = block_in_place(|| {
        rest.post("/auth/register", &json!({"username": "ada", "password": "correct horse battery"})).unwrap()
    });
    let token = made["token"].as_str().unwrap();
    let rest = rest.with_token(token);
    let rooms: Vec<String> = block_in_place(|| {
        let make = |n| rest.post("/rooms", &json!({"name": format!("room {n}"), "kind": "public"})).unwrap();
        (0..ROOMS).map(|n| make(n)["id"].as_str().unwrap().to_owned()).collect()
    });
    let connect = async |gateway: usize| {
        Client::connect(stack.gateway(gateway).url(), Proof::Bearer(token), &mut Jar::default()).await
    };
    let (mut writer, mut reader) = (connect(0).await, connect(1).await);
    for client in [&mut writer, &mut reader] {
        let wanted: Vec<Value> = rooms.iter().map(|room| json!({"room": room})).collect();
        let joined = client.request(json!({"op": "join", "rooms": wanted})).await;
        let each = joined["rooms"].as_array().unwrap();
        assert!(each.len() == ROOMS && each.iter().all(|room| room["replayed"] == 0), "{joined}");
    }
    for n in 0..MESSAGES {
        for room in &rooms {
            let ack = writer.send(room, &format!("m{n}"), &format!("{room}-{n}")).await;
            let event = reader.find(|event| event["op"] == "message" && event["room"] == **room).await;
            assert_eq!((&event["id"], &event["body"]), (&ack["id"], &json!(format!("m{n}"))));
        }
    }
    // A repeat gets the first one's id, by either way.
    let again = writer.send(&rooms[0], "m0", &format!("{}-0", rooms[0])).await;
    let by_rest = block_in_place(|| {
        let body = json!({"body": "m0", "nonce": format!("{}-0", rooms[0])});
        rest.post(&format!("/rooms/{}/messages", rooms[0]), &body).unwrap()
    });
    assert_eq!(again["id"], by_rest["id"]);
    // Typing and presence take other roads.
    writer.ask(json!({"op": "presence", "room": rooms[1]})).await;
    let present = writer.find(|event| event["op"] == "presence" && !event["online"].is_null()).await;
    assert_eq!(present["online"], json!([made["user"]["id"]]), "{present}");
    for room in &rooms {
        let stored = block_in_place(|| {
            wait::until(FOLLOWS_MAX, || {
                let page = rest.get(&format!("/rooms/{room}/messages")).ok()?;
                let bodies: Vec<&str> =
                    page["items"].as_array()?.iter().filter_map(|item| item["body"].as_str()).collect();
                (bodies == (0..MESSAGES).map(|n| format!("m{n}")).collect::<Vec<_>>()).then_some(())
            })
        });
        assert!(stored.is_some(), "room {room} has its history");
    }
    // Who joins later learns the newest message from what the persister wrote beside the streams.
    let last = connect(1).await.join(&rooms[0], Some(again["id"].as_str().unwrap())).await;
    assert_eq!(last["replayed"], MESSAGES - 1, "{last}");
    block_in_place(|| rest.post("/auth/logout", &json!({})).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn through_a_cluster() {
    talks(builder(RedisShape::Cluster)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn through_what_sentinels_name() {
    talks(builder(RedisShape::Sentinel).env("HUBBUB_ACK", "replicated").env("HUBBUB_ACK_REPLICAS", "2"))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_replicas_lack_is_neither_acknowledged_nor_told_nor_persisted() {
    let builder = builder(RedisShape::Sentinel).env("HUBBUB_ACK", "replicated");
    let builder = builder.env("HUBBUB_ACK_REPLICAS", "2").env("HUBBUB_ACK_WAIT_MS", "50");
    let stack = block_in_place(|| builder.start().unwrap());
    let token = mint(&stack, 1, &json!("*"));
    let url = stack.gateway(0).url();
    let mut client = Client::connect(url, Proof::Bearer(&token), &mut Jar::default()).await;
    client.join("1", None).await;
    let replica = stack.redis_servers().iter().find(|part| part.name() == "redis-3").unwrap();
    block_in_place(|| replica.kill().unwrap());
    let send = || json!({"op": "send", "room": "1", "body": "m", "nonce": "n"});
    let answer = client.request(send()).await;
    assert_eq!((&answer["op"], &answer["code"]), (&json!("error"), &json!("internal")), "{answer}");
    client.request(json!({"op": "ping"})).await;
    assert!(client.passed(|event| event["op"] == "message").is_none());
    let rest = Rest::new(stack.control(0).url()).with_token(&token);
    // By REST it is the same: not `unavailable`, which would mean that it was not stored.
    let message = json!({"body": "r", "nonce": "r"});
    let answer = block_in_place(|| rest.call(Method::POST, "/rooms/2/messages", Some(&message)).unwrap());
    assert_eq!((answer.status, &answer.json["code"]), (500, &json!("internal")), "{}", answer.json);
    let history = || block_in_place(|| rest.get("/rooms/1/messages").unwrap()["items"].clone());
    assert_eq!(history(), json!([]));

    block_in_place(|| replica.start().unwrap());
    // It stands in the stream, and comes from there once; a repeat is one.
    let event = client.find(|event| event["op"] == "message").await;
    let ack = loop {
        let answer = client.request(send()).await;
        if answer["op"] == "ack" {
            break answer;
        }
        assert!(["internal", "unavailable"].contains(&answer["code"].as_str().unwrap()), "{answer}");
    };
    assert_eq!(ack["id"], event["id"]);
    client.request(json!({"op": "ping"})).await;
    assert!(client.passed(|event| event["op"] == "message").is_none());
    let is_persisted = || (history()[0]["id"] == event["id"]).then_some(());
    assert!(wait::until(FOLLOWS_MAX, is_persisted).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn through_tls_as_a_user_with_few_rights() {
    talks(builder(RedisShape::Tls).redis_user("hubbub", "s3cret", RIGHTS)).await;
}
