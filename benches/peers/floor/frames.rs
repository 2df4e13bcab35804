//! The bytes of RFC 6455, as far as a floor needs them.

/// The answer to `Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==`, the example of RFC 6455, section 1.3.
pub(crate) const ANSWER: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

const TEXT: u8 = 0x1;
const CLOSE: u8 = 0x8;
const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;

/// The path of a whole request and the request's length in bytes; `None` while more of it has to come.
pub(crate) fn request(input: &[u8]) -> Option<(&[u8], usize)> {
    let length = input.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    let path = input.split(|byte| *byte == b' ').nth(1)?;
    Some((path, length))
}

/// Appends every whole text of the input as a server's frame, each `pad_bytes` longer, and gives the number of bytes that
/// were whole frames. `None`: the client takes its leave, or sends something that is no frame of a client.
pub(crate) fn relay(input: &[u8], pad_bytes: usize, output: &mut Vec<u8>) -> Option<usize> {
    let mut used = 0;
    loop {
        let rest = input.get(used..)?;
        let Some((first, second)) = rest.first().zip(rest.get(1)) else { return Some(used) };
        if second & MASKED == 0 || first & 0xf == CLOSE {
            return None;
        }
        let Some((length, head)) = length(rest, second & !MASKED) else { return Some(used) };
        let Some((mask, payload)) = rest.get(head..).and_then(|body| body.split_first_chunk::<4>()) else {
            return Some(used);
        };
        let Some(payload) = payload.get(..length) else { return Some(used) };
        used += head + mask.len() + length;
        if *first == FINAL | TEXT {
            append(payload, *mask, pad_bytes, output);
        }
    }
}

/// The payload's length, and that of the head before the mask.
fn length(frame: &[u8], short: u8) -> Option<(usize, usize)> {
    let extended = frame.get(2..)?;
    match short {
        126 => Some((usize::from(u16::from_be_bytes(*extended.first_chunk()?)), 4)),
        127 => Some((usize::try_from(u64::from_be_bytes(*extended.first_chunk()?)).ok()?, 10)),
        short => Some((usize::from(short), 2)),
    }
}

fn append(payload: &[u8], mask: [u8; 4], pad_bytes: usize, output: &mut Vec<u8>) {
    let length = payload.len() + pad_bytes;
    output.push(FINAL | TEXT);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ ..126), _) => output.push(short),
        (_, Ok(length)) => {
            output.push(126);
            output.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            output.push(127);
            output.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    if mask == [0; 4] {
        output.extend_from_slice(payload);
    } else {
        output.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    }
    output.resize(output.len() + pad_bytes, b' ');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(first: u8, mask: [u8; 4], text: &[u8]) -> Vec<u8> {
        let head = match text.len() {
            length @ ..126 => vec![first, MASKED | u8::try_from(length).unwrap()],
            length => {
                [vec![first, MASKED | 0x7e], u16::try_from(length).unwrap().to_be_bytes().to_vec()].concat()
            }
        };
        let masked = text.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
        head.into_iter().chain(mask).chain(masked).collect()
    }

    #[test]
    fn a_request_is_whole_or_waited_for() {
        let whole = b"GET /room/7 HTTP/1.1\r\nHost: x\r\n\r\n";
        assert_eq!(request(whole), Some((&b"/room/7"[..], whole.len())));
        assert_eq!(request(&whole[..whole.len() - 1]), None);
    }

    #[test]
    fn whole_texts_are_relayed_wherever_the_input_is_cut() {
        let long = [b'x'; 200];
        let input = [frame(0x81, [0; 4], b"one"), frame(0x81, [1, 2, 3, 4], &long)].concat();
        let first = input.len() - 208;
        for cut in 0..=input.len() {
            let mut output = Vec::new();
            let used = relay(&input[..cut], 0, &mut output).unwrap();
            let expected = match cut {
                cut if cut < first => (0, vec![]),
                cut if cut < input.len() => (first, b"\x81\x03one".to_vec()),
                cut => (cut, [&b"\x81\x03one\x81\x7e\x00\xc8"[..], &long].concat()),
            };
            assert_eq!((used, output), expected);
        }
    }

    #[test]
    fn padding_counts_in_the_length() {
        let mut output = Vec::new();
        relay(&frame(0x81, [0; 4], &[b'x'; 125]), 3, &mut output).unwrap();
        assert_eq!(output[..4], [0x81, 126, 0, 128]);
        assert_eq!((output.len(), &output[129..]), (132, &b"   "[..]));
    }

    #[test]
    fn only_texts_are_relayed_and_a_close_ends() {
        let mut output = Vec::new();
        assert_eq!(relay(&frame(0x89, [0; 4], b"ping"), 0, &mut output), Some(10));
        assert_eq!(relay(&frame(0x88, [0; 4], b""), 0, &mut output), None);
        assert_eq!(relay(b"\x81\x03one", 0, &mut output), None);
        assert!(output.is_empty());
    }
}
