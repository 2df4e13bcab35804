//! Who has to receive what, and what became of it: lost, doubled, out of order, and how long it took. Pure.
//!
//! Each room has one publisher, which numbers its messages; every seat (a connection in a room) must see those
//! numbers rise one by one.

use hdrhistogram::Histogram;

use super::probe::Probe;

/// Latencies beyond a minute count as a minute.
const LATENCY_MAX_NS: u64 = 60_000_000_000;

/// Which connections sit in which rooms: rooms × members seats, dealt out to the connections in turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seating {
    pub(super) connections: usize,
    pub(super) rooms: usize,
    pub(super) members: usize,
}

impl Seating {
    /// Checks that every connection has a seat and none sits twice in a room.
    pub(super) fn new(connections: usize, rooms: usize, members: usize) -> Result<Self, String> {
        let seats = rooms.saturating_mul(members);
        if members > connections {
            return Err(format!("a room of {members} needs as many connections, got {connections}"));
        }
        if !seats.is_multiple_of(connections) || seats == 0 {
            return Err(format!(
                "{rooms} rooms of {members} do not fill {connections} connections evenly: rooms times members must be a multiple of connections"
            ));
        }
        Ok(Self { connections, rooms, members })
    }

    /// The rooms of a connection, in the order of its seats.
    pub(super) fn rooms_of(self, connection: usize) -> impl Iterator<Item = usize> {
        (connection..self.rooms * self.members).step_by(self.connections).map(move |seat| seat / self.members)
    }

    /// The connection that publishes to a room.
    pub(super) fn publisher_of(self, room: usize) -> usize {
        room * self.members % self.connections
    }

    /// The seat of a connection in a room; `None` where it has none.
    fn seat(self, connection: usize, room: usize) -> Option<usize> {
        let first = room * self.members;
        let offset = (connection + self.connections - first % self.connections) % self.connections;
        (offset < self.members && room < self.rooms).then_some(first + offset)
    }
}

/// What went wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub(super) struct Faults {
    /// Never came.
    pub(super) lost: u64,
    /// Came again.
    pub(super) doubled: u64,
    /// Came after a later one.
    pub(super) out_of_order: u64,
    /// Came to somebody who is not in the room.
    pub(super) misdelivered: u64,
}

impl Faults {
    pub(super) fn none(self) -> bool {
        self == Self::default()
    }
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Ledger {
    seating: Seating,
    /// By seat: the next number expected, and how many before it have not come.
    seats: Vec<(u32, u32)>,
    /// By room: messages sent.
    published: Vec<u32>,
    pub(super) deliveries: u64,
    faults: Faults,
    pub(super) latency_ns: Histogram<u64>,
}

impl Ledger {
    pub(super) fn new(seating: Seating) -> Result<Self, String> {
        Ok(Self {
            seating,
            seats: vec![(0, 0); seating.rooms * seating.members],
            published: vec![0; seating.rooms],
            deliveries: 0,
            faults: Faults::default(),
            latency_ns: Histogram::new_with_bounds(1_000, LATENCY_MAX_NS, 3)
                .map_err(|error| error.to_string())?,
        })
    }

    /// A message to a room is about to be sent: its number.
    pub(super) fn publish(&mut self, room: usize) -> u32 {
        self.published.get_mut(room).map_or(0, |published| {
            *published += 1;
            *published - 1
        })
    }

    /// A message has come.
    pub(super) fn deliver(&mut self, connection: usize, probe: Probe, now_ns: u64) {
        let seat = self.seating.seat(connection, probe.room as usize);
        let Some((expected, missing)) = seat.and_then(|seat| self.seats.get_mut(seat)) else {
            self.faults.misdelivered += 1;
            return;
        };
        if probe.seq >= *expected {
            *missing += probe.seq - *expected;
            *expected = probe.seq + 1;
        } else if *missing > 0 {
            *missing -= 1;
            self.faults.out_of_order += 1;
        } else {
            self.faults.doubled += 1;
            return;
        }
        self.deliveries += 1;
        self.latency_ns.saturating_record(now_ns.saturating_sub(probe.sent_ns));
    }

    /// Messages sent to all rooms.
    pub(super) fn published(&self) -> u64 {
        self.published.iter().map(|count| u64::from(*count)).sum()
    }

    /// Deliveries that are still to come.
    pub(super) fn outstanding(&self) -> u64 {
        (self.published() * self.seating.members as u64).saturating_sub(self.deliveries)
    }

    /// The faults so far, with everything that has not come counted as lost.
    pub(super) fn faults(&self) -> Faults {
        let mut faults = self.faults;
        for (seat, (expected, missing)) in self.seats.iter().enumerate() {
            let published = self.published.get(seat / self.seating.members).copied().unwrap_or(0);
            faults.lost += u64::from(published.saturating_sub(*expected) + missing);
        }
        faults
    }

    /// Forgets latencies measured so far.
    pub(super) fn reset_latency(&mut self) {
        self.latency_ns.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seat_is_found_again() {
        for (connections, rooms, members) in [(10, 1, 10), (10, 5, 2), (10, 15, 4), (6, 4, 3)] {
            let seating = Seating::new(connections, rooms, members).unwrap();
            let mut seats = std::collections::BTreeSet::new();
            for connection in 0..connections {
                for room in seating.rooms_of(connection) {
                    assert!(seats.insert(seating.seat(connection, room).unwrap()));
                }
            }
            assert_eq!(seats.len(), rooms * members);
            for room in 0..rooms {
                let publisher = seating.publisher_of(room);
                assert!(seating.rooms_of(publisher).any(|other| other == room));
                let seated = (0..connections).filter(|c| seating.seat(*c, room).is_some()).count();
                assert_eq!(seated, members);
            }
        }
        assert!(Seating::new(10, 3, 3).is_err() && Seating::new(5, 1, 10).is_err());
    }

    #[test]
    fn each_fault_is_told_from_the_others() {
        let mut ledger = Ledger::new(Seating::new(3, 3, 2).unwrap()).unwrap();
        for _ in 0..5 {
            ledger.publish(0);
        }
        let mut deliver =
            |connection, seq| ledger.deliver(connection, Probe { room: 0, seq, sent_ns: 0 }, 10);
        (0..5).for_each(|seq| deliver(0, seq));
        // Number 1 late, 2 twice, 4 never.
        for seq in [0, 2, 1, 2, 3] {
            deliver(1, seq);
        }
        // Not a member.
        deliver(2, 0);
        let expected = Faults { lost: 1, doubled: 1, out_of_order: 1, misdelivered: 1 };
        assert_eq!((ledger.faults(), ledger.outstanding()), (expected, 1));
    }
}
