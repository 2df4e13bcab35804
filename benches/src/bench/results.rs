//! The raw results: what was measured, where and when. They are kept beside the report, which can be written
//! again from them.
//!
//! Invariant: all results of a case are of one session, so that ratios compare what ran together. A case that
//! is measured again replaces what there was of it. Quick runs and full ones are not mixed.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::machine::Machine;

/// Everything that the report is made of, oldest first.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Results {
    pub(super) sessions: Vec<Session>,
}

/// One call of the program.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Session {
    pub(super) head: Head,
    pub(super) records: Vec<Record>,
}

/// When, of what and on what.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Head {
    pub(super) started_ms: u64,
    pub(super) command: String,
    /// Of the repository, abbreviated; empty where there is none.
    pub(super) commit: String,
    /// Whether there were changes besides it.
    pub(super) dirty: bool,
    /// `release` or `debug`.
    pub(super) build: String,
    /// Whether the cases were cut down.
    pub(super) quick: bool,
    pub(super) machine: Machine,
}

/// One command that was run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) case: String,
    pub(super) server: String,
    pub(super) variant: String,
    /// From 1.
    pub(super) run: usize,
    pub(super) arguments: String,
    /// How long it took.
    pub(super) seconds: f64,
    pub(super) outcome: Outcome,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    /// The program's own report.
    Report(Value),
    /// Why there is none, in a line.
    Failed(String),
}

impl Record {
    pub(super) fn report(&self) -> Option<&Value> {
        match &self.outcome {
            Outcome::Report(report) => Some(report),
            Outcome::Failed(_) => None,
        }
    }
}

impl Results {
    /// From the file's text.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    /// The file's text: a line for each record, so that differences can be read.
    pub(super) fn to_json(&self) -> Result<String, String> {
        let line = |value: serde_json::Result<String>| value.map_err(|error| error.to_string());
        let mut sessions = Vec::new();
        for session in &self.sessions {
            let head = line(serde_json::to_string(&session.head))?;
            let records: Result<Vec<String>, String> =
                session.records.iter().map(|record| line(serde_json::to_string(record))).collect();
            sessions.push(format!("{{\"head\":{head},\"records\":[\n{}\n]}}", records?.join(",\n")));
        }
        Ok(format!("{{\"sessions\":[\n{}\n]}}\n", sessions.join(",\n")))
    }

    /// With a session more, whose cases replace those there were.
    #[must_use]
    pub(super) fn with(&self, session: Session) -> Self {
        let again: BTreeSet<&str> = session.records.iter().map(|record| record.case.as_str()).collect();
        let mut sessions = self.sessions.clone();
        for earlier in &mut sessions {
            earlier.records.retain(|record| !again.contains(record.case.as_str()));
        }
        sessions.retain(|earlier| !earlier.records.is_empty());
        sessions.push(session);
        Self { sessions }
    }

    pub(super) fn records(&self) -> impl Iterator<Item = &Record> {
        self.sessions.iter().flat_map(|session| &session.records)
    }

    /// Those of one case, in the order in which they were measured.
    pub(super) fn of_case(&self, case: &str) -> Vec<&Record> {
        self.records().filter(|record| record.case == case).collect()
    }
}

#[cfg(test)]
pub(super) mod fake {
    //! Results that nobody measured.

    use super::*;

    /// A record with this report.
    pub(in super::super) fn record(case: &str, server: &str, run: usize, report: Value) -> Record {
        Record {
            case: case.to_owned(),
            server: server.to_owned(),
            variant: String::new(),
            run,
            arguments: format!("{case} --server {server}"),
            seconds: 1.0,
            outcome: Outcome::Report(report),
        }
    }

    /// The same, for one variant.
    pub(in super::super) fn variant(record: Record, variant: &str) -> Record {
        Record { variant: variant.to_owned(), ..record }
    }

    /// The same, failed.
    pub(in super::super) fn failed(record: Record, line: &str) -> Record {
        Record { outcome: Outcome::Failed(line.to_owned()), ..record }
    }

    /// A single session with these.
    pub(in super::super) fn results(records: Vec<Record>) -> Results {
        Results { sessions: vec![Session { head: Head::default(), records }] }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::fake::{failed, record, results};
    use super::*;

    #[test]
    fn a_case_measured_again_replaces_what_there_was_of_it() {
        let old = results(vec![
            record("light", "hubbub", 1, json!({"n": 1})),
            record("bus", "hubbub", 1, json!({"n": 2})),
        ]);
        let new = |case: &str| results(vec![record(case, "ws", 1, json!({"n": 3}))]).sessions.remove(0);
        let both = old.with(new("light"));
        assert_eq!(both.sessions.len(), 2);
        assert_eq!(both.of_case("light").len(), 1);
        assert_eq!(both.of_case("light")[0].server, "ws");
        assert_eq!(both.of_case("bus").len(), 1);
        assert_eq!(both.with(new("bus")).sessions.len(), 2, "the first one has nothing left");
    }

    #[test]
    fn the_file_reads_back_and_has_a_line_for_each_record() {
        let one = record("light", "hubbub", 1, json!({"n": 1}));
        let before = results(vec![one.clone(), failed(one, "no such server")]);
        let text = before.to_json().unwrap();
        let after = Results::parse(&text).unwrap();
        assert_eq!(after.sessions[0].head, before.sessions[0].head);
        let outcomes: Vec<&Outcome> = after.records().map(|record| &record.outcome).collect();
        assert_eq!(
            outcomes,
            [&Outcome::Report(json!({"n": 1})), &Outcome::Failed("no such server".to_owned())]
        );
        assert_eq!(text.lines().count(), 1 + 1 + 2 + 1 + 1, "{text}");
        assert!(Results::parse(&Results::default().to_json().unwrap()).unwrap().sessions.is_empty());
    }
}
