//! From received bytes to messages.
//!
//! Whole frames are handled where they lie, in the buffer that was just read into; only the rest of a cut
//! frame, and the fragments of an unfinished message, are kept. An idle connection keeps one empty option. A
//! length that was announced reserves nothing before its bytes come.

use hubbub_common::protocol::CloseCode;

use super::frame::{Opcode, Violation, close_code, decode_head, violation};

/// What came whole.
#[derive(Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A text message.
    Text(&'a str),
    /// A ping: answer with the same bytes.
    Ping(&'a [u8]),
    /// A pong.
    Pong,
    /// The peer closes; nothing after it is looked at.
    Close(Option<u16>),
}

/// Whether to go on with the next frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    Continue,
    /// Stop after this one; the rest is kept for the next [`Inbound::feed`].
    Pause,
}

/// How far a feed came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fed {
    /// Frames handled.
    pub frames: u64,
    /// Whether it stopped because it was told to: feed again, with nothing if nothing came.
    pub paused: bool,
    /// Why the connection has to end; nothing behind this frame is looked at.
    pub violation: Option<Violation>,
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Inbound(Option<Box<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    /// Bytes not handled yet.
    unread: Vec<u8>,
    /// The unmasked fragments of a message that is not finished.
    fragments: Option<Vec<u8>>,
}

impl Inbound {
    /// Of bytes that were kept elsewhere.
    pub fn of(unread: Vec<u8>, fragments: Option<Vec<u8>>) -> Self {
        let is_empty = unread.is_empty() && fragments.is_none();
        Self((!is_empty).then(|| Box::new(Kept { unread, fragments })))
    }

    /// Bytes that are not handled yet, and those of an unfinished message.
    pub fn kept(&self) -> (&[u8], Option<&[u8]>) {
        let kept = self.0.as_deref();
        kept.map_or((&[], None), |kept| (&kept.unread, kept.fragments.as_deref()))
    }

    /// Keeps what came for later.
    pub fn keep(&mut self, input: &[u8]) {
        if !input.is_empty() {
            self.0.get_or_insert_default().unread.extend_from_slice(input);
        }
    }

    /// Handles what came. `bytes_max` bounds frames and messages.
    pub fn feed(&mut self, input: &mut [u8], bytes_max: usize, on: impl FnMut(Item<'_>) -> Flow) -> Fed {
        let mut kept = self.0.take().unwrap_or_default();
        let fed = if kept.unread.is_empty() {
            let (used, fed) = handle(input, &mut kept.fragments, bytes_max, on);
            kept.unread.extend_from_slice(input.get(used..).unwrap_or_default());
            fed
        } else {
            kept.unread.extend_from_slice(input);
            let (used, fed) = handle(&mut kept.unread, &mut kept.fragments, bytes_max, on);
            kept.unread.drain(..used);
            fed
        };
        if !kept.unread.is_empty() || kept.fragments.is_some() {
            self.0 = Some(kept);
        }
        fed
    }
}

/// Handles whole frames from the front of `bytes`; gives how many bytes they took.
fn handle(
    bytes: &mut [u8],
    fragments: &mut Option<Vec<u8>>,
    bytes_max: usize,
    mut on: impl FnMut(Item<'_>) -> Flow,
) -> (usize, Fed) {
    let mut used = 0;
    let mut fed = Fed { frames: 0, paused: false, violation: None };
    while let Some(rest) = bytes.get_mut(used..) {
        match handle_one(rest, fragments, bytes_max, &mut on) {
            Ok(None) => break,
            Ok(Some((frame_bytes, flow))) => {
                used += frame_bytes;
                fed.frames += 1;
                if flow == Flow::Pause {
                    fed.paused = true;
                    break;
                }
            }
            Err(violation) => {
                fed.violation = Some(violation);
                used = bytes.len();
                break;
            }
        }
    }
    (used, fed)
}

/// Handles the frame at the front, if it is whole; gives how many bytes it took.
fn handle_one(
    bytes: &mut [u8],
    fragments: &mut Option<Vec<u8>>,
    bytes_max: usize,
    on: &mut impl FnMut(Item<'_>) -> Flow,
) -> Result<Option<(usize, Flow)>, Violation> {
    let Some(head) = decode_head(bytes, bytes_max)? else { return Ok(None) };
    let frame_bytes = head.head_bytes + head.payload_bytes;
    let Some(payload) = bytes.get_mut(head.head_bytes..frame_bytes) else { return Ok(None) };
    fastwebsockets::unmask(payload, head.mask);
    let flow = match (head.opcode, fragments.as_mut()) {
        (Opcode::Ping, _) => on(Item::Ping(payload)),
        (Opcode::Pong, _) => on(Item::Pong),
        (Opcode::Close, _) => {
            on(Item::Close(close_code(payload)?));
            // Whatever follows a close is ignored.
            return Ok(Some((bytes.len(), Flow::Continue)));
        }
        (Opcode::Text, Some(_)) => {
            return violation(CloseCode::Protocol, "a new message inside a fragmented one");
        }
        (Opcode::Continuation, None) => {
            return violation(CloseCode::Protocol, "a continuation of nothing");
        }
        (Opcode::Text, None) if head.fin => on(Item::Text(text(payload)?)),
        (Opcode::Text, None) => {
            *fragments = Some(payload.to_vec());
            Flow::Continue
        }
        (Opcode::Continuation, Some(message)) => {
            if message.len() + payload.len() > bytes_max {
                return violation(CloseCode::TooBig, "a message is too big");
            }
            message.extend_from_slice(payload);
            if head.fin {
                let message = fragments.take().unwrap_or_default();
                on(Item::Text(text(&message)?))
            } else {
                Flow::Continue
            }
        }
    };
    Ok(Some((frame_bytes, flow)))
}

fn text(payload: &[u8]) -> Result<&str, Violation> {
    std::str::from_utf8(payload)
        .or_else(|_| violation(CloseCode::BadUtf8, "a text message that is not UTF-8"))
}

#[cfg(test)]
mod tests;
