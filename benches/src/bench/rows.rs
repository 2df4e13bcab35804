//! The rows of a case: what the runs of one server say together.

use super::case::{Case, FLOORS};
use super::figure::{Figure, value_at};
use super::results::{Outcome, Record};
use super::spread::Spread;

/// One server, or one variant of one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) server: String,
    pub(super) variant: String,
    /// One for each figure of the case.
    pub(super) spreads: Vec<Option<Spread>>,
    /// The first figure over that of each floor in the same run; in the order of [`FLOORS`].
    pub(super) over_floors: [Option<Spread>; 2],
    /// Runs that gave a report.
    pub(super) reports: usize,
    /// Why the others did not, in a line each.
    pub(super) failures: Vec<String>,
}

/// Whose figure: a server and a variant of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Whose<'a> {
    pub(super) server: &'a str,
    pub(super) variant: &'a str,
    /// Which figure, as a JSON pointer.
    pub(super) pointer: &'a str,
}

impl Whose<'_> {
    fn is_of(self, record: &Record) -> bool {
        record.server == self.server && record.variant == self.variant
    }
}

/// The rows of a case, in the order in which they were measured.
pub(super) fn rows(case: &Case, records: &[&Record]) -> Vec<Row> {
    let mut names: Vec<(&str, &str)> = Vec::new();
    for record in records {
        let name = (record.server.as_str(), record.variant.as_str());
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.into_iter().map(|(server, variant)| row(case, records, server, variant)).collect()
}

fn row(case: &Case, records: &[&Record], server: &str, variant: &str) -> Row {
    let any = Whose { server, variant, pointer: "" };
    let spread = |figure: &Figure| spread(records, Whose { pointer: &figure.pointer, ..any });
    let over = |floor| {
        let own = Whose { pointer: &case.figures.first()?.pointer, ..any };
        let ratio = ratio(records, own, Whose { server: floor, ..own });
        ratio.filter(|_| floor != server)
    };
    Row {
        server: server.to_owned(),
        variant: variant.to_owned(),
        spreads: case.figures.iter().map(spread).collect(),
        over_floors: FLOORS.map(over),
        reports: of(records, any).filter(|record| record.report().is_some()).count(),
        failures: failures(records, any),
    }
}

fn of<'a>(records: &'a [&'a Record], whose: Whose<'a>) -> impl Iterator<Item = &'a Record> {
    records.iter().copied().filter(move |record| whose.is_of(record))
}

/// A figure over all runs.
pub(super) fn spread(records: &[&Record], whose: Whose<'_>) -> Option<Spread> {
    Spread::of(of(records, whose).filter_map(|record| value_at(record.report()?, whose.pointer)))
}

/// A figure over another one of the same run, over all runs that have both.
pub(super) fn ratio(records: &[&Record], whose: Whose<'_>, other: Whose<'_>) -> Option<Spread> {
    Spread::of(of(records, whose).filter_map(|record| {
        let value = value_at(record.report()?, whose.pointer)?;
        let same_run = of(records, other).find(|candidate| candidate.run == record.run)?;
        let by = value_at(same_run.report()?, other.pointer)?;
        (by > 0.0).then_some(value / by)
    }))
}

/// Why runs gave no report.
pub(super) fn failures(records: &[&Record], whose: Whose<'_>) -> Vec<String> {
    of(records, whose)
        .filter_map(|record| match &record.outcome {
            Outcome::Failed(line) => Some(line.clone()),
            Outcome::Report(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::cases::cases;
    use super::super::results::fake::{failed, record, results};
    use super::*;

    #[test]
    fn medians_and_the_ratio_to_the_floor_of_the_same_run() {
        let cost = |server: &str, run, us: f64| {
            record("light", server, run, json!({"cpu_us_per_delivery": us, "later": [1]}))
        };
        // The second run of the floor was slow, and that of the gateway with it.
        let results = results(vec![
            cost("hubbub", 1, 4.0),
            cost("floor-uring", 1, 4.0),
            cost("hubbub", 2, 11.0),
            cost("floor-uring", 2, 10.0),
            cost("hubbub", 3, 6.0),
            cost("floor-uring", 3, 5.0),
            failed(cost("ws", 1, 0.0), "npm is missing"),
            failed(cost("ws", 2, 0.0), "npm is missing"),
            cost("ws", 3, 12.0),
        ]);
        let case = cases(false).remove(1);
        let rows = rows(&case, &results.of_case("light"));
        let servers: Vec<&str> = rows.iter().map(|row| row.server.as_str()).collect();
        assert_eq!(servers, ["hubbub", "floor-uring", "ws"]);
        assert_eq!(rows[0].spreads[0].unwrap().text(), "6.00 (4.00–11.0)");
        assert_eq!(rows[0].spreads[1], None, "what the report does not have is not made up");
        assert_eq!(rows[0].over_floors[0].unwrap().text(), "1.10 (1.00–1.20)");
        assert_eq!(rows[0].over_floors[1], None);
        assert_eq!(rows[1].over_floors[0], None, "no ratio to itself");
        assert_eq!((rows[2].reports, rows[2].failures.len()), (1, 2));
        assert_eq!(rows[2].over_floors[0].unwrap().text(), "2.40");
    }
}
