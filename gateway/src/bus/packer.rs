//! Group commit: while one entry of a shard is in flight, records gather; the next entry carries them all.
//!
//! At low load a record leaves at once; under load entries grow and the store's cost per record falls. At
//! most one entry of a shard is in flight, so entries reach the stream in the order of their sequence
//! numbers, and an entry whose outcome is unknown can be appended again before any later one.

use std::collections::VecDeque;

use hubbub_common::limits::PACK_RECORDS_MAX;

use super::Waiter;

/// Records that may gather for one shard.
pub const GATHERED_RECORDS_MAX: usize = 16 * PACK_RECORDS_MAX;
/// Bytes of records in one entry, beyond which no more are added.
const PACK_BYTES_MAX: usize = 256 * 1024;

/// An entry on its way.
#[derive(Debug, Clone)]
pub struct Pack {
    /// Rises by one with each entry of this shard.
    pub seq: u64,
    /// Encoded records.
    pub records: Vec<Vec<u8>>,
    /// Who waits for each record.
    pub waiters: Vec<Option<Waiter>>,
}

/// The records of one shard that wait for their entry.
#[derive(Debug, Default)]
pub struct Packer {
    gathered: VecDeque<(Vec<u8>, Option<Waiter>)>,
    in_flight: bool,
    seq: u64,
}

/// Too many records wait: the store can't keep up, or is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl Packer {
    /// Adds a record to the next entry.
    pub fn push(&mut self, record: Vec<u8>, waiter: Option<Waiter>) -> Result<(), Full> {
        if self.gathered.len() >= GATHERED_RECORDS_MAX {
            return Err(Full);
        }
        self.gathered.push_back((record, waiter));
        Ok(())
    }

    /// Whether nothing waits for the next entry.
    pub fn is_empty(&self) -> bool {
        self.gathered.is_empty()
    }

    /// The next entry to append, if there is one and none is in flight.
    pub fn next_pack(&mut self) -> Option<Pack> {
        if self.in_flight || self.gathered.is_empty() {
            return None;
        }
        self.in_flight = true;
        self.seq += 1;
        let mut pack = Pack { seq: self.seq, records: Vec::new(), waiters: Vec::new() };
        let mut bytes = 0;
        while pack.records.len() < PACK_RECORDS_MAX && bytes < PACK_BYTES_MAX {
            let Some((record, waiter)) = self.gathered.pop_front() else { break };
            bytes += record.len();
            pack.records.push(record);
            pack.waiters.push(waiter);
        }
        Some(pack)
    }

    /// The number of the entry in flight.
    pub fn in_flight(&self) -> Option<u64> {
        self.in_flight.then_some(self.seq)
    }

    /// The entry in flight has met its fate.
    pub fn landed(&mut self) {
        self.in_flight = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_gather_while_an_entry_is_in_flight() {
        let mut packer = Packer::default();
        assert!(packer.next_pack().is_none());
        packer.push(vec![1], None).unwrap();
        let first = packer.next_pack().unwrap();
        assert_eq!((first.seq, first.records), (1, vec![vec![1]]));
        packer.push(vec![2], None).unwrap();
        packer.push(vec![3], None).unwrap();
        assert!(packer.next_pack().is_none());
        packer.landed();
        let second = packer.next_pack().unwrap();
        assert_eq!((second.seq, second.records), (2, vec![vec![2], vec![3]]));
    }

    #[test]
    fn an_entry_holds_at_most_256_records_and_the_queue_is_bounded() {
        let mut packer = Packer::default();
        for _ in 0..GATHERED_RECORDS_MAX {
            packer.push(vec![0], None).unwrap();
        }
        assert_eq!(packer.push(vec![0], None), Err(Full));
        assert_eq!(packer.next_pack().unwrap().records.len(), PACK_RECORDS_MAX);
    }

    #[test]
    fn large_records_make_small_entries() {
        let mut packer = Packer::default();
        for _ in 0..10 {
            packer.push(vec![0; PACK_BYTES_MAX / 2], None).unwrap();
        }
        assert_eq!(packer.next_pack().unwrap().records.len(), 2);
    }
}
