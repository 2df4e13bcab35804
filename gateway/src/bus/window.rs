//! The recent frames of the shards that this gateway reads, for clients that resume.
//!
//! Bounded by time and bytes; the oldest frame goes first, whatever its room. A room is remembered after its
//! frames are gone, because `evicted_to` (the newest event that is no longer here) tells a client that missed
//! nothing from one that missed something. When too many rooms are remembered, all without frames are
//! forgotten and `forgotten_to` answers for them: too cautiously, never wrongly.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use hubbub_common::ids::{MessageId, RoomId};

/// Rooms remembered without frames.
const QUIET_ROOMS_MAX: usize = 1 << 18;

/// See the module's text.
#[derive(Debug)]
pub struct Window {
    rooms: HashMap<RoomId, Recent>,
    oldest_first: VecDeque<(MessageId, RoomId)>,
    bytes: usize,
    bytes_max: usize,
    quiet_rooms: usize,
    forgotten_to: MessageId,
}

#[derive(Debug)]
struct Recent {
    last: MessageId,
    evicted_to: MessageId,
    frames: VecDeque<(MessageId, Bytes)>,
}

impl Window {
    /// Empty, holding at most this many bytes of frames.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            rooms: HashMap::new(),
            oldest_first: VecDeque::new(),
            bytes: 0,
            bytes_max,
            quiet_rooms: 0,
            forgotten_to: MessageId::ZERO,
        }
    }

    /// Adds the newest event of a room. `read_from` is where reading of its shard began: what the room had
    /// before that is not here.
    pub fn push(&mut self, room: RoomId, id: MessageId, frame: Bytes, read_from: MessageId) {
        self.bytes += frame.len();
        self.oldest_first.push_back((id, room));
        match self.rooms.get_mut(&room) {
            Some(recent) => {
                self.quiet_rooms -= usize::from(recent.frames.is_empty());
                recent.last = id;
                recent.frames.push_back((id, frame));
            }
            None => {
                let evicted_to = read_from.max(self.forgotten_to);
                self.rooms.insert(room, Recent { last: id, evicted_to, frames: [(id, frame)].into() });
            }
        }
        while self.bytes > self.bytes_max {
            self.evict_oldest();
        }
    }

    /// Notes the newest event of a room that this gateway has not read anything of. `told_to` is up to where
    /// whoever tells knows every event: where that leaves out some of what was not read here, `last` may not be
    /// the newest.
    pub fn learn_last(&mut self, room: RoomId, last: MessageId, told_to: MessageId, read_from: MessageId) {
        let not_here = read_from.max(self.forgotten_to);
        let evicted_to = if told_to >= not_here { last } else { last.max(not_here) };
        let quiet_rooms = &mut self.quiet_rooms;
        self.rooms.entry(room).or_insert_with(|| {
            *quiet_rooms += 1;
            Recent { last, evicted_to, frames: VecDeque::new() }
        });
        if self.quiet_rooms > QUIET_ROOMS_MAX {
            self.forget_quiet_rooms();
        }
    }

    /// Events up to `to` may be missing from these rooms, whatever was thought before.
    pub fn raise(&mut self, to: MessageId, is_meant: impl Fn(RoomId) -> bool) {
        for (_, recent) in self.rooms.iter_mut().filter(|(room, _)| is_meant(**room)) {
            recent.evicted_to = recent.evicted_to.max(to);
        }
    }

    /// Forgets these rooms altogether: what is here of them is not what the stream holds.
    pub fn forget(&mut self, is_meant: impl Fn(RoomId) -> bool) {
        for (_, recent) in self.rooms.extract_if(|room, _| is_meant(*room)) {
            self.bytes -= recent.frames.iter().map(|(_, frame)| frame.len()).sum::<usize>();
            self.quiet_rooms -= usize::from(recent.frames.is_empty());
        }
        self.oldest_first.retain(|(_, room)| !is_meant(*room));
    }

    /// The newest event of a room that may not be here.
    pub fn evicted_to(&self, room: RoomId) -> Option<MessageId> {
        self.rooms.get(&room).map(|recent| recent.evicted_to)
    }

    /// Whether the newest event of a room is known.
    pub fn knows(&self, room: RoomId) -> bool {
        self.rooms.contains_key(&room)
    }

    /// The newest event of a room; zero where none is known.
    pub fn last(&self, room: RoomId) -> MessageId {
        self.rooms.get(&room).map_or(MessageId::ZERO, |recent| recent.last)
    }

    /// The frames of a room after `since`: `None` where some of them may be gone.
    pub fn replay(&self, room: RoomId, since: MessageId) -> Option<Vec<Bytes>> {
        let recent = self.rooms.get(&room).filter(|recent| since >= recent.evicted_to)?;
        let first = recent.frames.partition_point(|(id, _)| *id <= since);
        Some(recent.frames.range(first..).map(|(_, frame)| frame.clone()).collect())
    }

    /// The frame of an event.
    pub fn find(&self, room: RoomId, id: MessageId) -> Option<&Bytes> {
        let frames = &self.rooms.get(&room)?.frames;
        let place = frames.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        frames.get(place).map(|(_, frame)| frame)
    }

    /// Lets go of frames older than this.
    pub fn evict_before(&mut self, horizon: MessageId) {
        while self.oldest_first.front().is_some_and(|(id, _)| *id < horizon) {
            self.evict_oldest();
        }
    }

    /// Bytes of the frames held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Number of frames held.
    pub fn frames(&self) -> usize {
        self.oldest_first.len()
    }

    fn evict_oldest(&mut self) {
        let Some((_, room)) = self.oldest_first.pop_front() else { return };
        let Some(recent) = self.rooms.get_mut(&room) else { return };
        let Some((id, frame)) = recent.frames.pop_front() else { return };
        self.bytes -= frame.len();
        recent.evicted_to = recent.evicted_to.max(id);
        self.quiet_rooms += usize::from(recent.frames.is_empty());
    }

    fn forget_quiet_rooms(&mut self) {
        let forgotten_to = &mut self.forgotten_to;
        self.rooms.retain(|_, recent| {
            let keep = !recent.frames.is_empty();
            if !keep {
                *forgotten_to = (*forgotten_to).max(recent.last);
            }
            keep
        });
        self.quiet_rooms = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(n: u64) -> MessageId {
        MessageId::new(n).unwrap()
    }
    fn room(n: u64) -> RoomId {
        RoomId::new(n).unwrap()
    }
    fn frame(n: u64) -> Bytes {
        Bytes::copy_from_slice(&n.to_be_bytes())
    }

    #[test]
    fn what_came_before_reading_began_is_not_here() {
        let mut window = Window::new(1_000);
        window.push(room(1), id(20), frame(20), id(10));
        assert_eq!((window.last(room(1)), window.replay(room(1), id(9))), (id(20), None));
        assert_eq!((window.last(room(1)), window.replay(room(1), id(10))), (id(20), Some(vec![frame(20)])));
        assert_eq!((window.last(room(1)), window.replay(room(1), id(20))), (id(20), Some(vec![])));
    }

    #[test]
    fn a_quiet_room_replays_nothing_to_a_client_that_missed_nothing() {
        let mut window = Window::new(1_000);
        window.learn_last(room(1), id(5), id(10), id(10));
        assert_eq!((window.last(room(1)), window.replay(room(1), id(5))), (id(5), Some(vec![])));
        assert_eq!((window.last(room(1)), window.replay(room(1), id(4))), (id(5), None));
        window.push(room(1), id(7), frame(7), id(6));
        assert_eq!((window.last(room(1)), window.replay(room(1), id(5))), (id(7), Some(vec![frame(7)])));
        window.evict_before(id(100));
        assert_eq!((window.last(room(1)), window.replay(room(1), id(7))), (id(7), Some(vec![])));
        assert_eq!((window.last(room(1)), window.replay(room(1), id(5))), (id(7), None));
        assert_eq!((window.bytes(), window.frames()), (0, 0));
    }

    #[test]
    fn forgotten_rooms_are_answered_for_cautiously() {
        let mut window = Window::new(1_000_000);
        window.learn_last(room(1), id(50), id(50), id(0));
        for n in 0..QUIET_ROOMS_MAX as u64 {
            window.learn_last(room(n + 2), id(3), id(50), id(0));
        }
        assert!(!window.knows(room(1)));
        window.push(room(1), id(60), frame(60), id(0));
        assert_eq!((window.last(room(1)), window.replay(room(1), id(49))), (id(60), None));
        assert_eq!((window.last(room(1)), window.replay(room(1), id(50))), (id(60), Some(vec![frame(60)])));
    }

    #[test]
    fn who_tells_of_less_than_was_not_read_is_not_believed() {
        let mut window = Window::new(1_000);
        // Reading began after 20; the teller knows events up to 15 only.
        window.learn_last(room(1), id(5), id(15), id(20));
        assert_eq!((window.last(room(1)), window.replay(room(1), id(5))), (id(5), None));
        assert_eq!((window.last(room(1)), window.replay(room(1), id(20))), (id(5), Some(vec![])));
        window.learn_last(room(2), id(5), id(20), id(20));
        assert_eq!((window.last(room(2)), window.replay(room(2), id(5))), (id(5), Some(vec![])));
    }

    #[test]
    fn rooms_with_a_gap_are_replayed_from_its_end_only() {
        let mut window = Window::new(1_000);
        for n in 1..=3 {
            window.push(room(1), id(n), frame(n), id(0));
            window.push(room(2), id(n + 10), frame(n), id(0));
        }
        window.raise(id(5), |of| of == room(1));
        window.push(room(1), id(6), frame(6), id(0));
        assert_eq!((window.last(room(1)), window.replay(room(1), id(4))), (id(6), None));
        assert_eq!((window.last(room(1)), window.replay(room(1), id(5))), (id(6), Some(vec![frame(6)])));
        assert_eq!((window.last(room(2)), window.replay(room(2), id(12))), (id(13), Some(vec![frame(3)])));
        // Letting go of the frames before the gap does not bring them back.
        window.evict_before(id(3));
        assert_eq!((window.last(room(1)), window.replay(room(1), id(4))), (id(6), None));
    }

    #[test]
    fn a_forgotten_room_leaves_nothing() {
        let mut window = Window::new(1_000);
        window.learn_last(room(3), id(1), id(1), id(0));
        for n in 1..=3 {
            window.push(room(1), id(n), frame(n), id(0));
            window.push(room(2), id(n), frame(n), id(0));
        }
        window.forget(|of| of != room(2));
        assert!(!window.knows(room(1)) && !window.knows(room(3)));
        assert_eq!((window.bytes(), window.frames()), (3 * frame(1).len(), 3));
        // Ids may start again below those that were there.
        window.push(room(1), id(1), frame(7), id(0));
        window.evict_before(id(100));
        assert_eq!((window.bytes(), window.frames(), window.quiet_rooms), (0, 0, 2));
    }

    proptest! {
        /// Whatever is evicted, a replay is exactly what followed, or refused.
        #[test]
        fn a_replay_is_whole_or_refused(
            events in proptest::collection::vec(1u64..4, 1..60),
            bytes_max in 0usize..300,
            horizon in 0u64..60,
            asked_room in 1u64..4,
            since in 0u64..70,
        ) {
            let mut window = Window::new(bytes_max);
            let mut all = Vec::new();
            for (n, r) in events.iter().enumerate() {
                let n = n as u64 + 1;
                window.push(room(*r), id(n), frame(n), MessageId::ZERO);
                all.push((*r, n));
            }
            window.evict_before(id(horizon));
            prop_assert!(window.bytes() <= bytes_max);
            let (last, frames) = (window.last(room(asked_room)), window.replay(room(asked_room), id(since)));
            let of_room: Vec<_> = all.iter().filter(|(r, _)| *r == asked_room).map(|(_, n)| *n).collect();
            prop_assert_eq!(last.get(), of_room.last().copied().unwrap_or(0));
            if let Some(frames) = frames {
                let expected: Vec<_> = of_room.into_iter().filter(|n| *n > since).map(frame).collect();
                prop_assert_eq!(frames, expected);
            }
        }
    }
}
