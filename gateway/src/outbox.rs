//! The bounded queue of frames that wait for one socket.
//!
//! Frames are shared, so a queue of them costs little; what is bounded is the memory that a slow reader would
//! keep alive. Bytes count until they are written; those up to the end of a replay do not count, because whoever
//! has only just come is not slow, and the window holds the same bytes anyway.

use std::collections::VecDeque;

use bytes::{Buf as _, Bytes};

/// Frames written by one call, at most (Linux takes up to 1,024).
pub const BATCH_FRAMES_MAX: usize = 64;

/// Frames for which an outbox that is kept for others may have room.
const SMALL_FRAMES_MAX: usize = 8;

/// See the module's text.
#[derive(Debug, Default)]
pub struct Outbox {
    frames: VecDeque<Bytes>,
    bytes: u32,
    /// Of these, how many stand in front of the end of the last replay.
    uncounted: u32,
    /// The front frame is written in part: the rest has to follow, whatever happens.
    is_cut: bool,
    /// Since when nothing of it went, in seconds of the core's wheel, as far as that was looked at.
    stuck_since_s: Option<u32>,
}

impl Outbox {
    /// Of frames that waited elsewhere. They do not count, as those of a replay do not.
    pub fn of(frames: Vec<Bytes>, is_cut: bool) -> Self {
        let bytes = count(frames.iter().map(Bytes::len).sum());
        Self { frames: frames.into(), bytes, uncounted: bytes, is_cut, stuck_since_s: None }
    }

    /// Every frame that waits, oldest first.
    pub fn all(&self) -> impl Iterator<Item = &Bytes> {
        self.frames.iter()
    }

    /// Whether the first of them is written in part.
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Adds a frame; gives the bytes that count as waiting now.
    pub fn push(&mut self, frame: Bytes) -> usize {
        self.bytes = self.bytes.saturating_add(count(frame.len()));
        self.frames.push_back(frame);
        self.bytes()
    }

    /// Adds a frame of a replay; gives the bytes that do not count now.
    pub fn push_replay(&mut self, frame: Bytes) -> usize {
        self.push(frame);
        self.uncounted = self.bytes;
        self.uncounted as usize
    }

    /// The next frames to write, oldest first; they still count as waiting.
    pub fn next_batch(&self) -> impl ExactSizeIterator<Item = &Bytes> {
        self.frames.iter().take(BATCH_FRAMES_MAX)
    }

    /// So many bytes of a batch were written: whole frames go, the rest of a cut one stays in front. Gives the
    /// number of frames that went, and whether some of the batch stayed.
    pub fn written(&mut self, mut bytes: usize) -> (u64, bool) {
        let batch = self.next_batch().len() as u64;
        self.bytes = self.bytes.saturating_sub(count(bytes));
        self.uncounted = self.uncounted.saturating_sub(count(bytes));
        if bytes > 0 {
            self.stuck_since_s = None;
        }
        let mut frames = 0;
        self.is_cut = false;
        while let Some(front) = self.frames.front_mut() {
            if bytes < front.len() {
                front.advance(bytes);
                self.is_cut = true;
                break;
            }
            bytes -= front.len();
            self.frames.pop_front();
            frames += 1;
            if bytes == 0 {
                break;
            }
        }
        (frames, frames < batch)
    }

    /// For how many seconds nothing of it went; counted from when it was first asked.
    pub fn stuck_s(&mut self, now_s: u32) -> u32 {
        now_s.saturating_sub(*self.stuck_since_s.get_or_insert(now_s))
    }

    /// Drops frames that have not begun to be written.
    pub fn clear(&mut self) {
        self.frames.truncate(usize::from(self.is_cut));
        self.bytes = count(self.frames.iter().map(Bytes::len).sum());
        self.uncounted = 0;
    }

    /// Frames that wait, the one that is written in part among them.
    pub fn frames(&self) -> u64 {
        self.frames.len() as u64
    }

    /// Bytes that wait, of replays too.
    pub fn queued_bytes(&self) -> u64 {
        self.bytes.into()
    }

    /// Whether its memory is worth keeping for another connection: after a backlog it is too large.
    pub fn is_small(&self) -> bool {
        self.frames.capacity() <= SMALL_FRAMES_MAX
    }

    /// Bytes that count as waiting.
    pub fn bytes(&self) -> usize {
        self.bytes.saturating_sub(self.uncounted) as usize
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }
}

/// The bound of an outbox is far below four gigabytes.
fn count(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However the kernel cuts the writes, the bytes come out whole and in order.
        #[test]
        fn short_writes_lose_nothing(
            frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..20), 1..200),
            mut cuts in proptest::collection::vec(1usize..100, 1..50),
        ) {
            let mut outbox = Outbox::default();
            for frame in &frames {
                outbox.push(Bytes::copy_from_slice(frame));
            }
            let expected = frames.concat();
            prop_assert_eq!(outbox.bytes(), expected.len());
            let mut out = Vec::new();
            let mut frames_written = 0;
            while !outbox.is_empty() {
                cuts.rotate_left(1);
                let batch: Vec<u8> = outbox.next_batch().flat_map(|frame| frame.to_vec()).collect();
                let written = cuts[0].min(batch.len());
                out.extend_from_slice(&batch[..written]);
                frames_written += outbox.written(written).0;
            }
            prop_assert_eq!(out, expected);
            prop_assert_eq!((outbox.bytes(), frames_written), (0, frames.len() as u64));
        }
    }

    #[test]
    fn what_a_replay_waits_for_does_not_count() {
        let mut outbox = Outbox::default();
        assert_eq!(outbox.push(Bytes::from_static(b"live")), 4);
        assert_eq!(outbox.push_replay(Bytes::from_static(b"replayed")), 12);
        assert_eq!(outbox.push_replay(Bytes::from_static(b"replayed")), 20);
        assert_eq!(outbox.push(Bytes::from_static(b"live")), 4);
        outbox.written(14);
        assert_eq!(outbox.bytes(), 4);
        outbox.written(8);
        assert_eq!((outbox.bytes(), outbox.is_empty()), (2, false));
        outbox.written(2);
        assert!(outbox.is_empty());
    }

    #[test]
    fn it_is_stuck_until_something_goes() {
        let mut outbox = Outbox::default();
        outbox.push_replay(Bytes::from_static(b"replayed"));
        assert_eq!((outbox.stuck_s(10), outbox.stuck_s(25)), (0, 15));
        outbox.written(0);
        assert_eq!(outbox.stuck_s(30), 20);
        outbox.written(1);
        assert_eq!((outbox.stuck_s(40), outbox.stuck_s(41)), (0, 1));
    }

    #[test]
    fn what_is_written_in_part_is_not_dropped() {
        let mut outbox = Outbox::default();
        for _ in 0..5 {
            outbox.push(Bytes::from_static(b"abc"));
        }
        assert_eq!(outbox.written(4), (1, true));
        outbox.clear();
        assert_eq!((outbox.frames(), outbox.bytes()), (1, 2));
        assert_eq!(outbox.written(2), (1, false));
        outbox.push(Bytes::from_static(b"abc"));
        outbox.clear();
        assert!(outbox.is_empty());
    }
}
