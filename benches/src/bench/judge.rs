//! Whether the targets were reached.

use super::figure::value_at;
use super::results::{Record, Results};
use super::rows::{Whose, failures, ratio, spread};
use super::spread::Spread;
use super::targets::{HUBBUB, Limit, Target, Versus};

/// What became of a target.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Verdict {
    Met,
    /// By this part of the limit.
    Missed(f64),
    /// Nothing was measured.
    NotRun,
    /// It was tried.
    Failed(String),
}

/// A target with what was measured.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Judged {
    pub(super) verdict: Verdict,
    /// The gateway's figure.
    pub(super) value: Option<Spread>,
    /// What is held against a [`Limit::Times`].
    pub(super) times: Option<Spread>,
    /// The same figure of the other servers of the case, the best one first.
    pub(super) others: Vec<(String, f64)>,
}

impl Target {
    /// Holds the results against it.
    pub(super) fn judge(&self, results: &Results) -> Judged {
        let records = results.of_case(self.case);
        let own = Whose { server: HUBBUB, variant: self.variant, pointer: &self.figure.pointer };
        let value = spread(&records, own);
        let (times, measured, limit, is_floor) = match self.limit {
            Limit::AtMost(limit) => (None, value, limit, false),
            Limit::AtLeast(limit) => (None, value, limit, true),
            Limit::Times(limit, versus) => {
                let Versus { server, variant, pointer, .. } = versus;
                let times = ratio(&records, own, Whose { server, variant, pointer });
                (times, times, limit, false)
            }
        };
        let verdict = match measured.map(|measured| measured.median) {
            Some(median) if is_floor && median < limit => Verdict::Missed(1.0 - median / limit),
            Some(median) if !is_floor && median > limit => Verdict::Missed(median / limit - 1.0),
            Some(_) => Verdict::Met,
            None => match failures(&records, own).pop() {
                Some(line) => Verdict::Failed(line),
                None => Verdict::NotRun,
            },
        };
        Judged { verdict, value, times, others: self.others(&records) }
    }

    fn others(&self, records: &[&Record]) -> Vec<(String, f64)> {
        let mut names: Vec<&str> = Vec::new();
        for record in records {
            let has = record.report().is_some_and(|report| value_at(report, &self.figure.pointer).is_some());
            if has && record.server != HUBBUB && !names.contains(&record.server.as_str()) {
                names.push(&record.server);
            }
        }
        let of =
            |server| spread(records, Whose { server, variant: self.variant, pointer: &self.figure.pointer });
        let mut others: Vec<(String, f64)> =
            names.into_iter().filter_map(|server| Some((server.to_owned(), of(server)?.median))).collect();
        others.sort_by(|one, next| one.1.total_cmp(&next.1));
        if matches!(self.limit, Limit::AtLeast(_)) {
            others.reverse();
        }
        others
    }
}

impl Verdict {
    pub(super) fn text(&self) -> String {
        match self {
            Self::Met => "met".to_owned(),
            Self::Missed(part) => format!("missed by {} %", percent(part * 100.0)),
            Self::NotRun => "not run".to_owned(),
            Self::Failed(line) => format!("failed: {line}"),
        }
    }
}

fn percent(value: f64) -> String {
    if value < 10.0 { format!("{:.1}", value.max(0.1)) } else { format!("{value:.0}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::results::fake::{failed, record, results};
    use super::super::targets::targets;
    use super::*;

    fn verdict(what: &str, results: &Results) -> Judged {
        let of = |target: &Target| target.what.starts_with(what).then(|| target.judge(results));
        targets().iter().find_map(of).expect(what)
    }

    #[test]
    fn met_missed_not_run_and_failed() {
        let memory = |bytes: f64| {
            verdict(
                "user",
                &results(vec![record("idle", "hubbub", 1, json!({"user_bytes_per_connection": bytes}))]),
            )
        };
        assert_eq!(memory(480.0).verdict.text(), "met");
        assert_eq!(memory(480.1).verdict.text(), "missed by 0.1 %");
        assert_eq!(memory(960.0).verdict.text(), "missed by 100 %");
        let bus = |rate: f64| {
            verdict(
                "bus",
                &results(vec![record("bus", "hubbub", 1, json!({"messages_per_redis_core_s": rate}))]),
            )
        };
        assert_eq!(bus(500_001.0).verdict.text(), "met");
        assert_eq!(bus(375_000.0).verdict.text(), "missed by 25 %");
        assert_eq!(verdict("bus", &Results::default()).verdict.text(), "not run");
        let broken = failed(record("bus", "hubbub", 1, json!({})), "no Redis");
        assert_eq!(verdict("bus", &results(vec![broken])).verdict.text(), "failed: no Redis");
    }

    #[test]
    fn a_target_against_the_floor_takes_the_ratio_within_each_run() {
        let cost =
            |server: &str, run, us: f64| record("light", server, run, json!({"cpu_us_per_delivery": us}));
        let judged = verdict(
            "CPU per delivery, one room",
            &results(vec![
                cost("hubbub", 1, 4.4),
                cost("floor-uring", 1, 4.0),
                cost("nchan", 1, 8.0),
                cost("hubbub", 2, 12.0),
                cost("floor-uring", 2, 10.0),
                cost("nchan", 2, 9.0),
            ]),
        );
        assert_eq!(judged.times.unwrap().text(), "1.15 (1.10–1.20)");
        assert_eq!(judged.verdict, Verdict::Met);
        assert_eq!(judged.value.unwrap().text(), "8.20 (4.40–12.0)");
        let others: Vec<(&str, f64)> =
            judged.others.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        assert_eq!(others, [("floor-uring", 7.0), ("nchan", 8.5)]);
    }
}
