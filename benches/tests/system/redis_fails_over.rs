//! A primary of Redis is killed under load, and a replica takes its place; or slots of a Cluster move to another server:
//! with `HUBBUB_ACK=replicated` nothing that was acknowledged is lost, nothing that was delivered is taken back,
//! everything goes on by itself, and each room keeps its order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use hubbub_benches::rest::Rest;
use hubbub_benches::stack::{Builder, Part, RedisShape, Stack, find, wait};
use serde_json::json;
use tokio::task::block_in_place;

use crate::client::{Client, Jar, Proof, mint};

const ROOMS: usize = 12;
/// Messages acknowledged before the primary is killed, and after it came back.
const MESSAGES: usize = 600;
/// Sends on their way at once.
const WINDOW: usize = 30;
const TAKES_OVER_MAX: Duration = Duration::from_secs(30);
const FOLLOWS_MAX: Duration = Duration::from_mins(1);

fn builder(shape: RedisShape) -> Builder {
    Stack::builder()
        .gateways(2)
        .controls(1)
        .without_haproxy()
        .redis_shape(shape)
        .env("HUBBUB_SENDS_PER_SECOND", "0")
        .env("HUBBUB_ACK", "replicated")
        .env("HUBBUB_ACK_WAIT_MS", "300")
}

fn port(server: &Part) -> &str {
    server.url().rsplit(':').next().unwrap()
}

/// Asks a server of the stack.
fn ask(server: &Part, command: &[&str]) -> String {
    let output =
        Command::new(find("redis-cli").unwrap()).args(["-p", port(server)]).args(command).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// What a client that repeats whatever was not acknowledged knows.
#[derive(Default)]
struct Writer {
    /// Not sent, or to be sent again.
    waiting: VecDeque<String>,
    /// By `ref`.
    sent: BTreeMap<u64, String>,
    acked: BTreeMap<String, u64>,
    next: usize,
}

impl Writer {
    /// Sends until so many are acknowledged; each body is its own nonce.
    async fn until_acked(&mut self, client: &mut Client, gateway: &Part, count: usize) {
        while self.acked.len() < count {
            while self.sent.len() < WINDOW && self.acked.len() + self.sent.len() < count {
                let body = self.waiting.pop_front().unwrap_or_else(|| {
                    self.next += 1;
                    format!("m{}", self.next)
                });
                let room = (body[1..].parse::<usize>().unwrap() % ROOMS + 1).to_string();
                let send = json!({"op": "send", "room": room, "body": body, "nonce": body});
                let reference = client.ask(send).await;
                self.sent.insert(reference.as_u64().unwrap(), body);
            }
            let event = client.find(|event| event["op"] == "ack" || event["op"] == "error").await;
            let body = self.sent.remove(&event["ref"].as_u64().unwrap()).unwrap();
            if event["op"] == "ack" {
                let id = event["id"].as_str().unwrap().parse().unwrap();
                assert!(self.acked.insert(body, id).is_none());
                continue;
            }
            assert!(["unavailable", "internal"].contains(&event["code"].as_str().unwrap()), "{event}");
            self.waiting.push_back(body);
            // Not at once for ever: Redis has something else to do.
            block_in_place(|| {
                wait::until(TAKES_OVER_MAX, || bus_answers(gateway)).expect("Redis comes back");
            });
        }
    }
}

fn bus_answers(gateway: &Part) -> Option<()> {
    let health = ureq::get(gateway.health_url()?).call().ok()?.body_mut().read_to_string().ok()?;
    let health: serde_json::Value = serde_json::from_str(&health).ok()?;
    (health["services"]["redis"] == true).then_some(())
}

/// Kills the first primary, which comes back once `has_successor` says so.
fn fail_over(stack: &Stack, has_successor: fn(&Stack) -> bool) {
    let victim = stack.redis().unwrap();
    victim.kill().unwrap();
    let replaced = wait::until(TAKES_OVER_MAX, || has_successor(stack).then_some(()));
    assert!(replaced.is_some(), "a replica takes over");
    victim.start().unwrap();
}

/// Messages flow while this happens, before and after.
async fn goes_on(builder: Builder, disturb: impl FnOnce(&Stack) + Send + 'static) {
    let stack = Arc::new(block_in_place(|| builder.start().unwrap()));
    let token = mint(&stack, 1, &json!("*"));
    let rooms: Vec<String> = (1..=ROOMS).map(|room| room.to_string()).collect();
    let connect = async |gateway: usize| {
        let url = stack.gateway(gateway).url();
        let mut client = Client::connect(url, Proof::Bearer(&token), &mut Jar::default()).await;
        for room in &rooms {
            client.join(room, None).await;
        }
        client
    };
    let (mut sender, mut receiver) = (connect(0).await, connect(1).await);
    let (mut writer, gateway) = (Writer::default(), stack.gateway(0));
    writer.until_acked(&mut sender, gateway, MESSAGES).await;
    let disturbed = tokio::task::spawn_blocking({
        let stack = Arc::clone(&stack);
        move || disturb(&stack)
    });
    while !disturbed.is_finished() {
        let count = writer.acked.len() + WINDOW;
        writer.until_acked(&mut sender, gateway, count).await;
    }
    disturbed.await.unwrap();
    let count = writer.acked.len() + MESSAGES;
    writer.until_acked(&mut sender, gateway, count).await;

    // What the receiver saw, room by room.
    let mut seen: BTreeMap<String, Vec<(u64, String)>> = BTreeMap::new();
    let mut bodies = BTreeSet::new();
    while !writer.acked.keys().all(|body| bodies.contains(body)) {
        let event = receiver.find(|event| event["op"] == "message" || event["op"] == "joined").await;
        // Nobody was told anything that no replica had: so there is nothing to take back.
        assert_eq!(event["op"], "message", "{event}");
        let body = event["body"].as_str().unwrap().to_owned();
        assert!(bodies.insert(body.clone()), "{body} came twice");
        let id = event["id"].as_str().unwrap().parse().unwrap();
        seen.entry(event["room"].as_str().unwrap().to_owned()).or_default().push((id, body));
    }
    assert!(seen.values().all(|room| room.is_sorted_by(|one, next| one.0 < next.0)), "in order");

    // Postgres has all of it, once.
    let rest = Rest::new(stack.control(0).url()).with_token(&token);
    let history = |room: &String| {
        let mut stored: Vec<(u64, String)> = Vec::new();
        loop {
            let after = stored.last().map_or(0, |(id, _)| *id);
            let page = rest.get(&format!("/rooms/{room}/messages?limit=200&after={after}")).ok()?;
            let items = page["items"].as_array()?.clone();
            for item in &items {
                stored.push((item["id"].as_str()?.parse().ok()?, item["body"].as_str()?.to_owned()));
            }
            if items.is_empty() {
                return Some(stored);
            }
        }
    };
    let mut stored: Vec<Vec<(u64, String)>> = Vec::new();
    let persisted = block_in_place(|| {
        wait::until(FOLLOWS_MAX, || {
            stored = rooms.iter().map(history).collect::<Option<_>>()?;
            let bodies: BTreeSet<&String> = stored.iter().flatten().map(|(_, body)| body).collect();
            writer.acked.keys().all(|body| bodies.contains(body)).then_some(())
        })
    });
    let bodies: Vec<&String> = stored.iter().flatten().map(|(_, body)| body).collect();
    let lost: Vec<_> = writer.acked.keys().filter(|body| !bodies.contains(body)).collect();
    assert!(persisted.is_some(), "acknowledged and lost: {lost:?}");
    assert_eq!(bodies.iter().collect::<BTreeSet<_>>().len(), bodies.len(), "none is doubled");
    assert!(stored.iter().all(|room| room.is_sorted_by(|one, next| one.0 < next.0)));
    let told = rooms.iter().map(|room| seen.remove(room).unwrap_or_default());
    let is_told = |(stored, told): (&Vec<_>, Vec<_>)| stored.starts_with(&told);
    assert!(stored.iter().zip(told).all(is_told), "history has what was delivered, under the same ids");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_sentinels() {
    let builder = builder(RedisShape::Sentinel).env("HUBBUB_ACK_REPLICAS", "2");
    let has_successor = |stack: &Stack| {
        let servers = stack.redis_servers();
        let sentinels = servers.iter().filter(|part| part.name().starts_with("sentinel"));
        let victim = port(&servers[0]);
        // All of them, so that none makes the old primary the primary again when it comes back.
        sentinels.map(|sentinel| ask(sentinel, &["sentinel", "get-master-addr-by-name", "hubbub"])).all(
            |master| {
                let port = master.lines().nth(1).unwrap_or_default();
                !port.is_empty() && port != victim
            },
        )
    };
    goes_on(builder, move |stack| fail_over(stack, has_successor)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_cluster() {
    let has_successor = |stack: &Stack| {
        let replica = &stack.redis_servers()[3];
        ask(replica, &["role"]).starts_with("master")
    };
    goes_on(builder(RedisShape::Cluster), move |stack| fail_over(stack, has_successor)).await;
}

/// Half of the first primary's slots go to the second one: `MOVED` and `ASK`, streams carried over entry by entry.
#[tokio::test(flavor = "multi_thread")]
async fn while_slots_move() {
    let reshard = |stack: &Stack| {
        let servers = stack.redis_servers();
        let [from, to] = [0, 1].map(|place| ask(&servers[place], &["cluster", "myid"]));
        let at = format!("127.0.0.1:{}", port(&servers[0]));
        let told = ask(
            &servers[0],
            &[
                "--cluster",
                "reshard",
                &at,
                "--cluster-from",
                from.trim(),
                "--cluster-to",
                to.trim(),
                "--cluster-slots",
                "2731",
                "--cluster-yes",
            ],
        );
        let nodes = ask(&servers[0], &["cluster", "nodes"]);
        assert!(nodes.contains(" 2731-5460"), "{told}\n{nodes}");
    };
    goes_on(builder(RedisShape::Cluster), reshard).await;
}
