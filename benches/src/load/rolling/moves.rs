//! Who is away, when they should come back, and how long it took. Pure.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::load::fleet::Ending;

/// Longer ones count as a minute.
const AWAY_MAX_NS: u64 = 60_000_000_000;
/// After which pause a client tries again that was not let in: what servers ask for in `Retry-After`.
const TRY_AGAIN: Duration = Duration::from_secs(2);
const SECOND: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy)]
struct Away {
    since: Duration,
    due: Duration,
    /// It was told to go, and its connection has not ended yet.
    leaving: bool,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Moves {
    /// By client.
    away: Vec<Option<Away>>,
    to_come: BinaryHeap<Reverse<(Duration, usize)>>,
    /// Connections that ended without a word.
    pub(super) untold: u64,
    /// Tries that were refused, or broke off.
    pub(super) refused: u64,
    pub(super) away_ns: Histogram<u64>,
    /// From when it was to come back.
    pub(super) late_ns: Histogram<u64>,
    back: Vec<Duration>,
}

impl Moves {
    pub(super) fn new(clients: usize) -> Result<Self, String> {
        let histogram =
            || Histogram::new_with_bounds(1_000, AWAY_MAX_NS, 3).map_err(|error| error.to_string());
        Ok(Self {
            away: vec![None; clients],
            to_come: BinaryHeap::new(),
            untold: 0,
            refused: 0,
            away_ns: histogram()?,
            late_ns: histogram()?,
            back: Vec::new(),
        })
    }

    /// A client was told to go, and to come back after this time.
    pub(super) fn sent_away(&mut self, client: usize, after: Duration, now: Duration) {
        if let Some(away @ None) = self.away.get_mut(client) {
            *away = Some(Away { since: now, due: now + after, leaving: true });
        }
    }

    /// A connection, or a try to get one, is over.
    pub(super) fn gone(&mut self, client: usize, ending: Ending, now: Duration) {
        let Some(away) = self.away.get_mut(client) else { return };
        let now_away = match *away {
            // What it was told may have been at once.
            Some(told) if told.leaving && ending == Ending::Closed => Away { leaving: false, ..told },
            // It was on its way back.
            Some(told) => {
                self.refused += 1;
                Away { due: now + TRY_AGAIN, leaving: false, ..told }
            }
            None => {
                self.untold += 1;
                Away { since: now, due: now, leaving: false }
            }
        };
        *away = Some(now_away);
        self.to_come.push(Reverse((now_away.due, client)));
    }

    /// Those whose time has come.
    pub(super) fn fall_due(&mut self, now: Duration, queue: &mut VecDeque<usize>) {
        while self.to_come.peek().is_some_and(|Reverse((due, _))| *due <= now) {
            queue.extend(self.to_come.pop().map(|Reverse((_, client))| client));
        }
    }

    /// A client is in its room again; one that was never away is there for the first time.
    pub(super) fn joined(&mut self, client: usize, now: Duration) {
        if let Some(Away { since, due, .. }) = self.away.get_mut(client).and_then(Option::take) {
            let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            self.away_ns.saturating_record(ns(now.saturating_sub(since)));
            self.late_ns.saturating_record(ns(now.saturating_sub(due)));
            self.back.push(now);
        }
    }

    /// How many came back in the second in which most did.
    pub(super) fn most_in_a_second(&self) -> usize {
        // They are in order of time.
        let mut first = 0;
        let mut most = 0;
        for (last, at) in self.back.iter().enumerate() {
            while self.back.get(first).is_some_and(|begun| *begun + SECOND <= *at) {
                first += 1;
            }
            most = most.max(last + 1 - first);
        }
        most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn due(moves: &mut Moves, now: u64) -> Vec<usize> {
        let mut queue = VecDeque::new();
        moves.fall_due(ms(now), &mut queue);
        queue.into()
    }

    #[test]
    fn whoever_is_told_comes_back_when_asked() {
        let mut moves = Moves::new(3).unwrap();
        moves.sent_away(1, ms(500), ms(100));
        moves.gone(1, Ending::Closed, ms(110));
        // Nobody told this one, so it comes at once.
        moves.gone(2, Ending::Closed, ms(200));
        assert_eq!(due(&mut moves, 599), [2]);
        assert_eq!(due(&mut moves, 600), [1]);
        moves.joined(1, ms(610));
        moves.gone(2, Ending::Refused, ms(700));
        assert_eq!((moves.untold, moves.refused), (1, 1));
        assert_eq!((due(&mut moves, 2_699), due(&mut moves, 2_700)), (vec![], vec![2]));
        moves.joined(2, ms(2_750));
        moves.joined(0, ms(2_760));
        // Asked to come back at once; the connection takes a moment to end.
        moves.sent_away(0, ms(0), ms(2_800));
        moves.gone(0, Ending::Closed, ms(2_803));
        assert_eq!((due(&mut moves, 2_803), moves.refused), (vec![0], 1));
        let near = |histogram: &Histogram<u64>, quantile, ms: u64| {
            let ns = histogram.value_at_quantile(quantile);
            assert!(ns.abs_diff(ms * 1_000_000) <= ms * 1_000, "{ns} ns, {ms} ms");
        };
        assert_eq!(moves.away_ns.len(), 2);
        near(&moves.away_ns, 0.5, 510);
        near(&moves.away_ns, 1.0, 2_550);
        near(&moves.late_ns, 0.5, 10);
        near(&moves.late_ns, 1.0, 50);
    }

    #[test]
    fn the_fullest_second_is_found_wherever_it_begins() {
        let mut moves = Moves::new(6).unwrap();
        for (client, at) in [0, 900, 1_000, 1_500, 1_899, 1_900].into_iter().enumerate() {
            moves.sent_away(client, ms(0), ms(0));
            moves.joined(client, ms(at));
        }
        // From 900 up to, and without, 1,900.
        assert_eq!(moves.most_in_a_second(), 4);
    }
}
