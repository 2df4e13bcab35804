//! The client's side of RFC 6455, as far as these clients need it. Not the gateway's own codec, so that a mistake
//! there can't cancel out.

use serde_json::Value;

/// What the server sent.
#[derive(Debug)]
pub(super) enum Frame {
    Text(Value),
    Ping(Vec<u8>),
    Pong,
    Close(Option<u16>),
}

/// Bytes from the server, until they are frames.
#[derive(Debug, Default)]
pub(super) struct Decoder(Vec<u8>);

impl Decoder {
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// The next whole frame; an error is the server's.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, String> {
        let [first, second, ..] = self.0[..] else { return Ok(None) };
        let (length_bytes, head) = match second {
            0..=125 => (0, usize::from(second)),
            126 => (2, 0),
            127 => (8, 0),
            128.. => return Err("the server masked a frame".to_owned()),
        };
        let Some(rest) = self.0.get(2 + length_bytes..) else { return Ok(None) };
        let length = self.0[2..2 + length_bytes].iter().fold(head, |sum, byte| sum << 8 | usize::from(*byte));
        let Some(payload) = rest.get(..length).map(<[u8]>::to_vec) else { return Ok(None) };
        self.0.drain(..2 + length_bytes + length);
        match first {
            0x81 => {
                let value = serde_json::from_slice(&payload);
                value.map(Frame::Text).map(Some).map_err(|error| format!("no JSON: {error}"))
            }
            0x88 => Ok(Some(Frame::Close(payload.first_chunk().map(|code| u16::from_be_bytes(*code))))),
            0x89 => Ok(Some(Frame::Ping(payload))),
            0x8a => Ok(Some(Frame::Pong)),
            _ => Err(format!("a frame that begins with {first:#x}")),
        }
    }
}

/// A frame of a client, masked.
pub(super) fn encode(opcode: u8, payload: &[u8], mask: [u8; 4], out: &mut Vec<u8>) {
    out.push(FINAL | opcode);
    match u16::try_from(payload.len()) {
        Ok(length @ 0..=125) => out.push(MASKED | length.to_be_bytes()[1]),
        Ok(length) => {
            out.push(MASKED | TWO_BYTES);
            out.extend_from_slice(&length.to_be_bytes());
        }
        Err(_) => {
            out.push(MASKED | EIGHT_BYTES);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;
/// The length follows, in so many bytes.
const TWO_BYTES: u8 = 0x7e;
const EIGHT_BYTES: u8 = 0x7f;

pub(super) const TEXT: u8 = 1;
pub(super) const CLOSE: u8 = 8;
pub(super) const PING: u8 = 9;
pub(super) const PONG: u8 = 10;
