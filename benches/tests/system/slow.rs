//! Thousands who do not read cost a gateway little, and those who do read nothing.

use std::fs;
use std::io::Read as _;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use hubbub_benches::stack::wait::until;
use hubbub_benches::stack::{Part, Stack};
use serde_json::json;
use socket2::{Domain, Socket, Type};
use tokio::task::block_in_place;

use crate::client::{Client, Jar, Proof, mint};
use crate::metrics::{ask_to_join, scrape, sum};

const ROOM: &str = "7";
const STALLED: usize = 2_000;
/// Without a bound, their outboxes would hold so many shared frames, each a [`HANDLE_BYTES`]: 640 MB.
const MESSAGES: usize = 10_000;
/// Of these every stalled one has far more than its bound.
const FIRST: usize = 1_500;
const WINDOW: usize = 20;
const BODY_BYTES: usize = 500;
const OUTBOX_BYTES_MAX: usize = 262_144;
const RESUME_BYTES_MAX: usize = 1_000_000;
/// What it costs an outbox to hold a frame that all of them share.
const HANDLE_BYTES: usize = 32;
/// For everything else: what the allocator keeps, and the sender's own buffers.
const OTHER_BYTES: usize = 48 << 20;
/// Small segments: on the loopback interface the kernel would otherwise buffer megabytes for each.
const SEGMENT_BYTES: u32 = 1_400;
const DEADLINE: Duration = Duration::from_mins(1);

/// Connects, joins, and does not read.
fn stalled(address: SocketAddr, token: &str) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_tcp_mss(SEGMENT_BYTES).unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    socket.connect(&address.into()).unwrap();
    let mut stream = TcpStream::from(socket);
    ask_to_join(&mut stream, token, ROOM);
    stream
}

/// A line of `/proc/pid/status`, in bytes: proc(5).
fn memory(gateway: &Part, line: &str) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", gateway.pid().unwrap())).unwrap();
    let value = status.lines().find_map(|found| found.strip_prefix(line)).unwrap();
    value.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1_024
}

async fn chat(writer: &mut Client, reader: &mut Client, range: std::ops::Range<usize>) {
    let padding = "x".repeat(BODY_BYTES);
    for first in range.clone().step_by(WINDOW) {
        let numbers = first..(first + WINDOW).min(range.end);
        for number in numbers.clone() {
            let body = format!("{number} {padding}");
            writer.ask(json!({"op": "send", "room": ROOM, "body": body})).await;
        }
        for client in [&mut *writer, &mut *reader] {
            for number in numbers.clone() {
                let message = client.expect("message").await;
                assert!(message["body"].as_str().unwrap().starts_with(&format!("{number} ")), "{message}");
            }
        }
        for _ in numbers {
            writer.expect("ack").await;
        }
    }
}

/// Reads what is left; whether it ended with `bye` and the close code of the slow.
fn was_told(mut stream: TcpStream) -> bool {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut bytes = Vec::new();
    // Whoever reads too late finds the connection cut.
    let _ = stream.read_to_end(&mut bytes);
    let close = [&[0x88, 6], &4_008u16.to_be_bytes()[..], b"slow"].concat();
    let bye = br#"{"op":"bye","code":"slow","reconnect_after_ms":1000}"#;
    let at = bytes.len().saturating_sub(close.len() + bye.len());
    bytes[at..] == [&bye[..], &close].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_who_do_not_read_are_cut_off_and_cost_little() {
    let stack = block_in_place(|| {
        let builder = Stack::builder().without_redis().without_haproxy().gateways(1);
        let builder = builder
            .env("HUBBUB_SENDS_PER_SECOND", "0")
            .env("HUBBUB_OUTBOX_BYTES_MAX", OUTBOX_BYTES_MAX.to_string())
            .env("HUBBUB_RESUME_BYTES_MAX", RESUME_BYTES_MAX.to_string());
        builder.start().unwrap()
    });
    let gateway = stack.gateway(0);
    let token = mint(&stack, 1, &json!("*"));
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = Client::connect(gateway.url(), Proof::Bearer(&token), &mut Jar::default()).await;
        client.join(ROOM, None).await;
        clients.push(client);
    }
    let [writer, reader] = &mut clients[..] else { panic!() };
    let address = gateway.url().strip_prefix("http://").unwrap().parse().unwrap();
    let mut all: Vec<_> = block_in_place(|| (0..STALLED).map(|_| stalled(address, &token)).collect());
    let counted = |name: &str, labels: &str| usize::try_from(sum(&scrape(gateway), name, labels)).unwrap();
    let joined = || counted("hubbub_gateway_subscriptions", "");
    block_in_place(|| until(DEADLINE, || (joined() == STALLED + 2).then_some(()))).expect("all join");
    let before = memory(gateway, "VmRSS:");

    chat(writer, reader, 0..FIRST).await;
    // These begin to read while their connections are being closed.
    let told = block_in_place(|| all.drain(..STALLED / 20).map(was_told).filter(|told| *told).count());
    assert!(told > 0, "a slow one is told why");
    chat(writer, reader, FIRST..MESSAGES).await;

    let slow = || counted("hubbub_gateway_closes_total", "reason=\"slow\"");
    block_in_place(|| until(DEADLINE, || (slow() == STALLED).then_some(()))).expect("each is cut off, once");
    let gone = || joined() == 2 && counted("hubbub_gateway_outbox_frames", "") == 0;
    block_in_place(|| until(DEADLINE, || gone().then_some(()))).expect("nothing is left of them");
    assert_eq!(slow(), STALLED);

    // A deque has up to twice as many places as frames.
    let outbox_handles = 2 * OUTBOX_BYTES_MAX / BODY_BYTES * HANDLE_BYTES;
    let bound = STALLED * outbox_handles + RESUME_BYTES_MAX + OTHER_BYTES;
    let grown = memory(gateway, "VmHWM:").saturating_sub(before);
    assert!(grown < bound, "{STALLED} outboxes made the gateway grow by {grown} bytes, the bound is {bound}");
    assert!(bound < STALLED * MESSAGES * HANDLE_BYTES / 4, "the bound tells something");
}
