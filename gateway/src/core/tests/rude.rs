//! Clients that read nothing, write without end, or vanish: what they cost the others.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use hubbub_common::clock::Monotonic;
use rustix::net::sockopt::set_socket_linger;
use rustix::net::{SendFlags, send};
use serde_json::json;

use super::{Client, DEADLINE, DRIVERS, any, gateway_with, raw};

#[test]
fn a_slow_reader_is_cut_off_and_nobody_else_waits() {
    DRIVERS.into_iter().for_each(cut_off_the_slow);
}

fn cut_off_the_slow(driver: &str) {
    let address = gateway_with(&[
        ("HUBBUB_DRIVER", driver),
        ("HUBBUB_SENDS_PER_SECOND", "0"),
        ("HUBBUB_OUTBOX_BYTES_MAX", "65536"),
        ("HUBBUB_RESUME_BYTES_MAX", "1000"),
    ]);
    let (mut slow, mut quick) = (Client::connect(address, &any(1)), Client::connect(address, &any(2)));
    slow.join("5");
    quick.join("5");
    let body = "x".repeat(4_000);
    let mut sent = 0;
    // More than the kernel's buffers and the outbox hold.
    while sent < 5_000 {
        quick.send(&json!({"op": "send", "ref": sent, "room": "5", "body": body}));
        quick.expect("message");
        quick.expect("ack");
        sent += 1;
    }
    let (code, events) = slow.closed();
    assert_eq!(code, 4008);
    let (bye, messages) = events.split_last().unwrap();
    assert_eq!((&bye["op"], &bye["code"]), (&json!("bye"), &json!("slow")));
    // What it did get was whole and in order.
    let ids: Vec<u64> = messages
        .iter()
        .filter(|event| event["op"] == "message")
        .map(|event| event["id"].as_str().unwrap().parse().unwrap())
        .collect();
    assert!(ids.len() < sent && ids.windows(2).all(|pair| pair[0] < pair[1]));
}

#[test]
fn who_reads_promptly_survives_a_burst_longer_than_an_outbox() {
    const CLIENTS: usize = 40;
    for driver in DRIVERS {
        let outbox = ("HUBBUB_OUTBOX_BYTES_MAX", "65536");
        let address = gateway_with(&[("HUBBUB_DRIVER", driver), outbox, ("HUBBUB_SENDS_PER_SECOND", "0")]);
        let mut clients: Vec<_> = (1..=CLIENTS).map(|n| Client::connect(address, &any(n as u64))).collect();
        for client in &mut clients {
            client.join("5");
        }
        let body = "x".repeat(4_000);
        for _ in 0..5 {
            for client in &mut clients {
                client.send(&json!({"op": "send", "room": "5", "body": body}));
            }
            for client in &mut clients {
                let (mut messages, mut acks) = (0, 0);
                while messages < CLIENTS || acks < 1 {
                    let event = client.next();
                    messages += usize::from(event["op"] == "message");
                    acks += usize::from(event["op"] == "ack");
                    assert_ne!(event["op"], "bye", "{driver}: {messages} messages before");
                }
            }
        }
    }
}

#[test]
fn clients_that_write_without_end_keep_nobody_waiting() {
    for driver in DRIVERS {
        let address = gateway_with(&[("HUBBUB_DRIVER", driver)]);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for user in 1..=2 {
                let mut flood = Client::connect(address, &any(user));
                let mut writer = flood.0.get_ref().try_clone().unwrap();
                let over = &over;
                // Pings without payload, their masks zero.
                let pings = [0x89, 0x80, 0, 0, 0, 0].repeat(4_096);
                scope.spawn(move || while !over.load(Relaxed) && writer.write_all(&pings).is_ok() {});
                scope.spawn(move || {
                    let mut pongs = vec![0; 65_536];
                    while !over.load(Relaxed) && flood.0.get_mut().read(&mut pongs).is_ok_and(|n| n > 0) {}
                    let _ = flood.0.get_mut().shutdown(Shutdown::Both);
                });
            }
            let ended = Ends(&over);
            let mut client = Client::connect(address, &any(3));
            client.join("5");
            for n in 0..20 {
                client.send(&json!({"op": "send", "ref": n, "room": "5", "body": "x"}));
                client.expect("message");
                client.expect("ack");
            }
            drop(ended);
        });
    }
}

/// Says that a test is over, even when it panics.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Polls of connections, once for each of the two descriptors of their ring. That of the runtime also accepts.
fn armed_polls() -> usize {
    const ACCEPT: &str = "op=13,";
    const POLL_ADD: &str = "op=6,";
    let descriptors = std::fs::read_dir("/proc/self/fdinfo").unwrap();
    let infos = descriptors.filter_map(|entry| std::fs::read_to_string(entry.ok()?.path()).ok());
    let lists = infos.filter_map(|info| Some(info.split_once("PollList:")?.1.to_owned()));
    lists.filter(|list| !list.contains(ACCEPT)).map(|list| list.matches(POLL_ADD).count()).sum()
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let clock = Monotonic::start();
    while !holds() {
        assert!(clock.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
        std::thread::yield_now();
    }
}

#[test]
fn nothing_is_left_of_clients_that_vanish() {
    let address = gateway_with(&[]);
    let clients: Vec<_> = (1..=5).map(|user| Client::connect(address, &any(user))).collect();
    wait_until("each is watched", || armed_polls() == 2 * clients.len());
    drop(clients);
    let join = json!({"op": "join", "rooms": [{"room": "5"}]});
    for user in 1..=500 {
        let mut client = Client::connect(address, &any(user));
        client.send(&join);
        // Reset, with the join perhaps still under way.
        set_socket_linger(client.0.get_ref(), Some(Duration::ZERO)).unwrap();
    }
    wait_until("none is watched", || armed_polls() == 0);
    let mut last = Client::connect(address, &any(1));
    last.join("5");
    wait_until("all have left", || {
        last.send(&json!({"op": "presence", "room": "5"}));
        // The rate of questions is limited.
        let answer = last.next();
        answer["online"] == json!(["1"])
    });
}

#[test]
fn an_end_right_behind_a_frame_is_seen() {
    for driver in DRIVERS {
        let address = gateway_with(&[("HUBBUB_DRIVER", driver)]);
        let mut client = Client::connect(address, &any(1));
        let ping = [0x89, 0x80, 0, 0, 0, 0];
        // Kept back by the kernel until there is more to say, so that both go in one segment.
        assert_eq!(send(client.0.get_ref(), &ping, SendFlags::MORE), Ok(ping.len()));
        client.0.get_ref().shutdown(Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        // The heartbeat would come up later than a read may take.
        client.0.get_mut().read_to_end(&mut rest).unwrap();
        assert_eq!(rest, [0x8a, 0]);
    }
}

#[test]
fn replays_that_are_not_read_are_bounded() {
    const REPLAYS: usize = 300;
    let address = gateway_with(&[("HUBBUB_SENDS_PER_SECOND", "0"), ("HUBBUB_RESUME_BYTES_MAX", "200000")]);
    let (mut writer, mut greedy) = (Client::connect(address, &any(1)), Client::connect(address, &any(2)));
    writer.join("5");
    let mut ids = Vec::new();
    for _ in 0..25 {
        writer.send(&json!({"op": "send", "room": "5", "body": "x".repeat(4_000)}));
        ids.push(writer.expect("message")["id"].clone());
        writer.expect("ack");
    }
    // Far more than the kernel's buffers take.
    for _ in 0..REPLAYS {
        greedy.send(&json!({"op": "join", "rooms": [{"room": "5", "since": ids[0]}]}));
        greedy.send(&json!({"op": "leave", "rooms": ["5"]}));
    }
    let health = "GET /health HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    wait_until("it is cut off", || raw(address, health).contains("\"connections\":1,"));
    let mut joined = 0;
    while let Ok(message) = greedy.0.read() {
        joined += usize::from(message.to_text().is_ok_and(|text| text.starts_with(r#"{"op":"joined""#)));
    }
    assert!(joined < REPLAYS, "everything was kept for it");
}

#[test]
fn a_replay_that_is_never_read_is_not_kept_for_ever() {
    let address = gateway_with(&[
        ("HUBBUB_SENDS_PER_SECOND", "0"),
        ("HUBBUB_RESUME_BYTES_MAX", "100000000"),
        ("HUBBUB_HEARTBEAT_SECONDS", "1"),
    ]);
    let (mut writer, mut stuck) = (Client::connect(address, &any(1)), Client::connect(address, &any(2)));
    writer.join("5");
    let mut first = json!(null);
    // Far more than the kernel's buffers take.
    for n in 0..4_000 {
        writer.send(&json!({"op": "send", "room": "5", "body": "x".repeat(4_000)}));
        let id = writer.expect("message")["id"].clone();
        writer.expect("ack");
        if n == 0 {
            first = id;
        }
    }
    drop(writer);
    stuck.send(&json!({"op": "join", "rooms": [{"room": "5", "since": first}]}));
    let health = "GET /health HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    wait_until("it is cut off", || {
        // It lives, and asks for nothing that would be answered.
        let text = json!({"op": "typing", "room": "5"}).to_string();
        let _ = stuck.0.send(text.into());
        raw(address, health).contains("\"connections\":0,")
    });
}

#[test]
fn sockets_that_say_nothing_keep_nobody_out() {
    let address = gateway_with(&[]);
    // As many as may greet at once, and some that wait behind them.
    let _silent: Vec<_> = (0..2_100).map(|_| TcpStream::connect(address).unwrap()).collect();
    // Each would have longer than a read may take.
    Client::connect(address, &any(1));
}
