//! WebSocket frames from a client's side, as far as a load tool needs them: bytes in, frames out. Pure.
//!
//! Frames are masked with zeros, which changes nothing; the server unmasks them all the same.

/// A frame's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opcode {
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

/// A frame that came.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) opcode: Opcode,
    pub(super) payload: &'a [u8],
}

/// Appends a client's frame.
pub(super) fn write(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    out.push(
        0x80 | match opcode {
            Opcode::Text => 1,
            Opcode::Binary => 2,
            Opcode::Close => 8,
            Opcode::Ping => 9,
            Opcode::Pong => 10,
        },
    );
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short @ ..126), _) => out.push(0x80 | short),
        (_, Ok(medium)) => {
            out.push(0xfe);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            out.push(0xff);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
}

/// The first whole frame and how many bytes it takes; `None` while it has not come whole.
pub(super) fn read(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>, String> {
    let Some(([first, second], rest)) = bytes.split_first_chunk() else { return Ok(None) };
    let opcode = match first {
        0x81 => Opcode::Text,
        0x82 => Opcode::Binary,
        0x88 => Opcode::Close,
        0x89 => Opcode::Ping,
        0x8a => Opcode::Pong,
        other => return Err(format!("the server sent a frame that begins with {other:#04x}")),
    };
    let (length, rest) = match second {
        126 => match rest.split_first_chunk::<2>() {
            Some((length, rest)) => (usize::from(u16::from_be_bytes(*length)), rest),
            None => return Ok(None),
        },
        127 => match rest.split_first_chunk::<8>() {
            Some((length, rest)) => {
                (usize::try_from(u64::from_be_bytes(*length)).unwrap_or(usize::MAX), rest)
            }
            None => return Ok(None),
        },
        length @ ..126 => (usize::from(*length), rest),
        _ => return Err("the server sent a masked frame".to_owned()),
    };
    let Some(payload) = rest.get(..length) else { return Ok(None) };
    Ok(Some((Frame { opcode, payload }, bytes.len() - rest.len() + length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_every_length_are_cut_where_they_end() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let payload = vec![b'x'; length];
            let mut bytes = Vec::new();
            write(&mut bytes, Opcode::Text, &payload);
            // As a server would send it: no mask bit, no mask.
            bytes[1] &= 0x7f;
            let head = bytes.len() - length;
            bytes.drain(head - 4..head);
            let (frame, used) = read(&bytes).unwrap().unwrap();
            assert_eq!((frame.opcode, frame.payload, used), (Opcode::Text, &*payload, bytes.len()));
            assert_eq!(read(&bytes[..bytes.len() - 1]), Ok(None));
        }
        assert!(read(&[0x81, 0x80]).is_err());
        assert!(read(&[0x03, 0x00]).is_err());
    }
}
