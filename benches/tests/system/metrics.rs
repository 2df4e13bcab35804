//! The metrics of a gateway are books that balance: whatever was published was delivered or dropped for a
//! reason, and whatever was put into an outbox was sent, discarded, or still waits.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use hubbub_benches::stack::wait::until;
use hubbub_benches::stack::{Part, Stack};
use serde_json::json;
use tokio::task::block_in_place;

use crate::client::{Client, Jar, Proof, mint};

/// With their bodies, more than the kernel's buffers hold for one that does not read.
const MESSAGES: usize = 2_000;
const BODY_BYTES: usize = 4_000;
const MEMBERS: u64 = 3;
const DEADLINE: Duration = Duration::from_secs(30);

/// The sum of all lines of a metric that have these labels.
pub(crate) fn sum(text: &str, name: &str, labels: &str) -> u64 {
    let of_metric = |line: &&str| {
        let rest = line.strip_prefix(name).unwrap_or_default();
        rest.starts_with(['{', ' ']) && rest.contains(labels)
    };
    let value = |line: &str| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap();
    text.lines().filter(of_metric).map(value).sum()
}

pub(crate) fn scrape(gateway: &Part) -> String {
    let url = gateway.metrics_url().unwrap();
    ureq::get(&url).call().unwrap().body_mut().read_to_string().unwrap()
}

/// Connects, joins, and never reads.
fn deaf(url: &str, token: &str, room: &str) -> TcpStream {
    let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
    rustix::net::sockopt::set_socket_recv_buffer_size(&stream, 4_096).unwrap();
    ask_to_join(&mut stream, token, room);
    stream
}

/// Asks for a WebSocket and to join a room, without reading the answers.
pub(crate) fn ask_to_join(stream: &mut TcpStream, token: &str, room: &str) {
    let mut bytes = format!(
        "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {token}\r\n\r\n"
    )
    .into_bytes();
    let join = json!({"op": "join", "ref": 1, "rooms": [{"room": room}]}).to_string();
    bytes.extend_from_slice(&[0x81, 0x80 | u8::try_from(join.len()).unwrap(), 0, 0, 0, 0]);
    bytes.extend_from_slice(join.as_bytes());
    stream.write_all(&bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_books_balance() {
    let stack = block_in_place(|| {
        let builder = Stack::builder().controls(0).without_haproxy().gateways(2);
        let builder = builder.env("HUBBUB_SENDS_PER_SECOND", "0").env("HUBBUB_OUTBOX_BYTES_MAX", "65536");
        builder.start().unwrap()
    });
    let mut clients = Vec::new();
    for user in 1..=2 * MEMBERS {
        let token = mint(&stack, user, &json!("*"));
        let gateway = stack.gateway(usize::from(user > MEMBERS));
        let mut client = Client::connect(gateway.url(), Proof::Bearer(&token), &mut Jar::default()).await;
        client.join("7", None).await;
        clients.push(client);
    }
    let token = mint(&stack, 99, &json!("*"));
    let _deaf = deaf(stack.gateway(0).url(), &token, "7");
    let joined = |gateway: &Part, wanted: u64| {
        let joined = || sum(&scrape(gateway), "hubbub_gateway_subscriptions", "");
        block_in_place(|| until(DEADLINE, || (joined() >= wanted).then_some(()))).unwrap();
    };
    joined(stack.gateway(0), 4);
    joined(stack.gateway(1), 3);

    // One refused on the way: too large, so never published.
    let too_large = json!({"op": "send", "room": "7", "body": "x".repeat(5_000)});
    assert_eq!(clients[0].request(too_large).await["code"], "too_large");
    let body = "x".repeat(BODY_BYTES);
    for number in 0..MESSAGES {
        clients[number % 2].send("7", &body, &format!("{number}")).await;
        // Everybody else reads, so that only the deaf one falls behind.
        for client in &mut clients {
            client.expect("message").await;
        }
    }

    let messages = u64::try_from(MESSAGES).unwrap();
    let members = messages * MEMBERS;
    let balanced = |text: &str, published: u64| {
        let all = |name: &str| sum(text, name, "");
        let receivers = all("hubbub_gateway_receivers_total");
        let delivered = all("hubbub_gateway_deliveries_total");
        let dropped = all("hubbub_gateway_deliveries_dropped_total");
        let queued = all("hubbub_gateway_frames_queued_total");
        let sent = all("hubbub_gateway_frames_sent_total");
        let discarded = all("hubbub_gateway_frames_discarded_total");
        let waiting = all("hubbub_gateway_outbox_frames");
        let read = sum(text, "hubbub_bus_read_records_total", "verdict=\"new\"");
        let told = all("hubbub_gateway_published_total") == published && delivered >= members;
        told && receivers == delivered + dropped && queued == sent + discarded + waiting && read == messages
    };
    for gateway in stack.gateways() {
        let first = gateway.name() == "gateway-1";
        let published = if first { messages } else { 0 };
        // Counts are handed over once a second.
        let text = block_in_place(|| {
            until(DEADLINE, || {
                let text = scrape(gateway);
                let quiet = sum(&text, "hubbub_gateway_outbox_frames", "") == 0;
                (quiet && balanced(&text, published)).then_some(text)
            })
        });
        let text = text.unwrap_or_else(|| panic!("the books do not balance:\n{}", scrape(gateway)));
        let stored = sum(&text, "hubbub_bus_appended_records_total", "");
        assert_eq!(stored, published);
        let slow = sum(&text, "hubbub_gateway_closes_total", "reason=\"slow\"");
        assert_eq!(slow, u64::from(first), "{text}");
        let delivered = sum(&text, "hubbub_gateway_deliveries_total", "");
        if first {
            let discarded = sum(&text, "hubbub_gateway_frames_discarded_total", "");
            assert!(delivered > members && discarded > 0, "the deaf one got some, and lost what waited");
        } else {
            // Presence changes besides.
            assert!(delivered >= members);
        }
        for name in [
            "hubbub_gateway_turn_seconds_count",
            "hubbub_gateway_ring_submissions_total",
            "hubbub_gateway_handshakes_total",
            "hubbub_bus_append_seconds_count",
            "hubbub_bus_read_seconds_count",
            "hubbub_bus_entry_age_seconds_count",
        ] {
            let wanted = !name.contains("append") || first;
            assert!(!wanted || sum(&text, name, "") > 0, "{name}\n{text}");
        }
    }
}
