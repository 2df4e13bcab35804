//! The targets, and what became of them.

use super::super::figure::number;
use super::super::judge::Judged;
use super::super::results::Results;
use super::super::targets::{Limit, Target, targets};
use super::table::Table;

/// One row for each target.
pub(in super::super) fn target_table(results: &Results) -> Table {
    let mut table =
        Table::new(["what", "target", "measured", "of the target", "", "others in the same runs"]);
    for target in targets() {
        let judged = target.judge(results);
        table.row([
            target.what.to_owned(),
            target.limit.text(target.figure.unit),
            measured(&target, &judged),
            of_target(&target, &judged),
            judged.verdict.text(),
            others(&judged),
        ]);
    }
    table
}

fn measured(target: &Target, judged: &Judged) -> String {
    let unit = target.figure.unit;
    match (judged.value, judged.times) {
        (Some(value), Some(times)) => format!("{} ×: {} {unit}", times.text(), number(value.median)),
        (Some(value), None) => format!("{} {unit}", value.text()),
        (None, _) => "–".to_owned(),
    }
}

fn of_target(target: &Target, judged: &Judged) -> String {
    let part = match target.limit {
        Limit::AtMost(limit) | Limit::AtLeast(limit) => judged.value.map(|value| value.median / limit),
        Limit::Times(limit, _) => judged.times.map(|times| times.median / limit),
    };
    part.map_or_else(|| "–".to_owned(), |part| format!("{:.0} %", part * 100.0))
}

fn others(judged: &Judged) -> String {
    let one = |(server, median): &(String, f64)| format!("{server} {}", number(*median));
    judged.others.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::results::fake::{record, results};
    use super::*;

    #[test]
    fn a_row_says_target_figure_and_verdict() {
        let cost =
            |case: &str, server: &str, us: f64| record(case, server, 1, json!({"cpu_us_per_delivery": us}));
        let results = results(vec![
            cost("light", "hubbub", 5.0),
            cost("light", "floor-uring", 4.0),
            cost("light", "floor-send", 4.5),
            cost("window-1", "hubbub", 3.4),
        ]);
        let table = target_table(&results);
        let row =
            |what: &str| table.rows.iter().find(|row| row[0].starts_with(what)).unwrap()[1..].join(" / ");
        assert_eq!(
            row("CPU per delivery, one room"),
            "≤ 1.15 × floor-uring / 1.25 ×: 5.00 µs / 109 % / missed by 8.7 % / floor-uring 4.00, floor-send 4.50"
        );
        assert_eq!(row("the same, one message"), "≤ 3.8 µs / 3.40 µs / 89 % / met / ");
        assert_eq!(row("bus"), "≥ 500,000 1/s / – / – / not run / ");
    }
}
