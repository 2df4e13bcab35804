//! One instance writes: also where the one that did is frozen, or cut off from Postgres, and lives on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use hubbub_benches::stack::{Part, Stack, wait};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::block_in_place;

use crate::client::Client;
use crate::persister::{FOLLOWS_MAX, health, leads, stored};

/// A line to Postgres that can be cut without either end hearing of it.
struct Line {
    port: u16,
    open: watch::Sender<bool>,
}

impl Line {
    async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (open, is_open) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&server).await else { continue };
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                tokio::spawn(carry(from_client, to_server, is_open.clone()));
                tokio::spawn(carry(from_server, to_client, is_open.clone()));
            }
        });
        Self { port, open }
    }
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut is_open: watch::Receiver<bool>,
) {
    let mut bytes = [0; 16_384];
    while let Ok(read @ 1..) = from.read(&mut bytes).await {
        let carried = async {
            is_open.wait_for(|open| *open).await.ok()?;
            to.write_all(&bytes[..read]).await.ok()
        };
        if carried.await.is_none() {
            return;
        }
    }
}

/// Two instances, and a line to Postgres for each.
async fn two() -> (Stack, Vec<Line>, Stack) {
    let servers = block_in_place(|| Stack::builder().servers_only().start().unwrap());
    let url = servers.database_url().unwrap().to_owned();
    let server = url.split_once('@').unwrap().1.split('/').next().unwrap().to_owned();
    let mut lines = Vec::new();
    let mut builder =
        Stack::builder().gateways(1).controls(2).without_haproxy().env("HUBBUB_SENDS_PER_SECOND", "0");
    for number in 1..=2 {
        let line = Line::to(server.clone()).await;
        let through = url.replace(&server, &format!("127.0.0.1:{}", line.port));
        builder = builder.env_of_part(format!("control-{number}"), "HUBBUB_DATABASE_URL", through);
        lines.push(line);
    }
    let builder = builder.postgres_at(&url).redis_at(servers.redis_url().unwrap());
    let stack = block_in_place(|| builder.start().unwrap());
    (stack, lines, servers)
}

/// Asks both instances all the time; whether both ever said at once that they lead.
fn spy(stack: &Stack, over: &Arc<AtomicBool>) -> thread::JoinHandle<bool> {
    let urls: Vec<String> = stack.controls().iter().map(|control| control.url().to_owned()).collect();
    let over = Arc::clone(over);
    let leads = |url: &str| -> bool {
        let agent: ureq::Agent =
            ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(1))).build().into();
        let answer = agent.get(format!("{url}/health")).call();
        let text = answer.ok().and_then(|mut answer| answer.body_mut().read_to_string().ok());
        text.and_then(|text| serde_json::from_str::<Value>(&text).ok())
            .is_some_and(|health| health["batchWriterLeader"] == true)
    };
    thread::spawn(move || {
        while !over.load(Ordering::Relaxed) {
            for (one, other) in [(0, 1), (1, 0)] {
                // The first one leads before and after the other one said that it does.
                if leads(&urls[one]) && leads(&urls[other]) && leads(&urls[one]) {
                    return true;
                }
            }
        }
        false
    })
}

fn leader(stack: &Stack) -> usize {
    wait::until(FOLLOWS_MAX, || stack.controls().iter().position(leads)).expect("a leader")
}

async fn replaced_while(cut: impl Fn(&Part, &Line), heal: impl Fn(&Part, &Line)) {
    let (stack, lines, _servers) = two().await;
    let over = Arc::new(AtomicBool::new(false));
    let spy = spy(&stack, &over);
    let mut client = Client::in_room(&stack, 0, 7, "1").await;
    let mut sent = 0;
    for _ in 0..3 {
        let old = block_in_place(|| leader(&stack));
        let (part, line) = (stack.control(old), &lines[old]);
        // Some are on their way when it happens.
        for n in sent..sent + 300 {
            if n == sent + 150 {
                block_in_place(|| cut(part, line));
            }
            client
                .ask(json!({"op": "send", "room": "1", "body": n.to_string(), "nonce": n.to_string()}))
                .await;
        }
        sent += 300;
        let other = stack.control(1 - old);
        let taken = block_in_place(|| wait::until(FOLLOWS_MAX, || leads(other).then_some(())));
        assert!(taken.is_some(), "the other one takes over: {:?}", health(other));
        for _ in 0..300 {
            client.expect("ack").await;
        }
        let drained =
            block_in_place(|| wait::until(FOLLOWS_MAX, || (health(other)?["streamLag"] == 0).then_some(())));
        assert!(drained.is_some(), "it writes what waits: {:?}", health(other));
        block_in_place(|| heal(part, line));
        let back = block_in_place(|| {
            wait::until(FOLLOWS_MAX, || (health(part)?["status"] == "healthy").then_some(()))
        });
        assert!(back.is_some(), "the old one lives on: {:?}", health(part));
        assert!(leads(other) && !leads(part), "and follows");
    }
    over.store(true, Ordering::Relaxed);
    assert!(!block_in_place(|| spy.join().unwrap()), "both said that they lead");
    let expected: Vec<(String, i64)> = (0..sent).map(|n| n.to_string()).zip(1..).collect();
    assert_eq!(stored(stack.database_url().unwrap()).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_frozen_leader_is_replaced() {
    replaced_while(|part, _| part.pause().unwrap(), |part, _| part.resume().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_leader_that_is_cut_off_is_replaced() {
    replaced_while(|_, line| line.open.send(false).unwrap(), |_, line| line.open.send(true).unwrap()).await;
}
