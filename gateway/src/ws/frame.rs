//! The head of a client's frame, checked strictly (RFC 6455 section 5.2).

use hubbub_common::protocol::CloseCode;

/// Bytes of a control frame's payload, at most.
const CONTROL_BYTES_MAX: u64 = 125;

/// What a peer did wrong, and the code that closes the connection for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Violation {
    /// How the connection is closed.
    pub code: CloseCode,
    /// For the log.
    pub what: &'static str,
}

pub(super) fn violation<T>(code: CloseCode, what: &'static str) -> Result<T, Violation> {
    Err(Violation { code, what })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation,
    Text,
    Close,
    Ping,
    Pong,
}

/// A frame's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) fin: bool,
    pub(super) opcode: Opcode,
    pub(super) mask: [u8; 4],
    /// Bytes of the head itself.
    pub(super) head_bytes: usize,
    pub(super) payload_bytes: usize,
}

/// Reads a head from the front of `bytes`: `None` while it has not come whole. A payload longer than
/// `payload_bytes_max` is refused from the head alone.
pub(super) fn decode_head(bytes: &[u8], payload_bytes_max: usize) -> Result<Option<Head>, Violation> {
    let Some(([first, second], rest)) = bytes.split_first_chunk() else { return Ok(None) };
    if first & 0x70 != 0 {
        return violation(CloseCode::Protocol, "a reserved bit is set");
    }
    let fin = first & 0x80 != 0;
    let opcode = match first & 0x0f {
        0x0 => Opcode::Continuation,
        0x1 => Opcode::Text,
        0x2 => return violation(CloseCode::Unsupported, "binary frames are not part of this subprotocol"),
        0x8 => Opcode::Close,
        0x9 => Opcode::Ping,
        0xa => Opcode::Pong,
        _ => return violation(CloseCode::Protocol, "unknown opcode"),
    };
    if second & 0x80 == 0 {
        return violation(CloseCode::Protocol, "a client's frame must be masked");
    }
    let (length, rest) = match second & 0x7f {
        126 => match rest.split_first_chunk::<2>() {
            Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), rest),
            None => return Ok(None),
        },
        127 => match rest.split_first_chunk::<8>() {
            Some((length, rest)) => (u64::from_be_bytes(*length), rest),
            None => return Ok(None),
        },
        length => (u64::from(length), rest),
    };
    let minimal = match second & 0x7f {
        126 => length > 125,
        127 => length > u64::from(u16::MAX) && length >> 63 == 0,
        _ => true,
    };
    if !minimal {
        return violation(CloseCode::Protocol, "a length is not in its shortest form");
    }
    let is_control = matches!(opcode, Opcode::Close | Opcode::Ping | Opcode::Pong);
    if is_control && (!fin || length > CONTROL_BYTES_MAX) {
        return violation(CloseCode::Protocol, "a control frame is fragmented or too long");
    }
    let Some(payload_bytes) = usize::try_from(length).ok().filter(|bytes| *bytes <= payload_bytes_max) else {
        return violation(CloseCode::TooBig, "a frame is too big");
    };
    let Some((mask, after)) = rest.split_first_chunk() else { return Ok(None) };
    Ok(Some(Head { fin, opcode, mask: *mask, head_bytes: bytes.len() - after.len(), payload_bytes }))
}

/// The code of a close frame's payload; `None` where it is empty.
pub(super) fn close_code(payload: &[u8]) -> Result<Option<u16>, Violation> {
    let (code, reason) = match payload.split_first_chunk() {
        Some((code, reason)) => (u16::from_be_bytes(*code), reason),
        None if payload.is_empty() => return Ok(None),
        None => return violation(CloseCode::Protocol, "a close frame of one byte"),
    };
    // RFC 6455 section 7.4, and the IANA registry of close codes.
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return violation(CloseCode::Protocol, "a close code that must not be sent");
    }
    if std::str::from_utf8(reason).is_err() {
        return violation(CloseCode::BadUtf8, "a close reason that is not UTF-8");
    }
    Ok(Some(code))
}
