//! Where clients land while gateways, or `HAProxy` itself, come and go.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use hubbub_benches::rest::Rest;
use hubbub_benches::stack::{Part, Stack, wait};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::task::block_in_place;

use super::{DEADLINE, ask, servers, wait_for};
use crate::client::{Client, Jar, Proof, mint};

const RELOADS: usize = 3;
/// Answers of each kind that come behind each reload.
const ANSWERS: usize = 20;

fn signal(part: &Part, signal: Signal) {
    let pid = i32::try_from(part.pid().unwrap()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

/// A client through `HAProxy`, with the cookies of a browser.
async fn visit(stack: &Stack, user: u64, jar: &mut Jar) -> Client {
    let token = mint(stack, user, &json!("*"));
    Client::connect(stack.public_url(), Proof::Bearer(&token), jar).await
}

fn part<'a>(stack: &'a Stack, name: &str) -> &'a Part {
    stack.gateways().iter().find(|gateway| gateway.name() == name).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_come_back_to_the_gateway_that_knows_them_until_it_dies() {
    let stack = block_in_place(|| Stack::builder().controls(0).gateways(2).start().unwrap());
    let (mut jar, mut other_jar) = (Jar::default(), Jar::default());
    let first = visit(&stack, 1, &mut jar).await;
    let home = first.gateway().to_owned();
    // Whoever is new comes to the gateway with fewer.
    let other = visit(&stack, 2, &mut other_jar).await;
    assert_ne!(other.gateway(), home);
    first.close().await;
    for _ in 0..3 {
        // This gateway now has more than the other.
        let again = visit(&stack, 1, &mut jar).await;
        assert_eq!(again.gateway(), home);
        let also = visit(&stack, 3, &mut jar.clone()).await;
        assert_eq!(also.gateway(), home);
    }
    let gateway = part(&stack, &home);
    block_in_place(|| gateway.kill().unwrap());
    // At once, whatever HAProxy knows: nobody is refused.
    for _ in 0..5 {
        let moved = visit(&stack, 1, &mut jar.clone()).await;
        assert_eq!(moved.gateway(), other.gateway());
    }
    block_in_place(|| {
        gateway.start().unwrap();
        wait_for(&stack, &home, "UP");
    });
    assert_eq!(visit(&stack, 1, &mut jar).await.gateway(), home);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_sent_to_a_draining_gateway_lands_elsewhere_at_once() {
    let stack = block_in_place(|| {
        let builder = Stack::builder().controls(0).gateways(2);
        builder.env("HUBBUB_DRAIN_PER_SECOND", "1").env("HUBBUB_CORES", "0").start().unwrap()
    });
    let mut jar = Jar::default();
    let mut clients = vec![visit(&stack, 1, &mut jar).await];
    let home = clients[0].gateway().to_owned();
    for user in 2..6 {
        clients.push(visit(&stack, user, &mut jar.clone()).await);
        assert_eq!(clients.last().unwrap().gateway(), home);
    }
    let gateway = part(&stack, &home);
    block_in_place(|| {
        // It does not learn of the drain by itself.
        ask(&stack, &format!("disable health gateways/{home}"));
        signal(gateway, Signal::TERM);
        let health = || ureq::get(gateway.health_url().unwrap()).call();
        wait::until(DEADLINE, || health().is_err().then_some(())).expect("the gateway to be draining");
    });
    for _ in 0..5 {
        let moved = visit(&stack, 1, &mut jar.clone()).await;
        assert_ne!(moved.gateway(), home);
    }
    let retried = block_in_place(|| servers(&stack, "wredis"));
    assert!(retried.iter().any(|(server, times)| *server == home && *times != "0"), "{retried:?}");
    for client in &mut clients {
        assert_eq!(client.find(|event| event["op"] == "bye").await["code"], "drain");
        assert_eq!(client.closed().await, 1012);
    }
}

/// Counts what succeeds, until it is told to stop; what fails, fails the test.
struct Load {
    over: Arc<AtomicBool>,
    visits: Arc<AtomicUsize>,
    answers: Arc<AtomicUsize>,
}

impl Load {
    fn wait_for_more(&self) {
        for count in [&self.visits, &self.answers] {
            let enough = count.load(Ordering::Relaxed) + ANSWERS;
            let more = wait::until(DEADLINE, || (count.load(Ordering::Relaxed) >= enough).then_some(()));
            more.expect("answers behind a reload");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_loses_no_connection_and_fails_no_request() {
    let stack = block_in_place(|| Stack::builder().controls(1).gateways(2).start().unwrap());
    let stack = Arc::new(stack);
    let load = Load { over: Arc::default(), visits: Arc::default(), answers: Arc::default() };
    let mut staying = Vec::new();
    for user in 1..5 {
        staying.push(visit(&stack, user, &mut Jar::default()).await);
    }
    let mut visitors = Vec::new();
    for user in 5..8 {
        let (stack, over, visits) = (Arc::clone(&stack), Arc::clone(&load.over), Arc::clone(&load.visits));
        visitors.push(tokio::spawn(async move {
            while !over.load(Ordering::Relaxed) {
                let mut client = visit(&stack, user, &mut Jar::default()).await;
                client.join("1", None).await;
                client.close().await;
                visits.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    let mut readers = Vec::new();
    for _ in 0..2 {
        let rest = Rest::new(stack.public_url()).at_root();
        let (over, answers) = (Arc::clone(&load.over), Arc::clone(&load.answers));
        // Over a connection that is kept.
        readers.push(std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                rest.get("/health").unwrap();
                answers.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    let haproxy = stack.haproxy().unwrap();
    block_in_place(|| {
        load.wait_for_more();
        for reload in 1..=RELOADS {
            let before: BTreeSet<u32> = haproxy.pids().into_iter().collect();
            signal(haproxy, Signal::USR2);
            let new = || haproxy.pids().into_iter().find(|pid| !before.contains(pid));
            wait::until(DEADLINE, new).expect("a new worker");
            let ready = || fs::read_to_string(haproxy.log()).unwrap().matches("Loading success").count();
            wait::until(DEADLINE, || (ready() > reload).then_some(())).expect("a worker that is ready");
            load.wait_for_more();
        }
    });
    load.over.store(true, Ordering::Relaxed);
    for visitor in visitors {
        visitor.await.unwrap();
    }
    block_in_place(|| readers.into_iter().for_each(|reader| reader.join().unwrap()));
    for client in &mut staying {
        assert_eq!(client.request(json!({"op": "ping"})).await["op"], "pong");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_is_reached_from_several_addresses_and_is_down_for_all_of_them() {
    let stack =
        block_in_place(|| Stack::builder().controls(0).gateways(2).haproxy_sources(2).start().unwrap());
    let mut clients = Vec::new();
    for user in 1..=8 {
        clients.push(visit(&stack, user, &mut Jar::default()).await);
    }
    let open = block_in_place(|| servers(&stack, "scur"));
    let expected =
        ["gateway-1", "gateway-1-2", "gateway-2", "gateway-2-2"].map(|name| (name.into(), "2".into()));
    assert_eq!(open, expected);
    // Addresses as the kernel lists them: 127.1.1.1 and 127.1.1.2, backwards.
    let connections = fs::read_to_string("/proc/net/tcp").unwrap();
    for source in ["0101017F", "0201017F"] {
        for gateway in stack.gateways() {
            let port: u16 = gateway.url().rsplit(':').next().unwrap().parse().unwrap();
            let to = format!("0100007F:{port:04X}");
            let is_one = |line: &&str| {
                let words: Vec<_> = line.split_whitespace().collect();
                words[1].starts_with(source) && words[2] == to
            };
            assert!(connections.lines().skip(1).any(|line| is_one(&line)), "{source} to {to}");
        }
    }
    block_in_place(|| {
        stack.gateway(0).kill().unwrap();
        wait_for(&stack, "gateway-1", "DOWN");
        wait_for(&stack, "gateway-1-2", "DOWN");
    });
    let mut moved = Jar::default();
    for user in 1..=3 {
        assert_eq!(visit(&stack, user, &mut moved).await.gateway(), "gateway-2");
    }
}
