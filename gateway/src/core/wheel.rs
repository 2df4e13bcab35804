//! A coarse timer wheel: one entry for each connection, a second a slot.
//!
//! Pure. A timer of the runtime would cost over a kilobyte a connection; an entry here costs eight bytes. An
//! entry whose connection has gone is noticed by its mark when it comes up.

/// Seconds that the wheel spans; later deadlines come up early and are put back.
const SLOTS: u64 = 64;

/// Something that comes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Due {
    /// The connection's slot.
    pub(crate) slot: u32,
    /// Tells it from an earlier connection in the same slot.
    pub(crate) mark: u32,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Wheel {
    slots: Vec<Vec<Due>>,
    now_s: u64,
}

impl Wheel {
    pub(crate) fn new() -> Self {
        Self { slots: (0..SLOTS).map(|_| Vec::new()).collect(), now_s: 0 }
    }

    /// Seconds since the start, as of the last turn.
    pub(crate) fn now_s(&self) -> u64 {
        self.now_s
    }

    /// Comes up after so many seconds, or earlier if that is more than the wheel spans; at least one.
    pub(crate) fn schedule(&mut self, due: Due, after_s: u64) {
        let at_s = self.now_s + after_s.clamp(1, SLOTS - 1);
        if let Some(slot) = usize::try_from(at_s % SLOTS).ok().and_then(|index| self.slots.get_mut(index)) {
            slot.push(due);
        }
    }

    /// Turns up to a second; gives everything that has come up.
    pub(crate) fn turn_to(&mut self, now_s: u64) -> Vec<Due> {
        let mut due = Vec::new();
        while self.now_s < now_s {
            self.now_s += 1;
            let index = usize::try_from(self.now_s % SLOTS).unwrap_or(0);
            if let Some(slot) = self.slots.get_mut(index) {
                due.append(slot);
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_up_once_and_never_late() {
        let mut wheel = Wheel::new();
        let due = |slot| Due { slot, mark: 0 };
        wheel.schedule(due(1), 0);
        wheel.schedule(due(2), 5);
        wheel.schedule(due(3), 1_000);
        assert_eq!(wheel.turn_to(1), [due(1)]);
        assert_eq!(wheel.turn_to(4), []);
        assert_eq!(wheel.turn_to(7), [due(2)]);
        assert_eq!(wheel.turn_to(200), [due(3)]);
        assert_eq!(wheel.turn_to(400), []);
    }
}
