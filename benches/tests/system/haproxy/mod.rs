//! The shipped configuration on a real `HAProxy`, as operators run it: only the server lines are those of the stack.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use hubbub_benches::stack::{Stack, find, wait};
use rcgen::generate_simple_self_signed;
use socket2::{Domain, Socket, Type};

mod moving;
mod renewal;
mod strangers;
mod tls;

/// Long, because it ends tests that fail.
const DEADLINE: Duration = Duration::from_secs(30);

/// Checks the shipped file with these variables set.
fn check(env: &[(&str, &str)]) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../haproxy/haproxy.cfg");
    let mut command = Command::new(find("haproxy").unwrap());
    let output = command.args(["-c", "-f", path]).envs(env.iter().copied()).output().unwrap();
    let told = [output.stdout, output.stderr].concat();
    let told = String::from_utf8_lossy(&told);
    assert!(output.status.success(), "{told}");
    assert_eq!(told.trim(), "Configuration file is valid");
}

#[test]
fn the_shipped_configuration_is_valid_and_gives_no_warning() {
    let folder = tempfile::tempdir().unwrap();
    let made = generate_simple_self_signed(vec!["chat.example.org".to_owned()]).unwrap();
    fs::write(folder.path().join("chat.pem"), made.cert.pem() + &made.signing_key.serialize_pem()).unwrap();
    check(&[("HUBBUB_TLS_FOLDER", folder.path().to_str().unwrap())]);
    check(&[("HUBBUB_PLAIN_LISTEN", "127.0.0.1:8080")]);
}

/// What the operators' socket answers.
fn ask(stack: &Stack, command: &str) -> String {
    let mut socket = UnixStream::connect(stack.folder().join("haproxy/admin.sock")).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    writeln!(socket, "{command}").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

/// The columns of the gateways' servers, by the heading of `show stat`.
fn servers(stack: &Stack, column: &str) -> Vec<(String, String)> {
    let table = ask(stack, "show stat");
    let mut rows = table.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let heading = rows.next().unwrap();
    let wanted = heading.iter().position(|name| *name == column).unwrap();
    let of_gateways = rows.filter(|row| row[0] == "gateways" && row.len() > wanted && row[1] != "BACKEND");
    of_gateways.map(|row| (row[1].to_owned(), row[wanted].to_owned())).collect()
}

/// Waits until `HAProxy` says so of a gateway: `UP`, `DOWN`.
fn wait_for(stack: &Stack, gateway: &str, status: &str) {
    let is_so = |found: &(String, String)| found.0 == gateway && found.1.split(' ').next() == Some(status);
    let found = wait::until(DEADLINE, || servers(stack, "status").iter().any(is_so).then_some(()));
    assert!(found.is_some(), "{gateway} is not {status}: {:?}", servers(stack, "status"));
}

fn address_of(url: &str) -> SocketAddr {
    url.split_once("://").unwrap().1.parse().unwrap()
}

/// A connection of a client with this address.
fn connect_from(from: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// A request for a WebSocket.
fn upgrade(path: &str, token: &str, more: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Authorization: Bearer {token}\r\n{more}\r\n"
    )
}

/// Sends bytes and reads on to the end of an answer's head; empty where the connection ends without one.
fn head(stream: &mut TcpStream, bytes: &[u8]) -> String {
    let mut answer = Vec::new();
    let mut byte = [0];
    // A connection that is refused may be reset while it is written to.
    let _ = stream.write_all(bytes);
    while !answer.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
        answer.push(byte[0]);
    }
    String::from_utf8(answer).unwrap().to_lowercase()
}

/// Sends bytes and reads the whole answer.
fn whole(mut stream: TcpStream, bytes: &[u8]) -> String {
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).to_lowercase()
}
