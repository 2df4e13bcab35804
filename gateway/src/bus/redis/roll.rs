//! What this gateway knows of the others. Pure.
//!
//! Whether a run lives is told by its heartbeat having moved since the last look, not by comparing clocks: those of two
//! hosts may differ, and a look that could not be taken counts for nothing.

use std::collections::{HashMap, HashSet};

/// Looks in a row without a heartbeat after which a run is dead.
const SILENT_MAX: u8 = 3;

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// Last heartbeat, and looks since then without another.
    runs: HashMap<String, (String, u8)>,
    /// Runs that have ended, and whose entries are being removed.
    gone: HashSet<String>,
    /// Runs of which nothing is known but that they are none of these.
    strangers: HashSet<String>,
}

impl Known {
    /// One of the looks that come at regular times; gives the runs that fell silent. `own` never does.
    pub(crate) fn look(&mut self, own: &str, runs: Vec<(String, String)>, gone: Vec<String>) -> Vec<String> {
        let mut before = std::mem::take(&mut self.runs);
        self.learn(runs, gone);
        let mut silent = Vec::new();
        for (run, (heartbeat, looks)) in &mut self.runs {
            *looks = match before.remove(run) {
                Some((last, looks)) if last == *heartbeat => looks.saturating_add(1),
                _ => 0,
            };
            if *looks >= SILENT_MAX && run != own {
                silent.push(run.clone());
            }
        }
        for run in &silent {
            self.runs.remove(run);
            self.gone.insert(run.clone());
        }
        silent.sort_unstable();
        silent
    }

    /// A look between those, because a run that nobody knew was met.
    pub(crate) fn look_for(
        &mut self,
        strangers: Vec<String>,
        runs: Vec<(String, String)>,
        gone: Vec<String>,
    ) {
        let before = std::mem::take(&mut self.runs);
        self.learn(runs, gone);
        for (run, (heartbeat, looks)) in &mut self.runs {
            // Only what the looks at regular times saw counts.
            (*heartbeat, *looks) = before.get(run).cloned().unwrap_or_default();
        }
        self.strangers = strangers.into_iter().filter(|run| self.has(run).is_none()).collect();
    }

    fn learn(&mut self, runs: Vec<(String, String)>, gone: Vec<String>) {
        self.gone = gone.into_iter().collect();
        self.runs = runs.into_iter().map(|(run, heartbeat)| (run, (heartbeat, 0))).collect();
        self.strangers.clear();
    }

    /// Nothing is left of a run that had ended.
    pub(crate) fn forget(&mut self, run: &str) {
        self.gone.remove(run);
    }

    /// Whether a run's users are online.
    pub(crate) fn lives(&self, run: &str) -> bool {
        self.runs.contains_key(run)
    }

    /// Whether a run's users are online as far as anybody was told; `None` where nothing is known of it. Those of one
    /// that has ended are until its entries are removed, because then it is told.
    pub(crate) fn has(&self, run: &str) -> Option<bool> {
        if self.runs.contains_key(run) || self.gone.contains(run) {
            Some(true)
        } else {
            self.strangers.contains(run).then_some(false)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(heartbeats: &[(&str, u32)]) -> Vec<(String, String)> {
        heartbeats.iter().map(|(run, at)| ((*run).to_owned(), at.to_string())).collect()
    }

    #[test]
    fn a_run_is_dead_after_three_looks_without_a_heartbeat() {
        let mut known = Known::default();
        for n in 0..3 {
            assert_eq!(known.look("me", runs(&[("me", 1), ("a", n), ("b", 7)]), vec![]), [""; 0]);
        }
        assert!(known.lives("b"));
        assert_eq!(known.look("me", runs(&[("me", 1), ("a", 3), ("b", 7)]), vec![]), ["b"]);
        assert_eq!((known.lives("b"), known.has("b"), known.lives("a")), (false, Some(true), true));
        // Whoever removed it has finished.
        assert_eq!(known.look("me", runs(&[("me", 1), ("a", 4)]), vec![]), [""; 0]);
        assert_eq!(known.has("b"), None);
    }

    #[test]
    fn a_heartbeat_in_between_counts_anew() {
        let mut known = Known::default();
        for at in [1, 1, 1, 2, 2, 2] {
            assert_eq!(known.look("me", runs(&[("a", at)]), vec![]), [""; 0]);
        }
        assert_eq!(known.look("me", runs(&[("a", 2)]), vec![]), ["a"]);
    }

    #[test]
    fn a_look_out_of_turn_makes_nobody_dead_and_nobody_younger() {
        let mut known = Known::default();
        known.look_for(vec![], runs(&[("a", 1)]), vec![]);
        known.look("me", runs(&[("a", 1)]), vec![]);
        for _ in 0..10 {
            known.look_for(vec!["x".to_owned(), "new".to_owned()], runs(&[("a", 1), ("new", 1)]), vec![]);
        }
        assert_eq!((known.has("x"), known.has("new"), known.has("y")), (Some(false), Some(true), None));
        for _ in 0..2 {
            assert_eq!(known.look("me", runs(&[("a", 1)]), vec![]), [""; 0]);
        }
        assert_eq!(known.look("me", runs(&[("a", 1)]), vec![]), ["a"]);
        assert_eq!(known.has("x"), None);
    }
}
