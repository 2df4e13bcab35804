use proptest::prelude::*;

use super::*;

const MAX: usize = 1_000;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Owned {
    Text(String),
    Ping(Vec<u8>),
    Pong,
    Close(Option<u16>),
}

fn own(item: &Item<'_>) -> Owned {
    match item {
        Item::Text(text) => Owned::Text((*text).to_owned()),
        Item::Ping(bytes) => Owned::Ping(bytes.to_vec()),
        Item::Pong => Owned::Pong,
        Item::Close(code) => Owned::Close(*code),
    }
}

/// Feeds the chunks one by one, pausing after every item if told so.
fn feed(chunks: &[&[u8]], pause: bool) -> Result<Vec<Owned>, Violation> {
    let mut inbound = Inbound::default();
    let mut items = Vec::new();
    for chunk in chunks {
        let mut chunk = chunk.to_vec();
        loop {
            let fed = inbound.feed(&mut chunk, MAX, |item| {
                items.push(own(&item));
                if pause { Flow::Pause } else { Flow::Continue }
            });
            if let Some(violation) = fed.violation {
                return Err(violation);
            }
            if !fed.paused {
                break;
            }
            chunk.clear();
        }
    }
    Ok(items)
}

/// A masked frame with the given first byte.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    let len = payload.len();
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(len @ 0..126), _) => out.push(0x80 | len),
        (_, Ok(len)) => {
            out.push(0xfe);
            out.extend_from_slice(&len.to_be_bytes());
        }
        _ => {
            out.push(0xff);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    let mask = [0x12, 0x34, 0x56, 0x78];
    out.extend_from_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}

#[test]
fn each_violation_has_its_close_code() {
    let check = |bytes: &[u8], code: CloseCode| {
        assert_eq!(feed(&[bytes], false).unwrap_err().code, code, "{bytes:02x?}");
    };
    check(&[0x81, 0x02, b'h', b'i'], CloseCode::Protocol);
    check(&frame(0xc1, b"hi"), CloseCode::Protocol);
    check(&frame(0x82, b"hi"), CloseCode::Unsupported);
    check(&frame(0x83, b"hi"), CloseCode::Protocol);
    check(&frame(0x8b, b"hi"), CloseCode::Protocol);
    check(&frame(0x09, b"hi"), CloseCode::Protocol);
    check(&frame(0x89, &[0; 126]), CloseCode::Protocol);
    check(&frame(0x80, b"hi"), CloseCode::Protocol);
    check(&[frame(0x01, b"a"), frame(0x81, b"b")].concat(), CloseCode::Protocol);
    check(&frame(0x88, &[3]), CloseCode::Protocol);
    for code in [0u16, 999, 1004, 1005, 1006, 1015, 2999, 5000] {
        check(&frame(0x88, &code.to_be_bytes()), CloseCode::Protocol);
    }
    check(&frame(0x88, &[0x03, 0xe8, 0xff]), CloseCode::BadUtf8);
    check(&frame(0x81, &[0xff]), CloseCode::BadUtf8);
    check(&[frame(0x01, &[0xc3]), frame(0x80, &[0xc3])].concat(), CloseCode::BadUtf8);
    // Lengths in a longer form than needed, and past 63 bits.
    check(&[0x81, 0xfe, 0, 5, 0, 0, 0, 0], CloseCode::Protocol);
    check(&[0x81, 0xff, 0, 0, 0, 0, 0, 0, 1, 0], CloseCode::Protocol);
    check(&[0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0], CloseCode::Protocol);
    // Too big, said by the head alone.
    check(&[0x81, 0xfe, 0x03, 0xe9], CloseCode::TooBig);
    check(&[0x81, 0xff, 0, 0, 0, 1, 0, 0, 0, 0], CloseCode::TooBig);
    check(&[frame(0x01, &[b'a'; 600]), frame(0x80, &[b'a'; 600])].concat(), CloseCode::TooBig);
}

#[test]
fn a_character_may_be_cut_by_a_fragment() {
    let bytes = [frame(0x01, &[0xc3]), frame(0x89, b"p"), frame(0x80, &[0xa9])].concat();
    assert_eq!(feed(&[&bytes], false).unwrap(), [Owned::Ping(b"p".to_vec()), Owned::Text("é".into())]);
}

#[test]
fn nothing_after_a_close_counts() {
    let bytes = [frame(0x88, &[0x03, 0xe8, b'x']), frame(0x83, b"")].concat();
    assert_eq!(feed(&[&bytes], false).unwrap(), [Owned::Close(Some(1000))]);
    assert_eq!(feed(&[&frame(0x88, b"")], false).unwrap(), [Owned::Close(None)]);
}

#[test]
fn an_idle_connection_keeps_nothing() {
    let mut inbound = Inbound::default();
    let mut bytes = frame(0x81, b"hello");
    assert_eq!(inbound.feed(&mut bytes, MAX, |_| Flow::Continue).violation, None);
    assert!(inbound.0.is_none());
    assert_eq!(size_of::<Inbound>(), 8);
}

fn message() -> impl Strategy<Value = (Vec<u8>, Vec<Owned>)> {
    let text = proptest::collection::vec(".{0,60}", 1..4).prop_map(|parts| {
        let whole = parts.concat();
        let count = parts.len();
        let frames = parts.iter().enumerate().flat_map(|(n, part)| {
            let first = u8::from(n == 0) | if n + 1 == count { 0x80 } else { 0 };
            frame(first, part.as_bytes())
        });
        (frames.collect(), vec![Owned::Text(whole)])
    });
    let ping = proptest::collection::vec(any::<u8>(), 0..126)
        .prop_map(|payload| (frame(0x89, &payload), vec![Owned::Ping(payload)]));
    prop_oneof![text, ping, Just((frame(0x8a, b""), vec![Owned::Pong]))]
}

proptest! {
    #[test]
    fn however_the_bytes_are_cut_the_items_are_the_same(
        messages in proptest::collection::vec(message(), 1..8),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
        pause: bool,
    ) {
        let bytes: Vec<u8> = messages.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
        let expected: Vec<Owned> = messages.into_iter().flat_map(|(_, items)| items).collect();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        prop_assert_eq!(feed(&chunks, pause).unwrap(), expected);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = feed(&[&bytes], false);
    }

    /// Two codecs that share no code agree.
    #[test]
    fn another_implementation_writes_what_we_read(texts in proptest::collection::vec(".{0,200}", 1..6)) {
        use tokio_tungstenite::tungstenite::{Message, WebSocket, protocol::Role};
        let mut client = WebSocket::from_raw_socket(std::io::Cursor::new(Vec::new()), Role::Client, None);
        for text in &texts {
            client.send(Message::text(text.clone())).unwrap();
        }
        let bytes = client.get_ref().get_ref().clone();
        let expected: Vec<Owned> = texts.into_iter().map(Owned::Text).collect();
        prop_assert_eq!(feed(&[&bytes], false).unwrap(), expected);
    }
}
