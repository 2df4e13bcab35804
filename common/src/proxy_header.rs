//! The PROXY header (HAProxy's `proxy-protocol.txt`, versions 1 and 2) with which a proxy begins a connection, to say
//! for whom it is. Whoever calls this has checked that the connection comes from a proxy that is believed.

use std::net::{IpAddr, SocketAddr};

use ppp::{HeaderResult, PartialResult as _, v1, v2};

/// Bytes of a header, at most: what a proxy may add to the addresses takes a few hundred.
pub const HEADER_BYTES_MAX: usize = 2_048;

/// With what a header of version 1 begins.
const V1_PREFIX: &[u8] = b"PROXY ";
/// Bytes of its line, at most (section 2.1).
const V1_BYTES_MAX: usize = 107;

/// What stands at the front of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Who the client is; `None` where the proxy speaks for itself (health checks).
    pub client: Option<SocketAddr>,
    /// Bytes of the header.
    pub bytes: usize,
}

/// No PROXY header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a PROXY header was expected")]
pub struct NotAHeader;

/// Reads the header at the front of what came; `None` while it is not whole.
pub fn parse(bytes: &[u8]) -> Result<Option<Found>, NotAHeader> {
    // The parser takes some lines that are cut short for wrong ones.
    if bytes.starts_with(V1_PREFIX) && !bytes.iter().take(V1_BYTES_MAX).any(|byte| *byte == b'\n') {
        return if bytes.len() < V1_BYTES_MAX { Ok(None) } else { Err(NotAHeader) };
    }
    let parsed = HeaderResult::parse(bytes);
    if parsed.is_incomplete() {
        return if bytes.len() < HEADER_BYTES_MAX { Ok(None) } else { Err(NotAHeader) };
    }
    let found = match parsed {
        HeaderResult::V1(Ok(header)) => Found {
            bytes: header.header.len(),
            client: match header.addresses {
                v1::Addresses::Tcp4(tcp) => Some((IpAddr::from(tcp.source_address), tcp.source_port).into()),
                v1::Addresses::Tcp6(tcp) => Some((IpAddr::from(tcp.source_address), tcp.source_port).into()),
                v1::Addresses::Unknown => None,
            },
        },
        HeaderResult::V2(Ok(header)) => Found {
            bytes: header.header.len(),
            client: match (header.command, header.addresses) {
                (v2::Command::Proxy, v2::Addresses::IPv4(ip)) => {
                    Some((IpAddr::from(ip.source_address), ip.source_port).into())
                }
                (v2::Command::Proxy, v2::Addresses::IPv6(ip)) => {
                    Some((IpAddr::from(ip.source_address), ip.source_port).into())
                }
                (v2::Command::Local, _)
                | (v2::Command::Proxy, v2::Addresses::Unspecified | v2::Addresses::Unix(_)) => None,
            },
        },
        HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => return Err(NotAHeader),
    };
    if found.bytes <= HEADER_BYTES_MAX { Ok(Some(found)) } else { Err(NotAHeader) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const V1: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n";
    const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc6\x33\x64\x01\x12\x67\x01\xbb";
    const V2_LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    const V1_SIX: &[u8] = b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n";

    #[test]
    fn both_versions_whole_and_in_parts() {
        let of = |header: &[u8], client: Option<&str>| {
            let whole = [header, b"GET / HTTP/1.1\r\n"].concat();
            let client = client.map(|client| client.parse().unwrap());
            assert_eq!(parse(&whole), Ok(Some(Found { client, bytes: header.len() })), "{header:?}");
            for cut in 1..header.len() {
                assert_eq!(parse(&header[..cut]), Ok(None), "{header:?} {cut}");
            }
        };
        of(V1, Some("192.0.2.7:4711"));
        of(V1_SIX, Some("[2001:db8::1]:1"));
        of(V2, Some("192.0.2.7:4711"));
        of(V2_LOCAL, None);
        of(b"PROXY UNKNOWN\r\n", None);
    }

    #[test]
    fn anything_else_is_refused() {
        let endless = [b"PROXY TCP4 ".as_slice(), &[b'1'; HEADER_BYTES_MAX]].concat();
        for bytes in [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", endless.as_slice(), b"PROXY TCP4 x y 1 2\r\n"] {
            assert_eq!(parse(bytes), Err(NotAHeader), "{}", String::from_utf8_lossy(bytes));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(front in 0usize..4, mut bytes: Vec<u8>) {
            let front = [b"".as_slice(), b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n", b"\r\n\r\n\0\r\nQUIT\n\x21"][front];
            bytes.splice(0..0, front.iter().copied());
            if let Ok(Some(found)) = parse(&bytes) {
                prop_assert!(found.bytes <= bytes.len());
            }
        }
    }
}
