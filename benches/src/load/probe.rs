//! The body of a measured message: which room, the how-manyeth, sent when. Found in whatever a server wraps
//! around it, so that one reader serves every dialect.

use memchr::memchr;

/// Begins a probe; no dialect's own words have it.
const MARK: u8 = b'~';
/// Mark, room, sequence number, time: in hexadecimal digits.
pub(super) const PROBE_BYTES: usize = 1 + 8 + 8 + 16;

/// See the module's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Probe {
    /// Which room, from zero.
    pub(super) room: u32,
    /// The how-manyeth message of the room, from zero.
    pub(super) seq: u32,
    /// When it was sent, in nanoseconds of the load tool's own clock.
    pub(super) sent_ns: u64,
}

impl Probe {
    /// A body of exactly so many bytes, at least [`PROBE_BYTES`]; JSON may hold it as it is.
    pub(super) fn body(self, bytes: usize) -> String {
        let mut body = format!("{}{:08x}{:08x}{:016x}", char::from(MARK), self.room, self.seq, self.sent_ns);
        body.extend(std::iter::repeat_n('x', bytes.saturating_sub(body.len())));
        body
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            room: u32::try_from(hex(bytes.get(1..9)?)?).ok()?,
            seq: u32::try_from(hex(bytes.get(9..17)?)?).ok()?,
            sent_ns: hex(bytes.get(17..PROBE_BYTES)?)?,
        })
    }
}

fn hex(digits: &[u8]) -> Option<u64> {
    let digit = |digit: u8| char::from(digit).to_digit(16).map(u64::from);
    digits.iter().try_fold(0, |number, next| Some(number << 4 | digit(*next)?))
}

/// Every probe in the payload of a frame, in order.
pub(super) fn probes(mut payload: &[u8]) -> impl Iterator<Item = Probe> {
    std::iter::from_fn(move || {
        loop {
            payload = payload.get(memchr(MARK, payload)?..)?;
            let probe = Probe::parse(payload);
            payload = payload.get(if probe.is_some() { PROBE_BYTES } else { 1 }..)?;
            if probe.is_some() {
                return probe;
            }
        }
    })
}

/// How many bytes from the front hold no probe that is cut at the end.
pub(super) fn whole_probes(bytes: &[u8]) -> usize {
    let tail = bytes.len().saturating_sub(PROBE_BYTES - 1);
    let cut = memchr(MARK, bytes.get(tail..).unwrap_or_default());
    cut.map_or(bytes.len(), |at| tail + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_is_found_in_whatever_surrounds_it() {
        let one = Probe { room: 7, seq: 1, sent_ns: u64::MAX };
        let two = Probe { room: u32::MAX, seq: 2, sent_ns: 5 };
        let body = one.body(128);
        assert_eq!(body.len(), 128);
        let payload = format!("~~~nothing~ MSG {body} {{\"x\":\"{}\"", two.body(0));
        assert_eq!(probes(payload.as_bytes()).collect::<Vec<_>>(), [one, two]);
        assert_eq!(probes(b"~0").next(), None);
        for end in 0..payload.len() {
            let (front, rest) = payload.as_bytes().split_at(whole_probes(&payload.as_bytes()[..end]));
            assert_eq!(probes(front).chain(probes(rest)).count(), 2, "cut at {end}");
        }
        assert_eq!(probes(b"").next(), None);
    }
}
