//! The server's frames. Each is encoded once and then shared; server frames are not masked.

use std::sync::LazyLock;

use bytes::Bytes;
use fastwebsockets::{Frame, OpCode, Payload};
use hubbub_common::protocol::CloseCode;

/// Bytes of the longest head of an unmasked frame.
const HEAD_BYTES_MAX: usize = 10;
/// A guess at the size of an event, to allocate once.
const TEXT_BYTES: usize = 256;

/// A text frame around what `write` appends: one allocation, the head put in front of the payload.
pub fn text_frame(write: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut out = Vec::with_capacity(HEAD_BYTES_MAX + TEXT_BYTES);
    out.resize(HEAD_BYTES_MAX, 0);
    write(&mut out);
    let Some((room, payload)) = out.split_first_chunk_mut::<HEAD_BYTES_MAX>() else { return Bytes::new() };
    let mut head = [0; HEAD_BYTES_MAX];
    let head_bytes = head_of(OpCode::Text, payload, &mut head);
    let start = HEAD_BYTES_MAX - head_bytes;
    if let (Some(room), Some(head)) = (room.get_mut(start..), head.get(..head_bytes)) {
        room.copy_from_slice(head);
    }
    Bytes::from(out).slice(start..)
}

/// What stands behind the head of one of our own frames.
pub fn payload(frame: &[u8]) -> &[u8] {
    let head_bytes = match frame.get(1) {
        Some(127) => 10,
        Some(126) => 4,
        Some(_) | None => 2,
    };
    frame.get(head_bytes..).unwrap_or_default()
}

/// A close frame with its code and reason.
pub fn close_frame(code: CloseCode) -> Bytes {
    let mut payload = code.code().to_be_bytes().to_vec();
    payload.extend_from_slice(code.reason().as_bytes());
    control_frame(OpCode::Close, &payload)
}

/// The answer to a peer's close frame.
pub fn close_echo(code: Option<u16>) -> Bytes {
    control_frame(OpCode::Close, code.map(u16::to_be_bytes).as_ref().map_or(&[], |code| code.as_slice()))
}

/// An empty ping, always the same bytes.
pub fn ping_frame() -> Bytes {
    static PING: LazyLock<Bytes> = LazyLock::new(|| control_frame(OpCode::Ping, &[]));
    PING.clone()
}

/// The answer to a ping.
pub fn pong_frame(payload: &[u8]) -> Bytes {
    control_frame(OpCode::Pong, payload)
}

fn control_frame(opcode: OpCode, payload: &[u8]) -> Bytes {
    let mut head = [0; HEAD_BYTES_MAX];
    let head_bytes = head_of(opcode, payload, &mut head);
    [head.get(..head_bytes).unwrap_or_default(), payload].concat().into()
}

fn head_of(opcode: OpCode, payload: &[u8], head: &mut [u8; HEAD_BYTES_MAX]) -> usize {
    Frame::new(true, opcode, None, Payload::Borrowed(payload)).fmt_head(head)
}

#[cfg(test)]
mod tests {
    use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};
    use tokio_tungstenite::tungstenite::{Message, WebSocket};

    use super::*;

    /// Another implementation, as a client, reads what we write.
    fn read(frame: &Bytes) -> Message {
        let stream = std::io::Cursor::new(frame.to_vec());
        WebSocket::from_raw_socket(stream, Role::Client, None).read().unwrap()
    }

    #[test]
    fn another_implementation_reads_what_we_write() {
        for len in [0, 1, 125, 126, 127, 65_535, 65_536, 100_000] {
            let text = "x".repeat(len);
            let frame = text_frame(|out| out.extend_from_slice(text.as_bytes()));
            assert_eq!(payload(&frame), text.as_bytes());
            assert_eq!(read(&frame), Message::text(text));
        }
        assert_eq!(read(&ping_frame()), Message::Ping(Bytes::new()));
        assert_eq!(read(&pong_frame(b"abc")), Message::Pong(Bytes::from_static(b"abc")));
        let close = |code: u16, reason: &str| {
            Message::Close(Some(CloseFrame { code: code.into(), reason: reason.to_owned().into() }))
        };
        for code in CloseCode::ALL {
            assert_eq!(read(&close_frame(code)), close(code.code(), code.reason()));
        }
        assert_eq!(read(&close_echo(Some(1000))), close(1000, ""));
        assert_eq!(read(&close_echo(None)), Message::Close(None));
    }
}
