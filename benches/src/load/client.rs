//! A client that keeps nothing but its socket: it connects, joins a room, sees that it worked, and is silent.
//!
//! The request and the join leave in one segment, as a quick client's do.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(20);
/// Connections from one source address: below the number of ports that the kernel gives out.
const PER_SOURCE: usize = 20_000;

/// The address from which the connection with this number comes: 127.0.0.2, 127.0.0.3, and so on.
fn source(number: usize) -> SocketAddr {
    let host = u8::try_from(2 + number / PER_SOURCE).unwrap_or(u8::MAX);
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, host)), 0)
}

/// Connects and joins.
pub(super) fn join(server: SocketAddr, number: usize, token: &str, room: usize) -> Result<TcpStream, String> {
    let failed = |error: rustix::io::Errno| format!("connection {number}: {error}");
    let descriptor = socket(AddressFamily::INET, SocketType::STREAM, None).map_err(failed)?;
    bind(&descriptor, &source(number)).map_err(failed)?;
    connect(&descriptor, &server).map_err(failed)?;
    let mut stream = TcpStream::from(descriptor);
    talk(&mut stream, token, room).map_err(|error| format!("connection {number}: {error}"))?;
    Ok(stream)
}

fn talk(stream: &mut TcpStream, token: &str, room: usize) -> Result<(), String> {
    let io = |error: std::io::Error| error.to_string();
    stream.set_read_timeout(Some(ANSWER_MAX)).map_err(io)?;
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: load\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    let join = format!(r#"{{"op":"join","ref":1,"rooms":[{{"room":"{room}"}}]}}"#);
    let length =
        u8::try_from(join.len()).ok().filter(|length| *length < 126).ok_or("the join is too long")?;
    let mut bytes = request.into_bytes();
    // Masked with zeros: the mask changes nothing.
    bytes.extend_from_slice(&[0x81, 0x80 | length, 0, 0, 0, 0]);
    bytes.extend_from_slice(join.as_bytes());
    stream.write_all(&bytes).map_err(io)?;
    let mut answer = Vec::new();
    loop {
        let mut part = [0; 2_048];
        let count = stream.read(&mut part).map_err(io)?;
        answer.extend_from_slice(part.get(..count).unwrap_or_default());
        let text = String::from_utf8_lossy(&answer);
        if text.contains(r#""op":"joined""#) {
            let joined = text.contains(&format!(r#"{{"room":"{room}","last":"#));
            return if joined { Ok(()) } else { Err(format!("not joined: {text}")) };
        }
        if count == 0 {
            return Err(format!("closed after: {text}"));
        }
    }
}
