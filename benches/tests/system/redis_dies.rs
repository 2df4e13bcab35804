//! Redis is killed again and again under load: the ledger balances to zero.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hubbub_benches::rest::Rest;
use hubbub_benches::stack::{Part, Stack, wait};
use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::client::{Client, Jar, Proof, mint};

/// Times that Redis is killed.
const KILLS: usize = 5;
/// Messages acknowledged between two kills, at least.
const ACKED: usize = 200;
/// Sends on their way at once.
const WINDOW: usize = 50;
const FOLLOWS_MAX: Duration = Duration::from_mins(1);

/// What one client knows.
#[derive(Default)]
struct Ledger {
    acked: BTreeMap<String, String>,
    refused: BTreeSet<String>,
    unknown: BTreeSet<String>,
    /// Id and body of each message, as they came.
    seen: Vec<(u64, String)>,
}

impl Ledger {
    fn answered(&self) -> usize {
        self.acked.len() + self.refused.len() + self.unknown.len()
    }

    fn take(&mut self, event: &Value, sent: &BTreeMap<u64, String>) {
        let body_of = |reference: &Value| sent[&reference.as_u64().unwrap()].clone();
        match event["op"].as_str().unwrap() {
            "message" => {
                let id = event["id"].as_str().unwrap().parse().unwrap();
                self.seen.push((id, event["body"].as_str().unwrap().to_owned()));
            }
            "ack" => {
                let id = event["id"].as_str().unwrap().to_owned();
                assert!(self.acked.insert(body_of(&event["ref"]), id).is_none());
            }
            "error" if event["code"] == "unavailable" => {
                self.refused.insert(body_of(&event["ref"]));
            }
            "error" if event["code"] == "internal" => {
                self.unknown.insert(body_of(&event["ref"]));
            }
            "presence" | "member" | "read" => {}
            _ => panic!("unexpected {event}"),
        }
    }
}

/// Sends without nonces until so many more are acknowledged, killing Redis in the middle.
async fn load(client: &mut Client, ledger: &mut Ledger, sent: &mut BTreeMap<u64, String>, redis: &Part) {
    let enough = ledger.acked.len() + ACKED;
    let mut killed = false;
    while ledger.acked.len() < enough || !killed {
        while sent.len() - ledger.answered() < WINDOW {
            let body = format!("m{}", sent.len());
            let reference = client.ask(json!({"op": "send", "room": "7", "body": body})).await;
            sent.insert(reference.as_u64().unwrap(), body);
        }
        if !killed && ledger.acked.len() > enough - ACKED / 2 {
            block_in_place(|| {
                redis.kill().unwrap();
                redis.start().unwrap();
            });
            killed = true;
        }
        let event = client.event().await;
        ledger.take(&event, sent);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_delivered_and_stored_once() {
    // Not `durable`: with an fsync every second, Redis may put off a write while one is slow, and acknowledge all the
    // same; without any it writes before it answers, which outlives a kill.
    let builder = Stack::builder().gateways(2).controls(1).without_haproxy();
    let stack = block_in_place(|| builder.env("HUBBUB_SENDS_PER_SECOND", "0").start().unwrap());
    let token = mint(&stack, 1, &json!("*"));
    let connect = async |gateway: usize| {
        let url = stack.gateway(gateway).url();
        let mut client = Client::connect(url, Proof::Bearer(&token), &mut Jar::default()).await;
        client.join("7", None).await;
        client
    };
    let (mut writer, mut reader) = (connect(0).await, connect(1).await);
    let (mut ledger, mut sent) = (Ledger::default(), BTreeMap::new());
    for _ in 0..KILLS {
        load(&mut writer, &mut ledger, &mut sent, stack.redis().unwrap()).await;
    }
    while ledger.answered() < sent.len() || ledger.seen.len() < ledger.acked.len() {
        let event = writer.event().await;
        ledger.take(&event, &sent);
    }
    // The other gateway delivered the same, in the same order.
    let mut other = Ledger::default();
    while other.seen.len() < ledger.seen.len() {
        let event = reader.event().await;
        other.take(&event, &sent);
    }
    assert_eq!(ledger.seen, other.seen);
    assert!(ledger.seen.is_sorted_by(|one, next| one.0 < next.0));
    let seen: BTreeSet<&String> = ledger.seen.iter().map(|(_, body)| body).collect();
    assert_eq!(seen.len(), ledger.seen.len(), "none is doubled");
    assert!(ledger.acked.keys().all(|body| seen.contains(body)), "none is lost");
    assert!(ledger.refused.iter().all(|body| !seen.contains(body)), "what was refused is not stored");
    // And Postgres has the same.
    let rest = Rest::new(stack.control(0).url()).with_token(&token);
    let stored = block_in_place(|| {
        wait::until(FOLLOWS_MAX, || {
            let mut stored: Vec<(u64, String)> = Vec::new();
            loop {
                let after = stored.last().map_or(0, |(id, _)| *id);
                let page = rest.get(&format!("/rooms/7/messages?limit=200&after={after}")).ok()?;
                let items = page["items"].as_array()?.clone();
                for item in &items {
                    stored.push((item["id"].as_str()?.parse().ok()?, item["body"].as_str()?.to_owned()));
                }
                if items.is_empty() {
                    return (stored.len() >= ledger.seen.len()).then_some(stored);
                }
            }
        })
    });
    assert_eq!(stored.expect("everything is persisted"), ledger.seen);
}
