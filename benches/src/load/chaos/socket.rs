//! A WebSocket of one thread: it blocks, for as long as its caller says.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::load::dialect::upgrade_request;
use crate::load::wire::{self, Opcode};

/// How long anything but waiting for an event may take.
const ANSWER_MAX: Duration = Duration::from_secs(3);
const READ_BYTES: usize = 65_536;

/// See the module's text. Every error means that the connection is over.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Socket {
    /// Connects and upgrades.
    pub(super) fn connect(address: SocketAddr, token: &str) -> Result<Self, String> {
        let text = |error: std::io::Error| error.to_string();
        let mut stream = TcpStream::connect_timeout(&address, ANSWER_MAX).map_err(text)?;
        stream.set_nodelay(true).map_err(text)?;
        stream.set_write_timeout(Some(ANSWER_MAX)).map_err(text)?;
        stream.write_all(upgrade_request("/ws", Some(token)).as_bytes()).map_err(text)?;
        let mut socket = Self { stream, unread: Vec::new() };
        loop {
            if let Some(end) = memchr::memmem::find(&socket.unread, b"\r\n\r\n") {
                let head: Vec<u8> = socket.unread.drain(..end + 4).collect();
                if head.starts_with(b"HTTP/1.1 101 ") {
                    return Ok(socket);
                }
                return Err(String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned());
            }
            if !socket.read(ANSWER_MAX)? {
                return Err("no answer to the upgrade".to_owned());
            }
        }
    }

    /// Sends a request.
    pub(super) fn send(&mut self, request: &Value) -> Result<(), String> {
        self.write(Opcode::Text, request.to_string().as_bytes())
    }

    /// The next event, if one comes within this time.
    pub(super) fn next(&mut self, time: Duration) -> Result<Option<Value>, String> {
        loop {
            if let Some((frame, used)) = wire::read(&self.unread)? {
                let (opcode, payload) = (frame.opcode, frame.payload.to_vec());
                self.unread.drain(..used);
                match opcode {
                    Opcode::Text => {
                        let event = serde_json::from_slice(&payload).map_err(|error| error.to_string())?;
                        return Ok(Some(event));
                    }
                    Opcode::Ping => self.write(Opcode::Pong, &payload)?,
                    Opcode::Pong => {}
                    Opcode::Binary => return Err("a binary frame".to_owned()),
                    Opcode::Close => return Err("closed".to_owned()),
                }
            } else if !self.read(time)? {
                return Ok(None);
            }
        }
    }

    fn write(&mut self, opcode: Opcode, payload: &[u8]) -> Result<(), String> {
        let mut frame = Vec::with_capacity(payload.len() + 14);
        wire::write(&mut frame, opcode, payload);
        self.stream.write_all(&frame).map_err(|error| error.to_string())
    }

    /// Whether something came.
    fn read(&mut self, time: Duration) -> Result<bool, String> {
        self.stream.set_read_timeout(Some(time)).map_err(|error| error.to_string())?;
        let mut bytes = vec![0; READ_BYTES];
        match self.stream.read(&mut bytes) {
            Ok(0) => Err("the connection ended".to_owned()),
            Ok(count) => {
                self.unread.extend_from_slice(bytes.get(..count).unwrap_or_default());
                Ok(true)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(false),
            Err(error) => Err(error.to_string()),
        }
    }
}
