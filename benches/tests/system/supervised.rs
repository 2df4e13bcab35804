//! What a supervisor is told of the programs, and how a gateway leaves.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use hubbub_benches::stack::{Part, Stack, wait};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::task::block_in_place;

use crate::client::{Client, Jar, Proof, mint};

const DEADLINE: Duration = Duration::from_secs(30);

/// Where systemd would listen.
struct Supervisor(UnixDatagram, tempfile::TempDir);

impl Supervisor {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Self(socket, folder)
    }

    fn env(&self) -> String {
        self.1.path().join("notify").to_str().unwrap().to_owned()
    }

    /// Waits until a message has this line; gives the whole of it.
    fn hears(&self, line: &str) -> String {
        let mut buffer = [0; 1_024];
        loop {
            let length = self.0.recv(&mut buffer).unwrap_or_else(|error| panic!("no {line}: {error}"));
            let message = String::from_utf8(buffer[..length].to_vec()).unwrap();
            if message.lines().any(|one| one == line) {
                return message;
            }
        }
    }
}

fn signal(part: &Part, signal: Signal) {
    let pid = i32::try_from(part.pid().unwrap()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

#[test]
fn a_gateway_tells_that_it_is_ready_lives_and_leaves() {
    let supervisor = Supervisor::new();
    let builder = Stack::builder().without_redis().without_haproxy().controls(0).gateways(1);
    let stack =
        builder.env("NOTIFY_SOCKET", supervisor.env()).env("WATCHDOG_USEC", "300000").start().unwrap();
    assert!(supervisor.hears("READY=1").contains("STATUS=0 connections, the bus answers"));
    for _ in 0..2 {
        supervisor.hears("WATCHDOG=1");
    }
    signal(stack.gateway(0), Signal::TERM);
    assert!(supervisor.hears("STOPPING=1").contains("draining"));
}

#[test]
fn a_control_plane_tells_the_same() {
    let supervisor = Supervisor::new();
    let builder = Stack::builder().without_haproxy().controls(1).gateways(0);
    let builder = builder.env_of_part("control-1", "NOTIFY_SOCKET", supervisor.env());
    let stack = builder.env_of_part("control-1", "WATCHDOG_USEC", "300000").start().unwrap();
    supervisor.hears("READY=1");
    let leads = wait::until(DEADLINE, || supervisor.hears("WATCHDOG=1").contains("persisting").then_some(()));
    assert!(leads.is_some());
    signal(stack.control(0), Signal::TERM);
    supervisor.hears("STOPPING=1");
}

/// One client a second: the last ones talk on while the first ones have gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_leaves_sends_its_clients_away_by_and_by() {
    const CLIENTS: u64 = 4;
    let builder = Stack::builder().without_redis().without_haproxy().controls(0).gateways(1);
    let builder = builder.env("HUBBUB_DRAIN_PER_SECOND", "1").env("HUBBUB_CORES", "0");
    let stack = block_in_place(|| builder.start().unwrap());
    let gateway = stack.gateway(0);
    let mut clients = Vec::new();
    for user in 1..=CLIENTS {
        clients.push(Client::in_room(&stack, 0, user, "1").await);
    }
    signal(gateway, Signal::TERM);
    let mut first = clients.remove(0);
    let bye = first.expect("bye").await;
    // By now a load balancer knows: nobody has to wait for that.
    assert_eq!((&bye["code"], &bye["reconnect_after_ms"]), (&json!("drain"), &json!(0)), "{bye}");
    assert_eq!(first.closed().await, 1012);
    let token = mint(&stack, 9, &json!("*"));
    let refused =
        Client::try_connect(gateway.url(), Proof::Bearer(&token), &mut Jar::default()).await.unwrap_err();
    assert_eq!(refused.status, 503);
    let ack = clients[2].send("1", "still here", "n").await;
    assert_eq!(clients[1].expect("message").await["id"], ack["id"]);
    for client in &mut clients {
        let bye = client.find(|event| event["op"] == "bye").await;
        assert_eq!(bye["code"], "drain", "{bye}");
        assert_eq!(client.closed().await, 1012);
    }
    let left = block_in_place(|| wait::until(DEADLINE, || gateway.exited()));
    assert!(left.expect("it ends").success());
}

/// Clients that can't all leave at the set pace leave faster.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_leaves_in_time() {
    let builder = Stack::builder().without_redis().without_haproxy().controls(0).gateways(1);
    let builder = builder.env("HUBBUB_DRAIN_PER_SECOND", "1").env("HUBBUB_DRAIN_SECONDS", "1");
    let stack = block_in_place(|| builder.env("HUBBUB_CORES", "0").start().unwrap());
    let mut clients = Vec::new();
    for user in 1..=5 {
        clients.push(Client::in_room(&stack, 0, user, "1").await);
    }
    signal(stack.gateway(0), Signal::TERM);
    for client in &mut clients {
        let bye = client.find(|event| event["op"] == "bye").await;
        let wait_ms = bye["reconnect_after_ms"].as_u64().unwrap();
        // All of them at once, so before a load balancer has noticed; and each at a time of its own.
        assert!((2_000..3_000).contains(&wait_ms) && wait_ms % 200 == 0, "{bye}");
    }
}
