//! TLS: who speaks it without need to ask twice, and who is not listened to.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;

use hubbub_benches::stack::Stack;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Message, client};

use super::{DEADLINE, address_of, connect_from, whole};
use crate::client::{Person, mint};

const ME: [u8; 4] = [127, 0, 0, 1];
/// `ProtocolVersion` of RFC 8446 and its predecessors.
const TLS_1_1: u16 = 0x0302;
const TLS_1_2: u16 = 0x0303;

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// Connects as a browser that knows the stack's authority would.
fn connect(stack: &Stack, protocols: &[&str]) -> Tls {
    let mut roots = RootCertStore::empty();
    let authority = fs::read(stack.authority()).unwrap();
    roots.add(CertificateDer::from_pem_slice(&authority).unwrap()).unwrap();
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = Tls::new(connection, connect_from(ME, address_of(stack.public_url())));
    stream.conn.complete_io(&mut stream.sock).unwrap();
    stream
}

/// An answer over TLS, whole.
fn ask(stack: &Stack, request: &str) -> String {
    let mut stream = connect(stack, &["http/1.1"]);
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // Whoever closes without saying so has nevertheless sent everything.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).to_lowercase()
}

/// The beginning of a connection with a client that knows this version at most (RFC 5246, section 7.4.1.2).
fn client_hello(version: u16) -> Vec<u8> {
    let vector = |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat();
    // ECDHE with ECDSA or RSA: AES-128-GCM for 1.2, AES-128-CBC for 1.1 as well.
    let suites = [0xc02b_u16, 0xc02f, 0xc009, 0xc013].map(u16::to_be_bytes).concat();
    let extension = |kind: u16, list: &[u8]| [&kind.to_be_bytes(), vector(list).as_slice()].concat();
    let extensions = [
        // Curves: X25519, P-256; points uncompressed; signatures: ECDSA and RSA with SHA-256, SHA-1.
        extension(10, &vector(&[0, 29, 0, 23])),
        extension(11, &[1, 0]),
        extension(13, &vector(&[4, 3, 4, 1, 8, 4, 2, 3, 2, 1])),
    ]
    .concat();
    let body =
        [version.to_be_bytes().as_slice(), &[7; 32], &[0], &vector(&suites), &[1, 0], &vector(&extensions)]
            .concat();
    let handshake = [&[1, 0], vector(&body).as_slice()].concat();
    [&[22, 3, 1], vector(&handshake).as_slice()].concat()
}

#[test]
fn what_is_said_holds_for_tls() {
    let stack =
        Stack::builder().tls().controls(1).gateways(1).env("HUBBUB_ENV", "production").start().unwrap();

    // Without TLS there is nothing but the way to it.
    let plain = address_of(&stack.plain_url().unwrap());
    let request = "GET /rooms?x=1 HTTP/1.1\r\nHost: chat.example.org\r\nConnection: close\r\n\r\n";
    let answer = whole(connect_from(ME, plain), request.as_bytes());
    assert!(answer.starts_with("http/1.1 301 "), "{answer}");
    assert!(answer.contains("\r\nlocation: https://chat.example.org/rooms?x=1\r\n"), "{answer}");

    // Browsers remember that, whoever answers.
    let hsts = "\r\nstrict-transport-security: max-age=63072000\r\n";
    for path in ["/", "/ws", "/nothing"] {
        let answer =
            ask(&stack, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
        assert_eq!(answer.matches(hsts).count(), 1, "{path}: {answer}");
    }

    // The control plane hears that it is TLS, whatever the client says.
    let ada = Person::register(stack.control(0).url(), "ada").rest;
    let body = json!({"file_name": "a.png", "content_type": "image/png", "size": 5}).to_string();
    let upload = ask(
        &stack,
        &format!(
            "POST /api/v1/uploads HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Forwarded-Proto: http\r\n\
             Authorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            ada.token().unwrap(),
            body.len()
        ),
    );
    assert!(upload.contains("\"put_url\":\"https://localhost/"), "{upload}");

    stack.control(0).kill().unwrap();
    let own = ask(&stack, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert!(own.starts_with("http/1.1 503 ") && own.contains("application/problem+json"), "{own}");
    assert!(own.contains(hsts) && own.contains("\r\nretry-after: 2\r\n"), "{own}");
}

#[test]
fn old_versions_are_refused_and_new_protocols_spoken() {
    let stack = Stack::builder().tls().without_redis().gateways(1).start().unwrap();
    let begin = |version| {
        let mut stream = connect_from(ME, address_of(stack.public_url()));
        stream.write_all(&client_hello(version)).unwrap();
        let mut record = [0; 7];
        stream.read_exact(&mut record).unwrap();
        record
    };
    // The same hello gets a `handshake` record (22) with the newer version, and with the older one a fatal `alert` (21)
    // `protocol_version` (70).
    assert_eq!(begin(TLS_1_2)[0], 22);
    let refused = begin(TLS_1_1);
    assert_eq!((refused[0], &refused[5..]), (21, &[2, 70][..]));

    let newest = connect(&stack, &["h2", "http/1.1"]);
    assert_eq!(newest.conn.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    assert_eq!(newest.conn.alpn_protocol(), Some(b"h2".as_slice()));

    // And a conversation, with a cookie that never travels without TLS.
    let mut request = "wss://localhost/ws".into_client_request().unwrap();
    let token = format!("Bearer {}", mint(&stack, 7, &json!("*")));
    request.headers_mut().insert("authorization", token.parse().unwrap());
    let stream = connect(&stack, &["http/1.1"]);
    stream.sock.set_read_timeout(Some(DEADLINE)).unwrap();
    let (mut socket, answer) = client(request, stream).unwrap();
    let cookie = answer.headers()["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with("SERVERID=gateway-1; ") && cookie.contains("HttpOnly"), "{cookie}");
    assert!(cookie.ends_with("; Secure"), "{cookie}");
    let mut next = || -> Value {
        loop {
            if let Message::Text(text) = socket.read().unwrap() {
                return serde_json::from_str(&text).unwrap();
            }
        }
    };
    assert_eq!(next()["op"], "welcome");
}
