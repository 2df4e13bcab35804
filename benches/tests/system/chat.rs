//! Two people chat through two gateways, and it is stored.

use std::collections::BTreeMap;
use std::time::Duration;

use hubbub_benches::rest::Rest;
use hubbub_benches::stack::{Stack, wait};
use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::client::{Client, Jar, Person};

/// Messages each of the two sends.
const MESSAGES: usize = 1_000;
/// Messages that one sends before it waits for their acknowledgements.
const WINDOW: usize = 50;
/// How long the batch writer may take.
const PERSISTED_MAX: Duration = Duration::from_mins(1);

/// Sends `MESSAGES` while it receives. Gives all messages in the order of arrival, and `(nonce, id)` as acknowledged
/// in the order of sending.
async fn chat(mut client: Client, room: String, who: &str) -> (Vec<Value>, Vec<(String, String)>) {
    let (mut seen, mut sent, mut acked) = (Vec::new(), Vec::new(), BTreeMap::new());
    while seen.len() < 2 * MESSAGES || acked.len() < MESSAGES {
        while sent.len() < MESSAGES && sent.len() - acked.len() < WINDOW {
            let nonce = format!("{who}-{}", sent.len());
            let send =
                json!({"op": "send", "room": room, "body": format!("{nonce} says héllo"), "nonce": nonce});
            sent.push((client.ask(send).await.as_u64().unwrap(), nonce));
        }
        let event = client.event().await;
        match event["op"].as_str().unwrap() {
            "message" => seen.push(event),
            "ack" => {
                let id = event["id"].as_str().unwrap().to_owned();
                let earlier = acked.insert(event["ref"].as_u64().unwrap(), id);
                assert_eq!(earlier, None, "acknowledged once");
            }
            "presence" | "member" | "read" => {}
            _ => panic!("unexpected {event}"),
        }
    }
    client.close().await;
    (seen, sent.into_iter().map(|(reference, nonce)| (nonce, acked[&reference].clone())).collect())
}

/// The messages of a room by REST, oldest first, read in pages from the newest back.
fn history_before(rest: &Rest, room: &str) -> Vec<Value> {
    let mut messages: Vec<Value> = Vec::new();
    loop {
        let before = messages.first().map(|oldest| format!("&before={}", oldest["id"].as_str().unwrap()));
        let page =
            rest.get(&format!("/rooms/{room}/messages?limit=200{}", before.unwrap_or_default())).unwrap();
        let mut page = page["items"].as_array().unwrap().clone();
        if page.is_empty() {
            return messages;
        }
        page.append(&mut messages);
        messages = page;
    }
}

/// The same, read in pages from the oldest on.
fn history_after(rest: &Rest, room: &str) -> Vec<Value> {
    let mut messages: Vec<Value> = Vec::new();
    loop {
        let after = messages.last().map_or("0", |newest| newest["id"].as_str().unwrap());
        let page = rest.get(&format!("/rooms/{room}/messages?limit=137&after={after}")).unwrap();
        let page = page["items"].as_array().unwrap();
        if page.is_empty() {
            return messages;
        }
        messages.extend(page.iter().cloned());
    }
}

/// The fields that history and live events share.
fn essence(message: &Value) -> Value {
    let fields = ["room", "id", "ts", "from", "name", "kind", "body"];
    fields.iter().map(|field| ((*field).to_owned(), message[*field].clone())).collect()
}

fn id(message: &Value) -> u64 {
    message["id"].as_str().unwrap().parse().unwrap()
}

fn assert_ordered(messages: &[Value], room: &str) {
    assert!(messages.iter().all(|message| message["room"] == room));
    assert!(messages.is_sorted_by(|one, next| id(one) < id(next)), "by strictly rising id");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_people_chat_through_two_gateways_and_it_is_stored() {
    let stack = block_in_place(|| {
        // Many more sends than a person's.
        Stack::builder().gateways(2).env("HUBBUB_SENDS_PER_SECOND", "0").start().unwrap()
    });
    let url = stack.public_url();
    let (ada, grace, room) = block_in_place(|| {
        let (ada, grace) = (Person::register(url, "ada"), Person::register(url, "grace"));
        let room = ada.rest.post("/rooms", &json!({"name": "engines", "kind": "public"})).unwrap();
        let room = room["id"].as_str().unwrap().to_owned();
        grace.rest.post(&format!("/rooms/{room}/join"), &json!({})).unwrap();
        (ada, grace, room)
    });
    let (mut ada_jar, mut grace_jar) = (Jar::default(), Jar::default());
    let mut ada_client = ada.connect(url, &mut ada_jar).await;
    let mut grace_client = grace.connect(url, &mut grace_jar).await;
    assert_ne!(ada_client.gateway(), grace_client.gateway());
    let ada_gateway = ada_client.gateway().to_owned();
    assert_eq!(ada_jar.get("SERVERID"), Some(ada_gateway.as_str()));
    for _ in 0..3 {
        // Without the cookie it would be the other one, which has fewer connections.
        let again = ada.connect(url, &mut ada_jar).await;
        assert_eq!(again.gateway(), ada_gateway);
    }

    ada_client.join(&room, None).await;
    grace_client.join(&room, None).await;
    let ada_chats = tokio::spawn(chat(ada_client, room.clone(), "ada"));
    let (grace_seen, grace_acked) = chat(grace_client, room.clone(), "grace").await;
    let (ada_seen, ada_acked) = ada_chats.await.unwrap();
    assert_ordered(&ada_seen, &room);
    assert_eq!(ada_seen.len(), 2 * MESSAGES);
    assert_eq!(ada_seen, grace_seen, "the same for both, byte for byte");
    for (person, acked) in [(&ada, &ada_acked), (&grace, &grace_acked)] {
        let own = ada_seen.iter().filter(|message| message["from"] == person.id);
        let own: Vec<_> =
            own.map(|own| (own["nonce"].as_str().unwrap(), own["id"].as_str().unwrap())).collect();
        let acked: Vec<_> = acked.iter().map(|(nonce, id)| (nonce.as_str(), id.as_str())).collect();
        assert_eq!(own, acked, "each once, in the order of sending, under the acknowledged id");
    }

    let history = block_in_place(|| {
        wait::until(PERSISTED_MAX, || {
            let history = history_before(&ada.rest, &room);
            (history.len() >= 2 * MESSAGES).then_some(history)
        })
    });
    let history = history.expect("everything should be persisted");
    let live: Vec<_> = ada_seen.iter().map(essence).collect();
    assert_eq!(history.iter().map(essence).collect::<Vec<_>>(), live);
    assert_eq!(block_in_place(|| history_after(&grace.rest, &room)), history);
    assert_eq!(stored(stack.database_url().unwrap(), &room).await, 2 * MESSAGES);

    a_third_one_joins_later(&stack, &room, &ada_seen).await;
}

/// Joins with `since` two different messages, on either gateway.
async fn a_third_one_joins_later(stack: &Stack, room: &str, live: &[Value]) {
    let third = block_in_place(|| {
        let third = Person::register(stack.public_url(), "third");
        third.rest.post(&format!("/rooms/{room}/join"), &json!({})).unwrap();
        third
    });
    for gateway in stack.gateways() {
        for since in [MESSAGES + MESSAGES / 2, 2 * MESSAGES - 1] {
            let mut client = third.connect(gateway.url(), &mut Jar::default()).await;
            let joined = client.join(room, live[since]["id"].as_str()).await;
            let replayed = usize::try_from(joined["replayed"].as_u64().unwrap()).unwrap();
            let mut events = Vec::new();
            while events.len() < replayed {
                let event = client.event().await;
                // What is stored has a place in the order of its room.
                if event["id"].is_string() {
                    events.push(event);
                }
            }
            events.retain(|event| event["op"] == "message");
            assert_eq!(events, live[since + 1..]);
            client.close().await;
        }
    }
}

/// How many messages of a room Postgres has.
async fn stored(database_url: &str, room: &str) -> usize {
    let (client, connection) = tokio_postgres::connect(database_url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let room: i64 = room.parse().unwrap();
    let counted = client.query_one("SELECT count(*) FROM messages WHERE room = $1", &[&room]).await.unwrap();
    usize::try_from(counted.get::<_, i64>(0)).unwrap()
}
