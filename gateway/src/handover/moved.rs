//! A connection on its way from one process to the next.

use std::net::IpAddr;
use std::os::fd::OwnedFd;

use bytes::Bytes;
use hubbub_common::ids::RoomId;
use serde::{Deserialize, Serialize};

use crate::outbox::Outbox;
use crate::session::Portrait;
use crate::ws::Inbound;

/// All that is known of a connection but its bytes.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// Its id.
    pub id: u64,
    /// Whose it is, and what it may do.
    pub session: Portrait,
    /// In which it is.
    pub rooms: Vec<RoomId>,
    /// Where addresses are limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// How its bytes are to be cut.
    #[serde(default, skip_serializing_if = "Cuts::are_none")]
    pub cuts: Cuts,
}

/// Lengths of what waits, in the order of the bytes.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cuts {
    /// Not handled yet.
    unread: usize,
    /// Of a message that is not finished.
    fragments: Option<usize>,
    /// Frames for the client.
    outbox: Vec<usize>,
    /// Whether the first of these has begun to be written.
    is_cut: bool,
}

impl Cuts {
    fn are_none(&self) -> bool {
        *self == Self::default()
    }
}

/// What waits at a connection, on either way.
#[derive(Debug, Default)]
pub struct Waiting {
    /// From the client.
    pub inbound: Inbound,
    /// For the client.
    pub outbox: Option<Box<Outbox>>,
}

/// A connection that arrives.
#[derive(Debug)]
pub struct Arrival {
    /// Its socket.
    pub socket: OwnedFd,
    /// What is known of it.
    pub moved: Moved,
    /// What waits.
    pub waiting: Waiting,
}

/// Appends what waits to `bytes`.
pub(crate) fn pack(inbound: &Inbound, outbox: Option<&Outbox>, bytes: &mut Vec<u8>) -> Cuts {
    let (unread, fragments) = inbound.kept();
    bytes.extend_from_slice(unread);
    bytes.extend_from_slice(fragments.unwrap_or_default());
    let mut cuts = Cuts { unread: unread.len(), fragments: fragments.map(<[u8]>::len), ..Cuts::default() };
    if let Some(outbox) = outbox {
        cuts.is_cut = outbox.is_cut();
        for frame in outbox.all() {
            bytes.extend_from_slice(frame);
            cuts.outbox.push(frame.len());
        }
    }
    cuts
}

/// Takes it off `bytes` again; `None` where they are too few.
pub(crate) fn unpack(cuts: &Cuts, bytes: &mut &[u8]) -> Option<Waiting> {
    let mut take = |length: usize| bytes.split_off(..length);
    let unread = take(cuts.unread)?.to_vec();
    let fragments = match cuts.fragments {
        Some(length) => Some(take(length)?.to_vec()),
        None => None,
    };
    let mut frames = Vec::with_capacity(cuts.outbox.len());
    for length in &cuts.outbox {
        frames.push(Bytes::copy_from_slice(take(*length)?));
    }
    let outbox = (!frames.is_empty()).then(|| Box::new(Outbox::of(frames, cuts.is_cut)));
    Some(Waiting { inbound: Inbound::of(unread, fragments), outbox })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_arrives_as_it_was() {
        let mut bytes = Vec::new();
        let idle = pack(&Inbound::default(), None, &mut bytes);
        let busy = Inbound::of(b"half a fra".to_vec(), Some(b"fragment".to_vec()));
        let mut outbox = Outbox::default();
        outbox.push(Bytes::from_static(b"first"));
        outbox.push(Bytes::from_static(b"second"));
        outbox.written(2);
        let busy = pack(&busy, Some(&outbox), &mut bytes);
        assert!(idle.are_none());

        let mut rest = bytes.as_slice();
        let waiting = unpack(&idle, &mut rest).unwrap();
        assert!(waiting.outbox.is_none() && waiting.inbound.kept() == (&[], None));
        let mut waiting = unpack(&busy, &mut rest).unwrap();
        assert!(rest.is_empty());
        assert_eq!(waiting.inbound.kept(), (&b"half a fra"[..], Some(&b"fragment"[..])));
        let outbox = waiting.outbox.as_mut().unwrap();
        assert_eq!(outbox.all().collect::<Vec<_>>(), ["rst", "second"]);
        // What has begun is written to its end, whatever happens.
        outbox.clear();
        assert_eq!(outbox.all().collect::<Vec<_>>(), ["rst"]);
        assert!(unpack(&busy, &mut &bytes[..bytes.len() - 1]).is_none());
    }
}
