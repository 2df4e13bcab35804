//! The cases: a heading, a sentence, a table, and what went wrong.

use super::super::case::{Case, FLOORS, Section};
use super::super::results::{Record, Results};
use super::super::rows::{Row, rows};
use super::head::wrong;
use super::table::Table;

/// The cases of a section that there are results for.
pub(super) fn section(cases: &[Case], section: Section, results: &Results) -> String {
    let of_section = cases.iter().filter(|case| case.section == section);
    let parts: Vec<String> =
        of_section.filter_map(|case| of_case(case, &results.of_case(case.name))).collect();
    if parts.is_empty() { "Nothing of this was run.".to_owned() } else { parts.join("\n") }
}

fn of_case(case: &Case, records: &[&Record]) -> Option<String> {
    let rows = rows(case, records);
    let has_variants = rows.iter().any(|row| !row.variant.is_empty());
    let table = table(case, &rows, has_variants).markdown(&(usize::from(has_variants) + 1..usize::MAX));
    let mut lines = vec![format!("### {} (`{}`)\n\n{}\n\n{table}", case.title, case.name, case.about)];
    let notes = notes(&rows, records);
    lines.extend((!notes.is_empty()).then(|| "\n".to_owned()));
    lines.extend(notes.iter().map(|note| format!("- {note}\n")));
    (!rows.is_empty()).then(|| lines.concat())
}

fn table(case: &Case, rows: &[Row], has_variants: bool) -> Table {
    let has_floors = rows.iter().any(|row| row.over_floors.iter().any(Option::is_some));
    let mut head = vec!["server".to_owned()];
    head.extend(has_variants.then(String::new));
    head.extend(case.figures.iter().map(super::super::figure::Figure::heading));
    head.extend(FLOORS.iter().filter(|_| has_floors).map(|floor| format!("× {floor}")));
    let cells = |row: &Row| {
        let mut cells = vec![row.server.clone()];
        cells.extend(has_variants.then(|| row.variant.clone()));
        let mut figures: Vec<String> = row
            .spreads
            .iter()
            .chain(&row.over_floors)
            .map(|spread| spread.map_or_else(|| "–".to_owned(), |spread| spread.text()))
            .collect();
        if row.reports == 0
            && let Some(first) = figures.first_mut()
        {
            *first = format!("failed: {}", row.failures.last().map_or("", String::as_str));
        }
        figures.truncate(head.len() - cells.len());
        cells.extend(figures);
        cells
    };
    let rows = rows.iter().map(cells).collect();
    Table { head, rows }
}

/// Rows of which only some runs failed, and messages that did not arrive as they should.
fn notes(rows: &[Row], records: &[&Record]) -> Vec<String> {
    let label = |server: &str, variant: &str| {
        if variant.is_empty() { server.to_owned() } else { format!("{server}, {variant}") }
    };
    let failed = rows.iter().filter(|row| row.reports > 0).filter_map(|row| {
        let (failures, runs) = (row.failures.len(), row.failures.len() + row.reports);
        let why = row.failures.last()?;
        Some(format!("{}: {failures} of {runs} runs failed: {why}", label(&row.server, &row.variant)))
    });
    let wrong = records.iter().filter_map(|record| {
        let wrong = wrong(record.report()?).join(", ");
        let whose = label(&record.server, &record.variant);
        (!wrong.is_empty()).then(|| format!("{whose}, run {}: {wrong}", record.run))
    });
    failed.chain(wrong).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::cases::cases;
    use super::super::super::results::fake::{failed, record, results, variant};
    use super::*;

    #[test]
    fn a_case_shows_figures_ratios_and_failures() {
        let cost = |server: &str, run, us: f64| {
            record(
                "light",
                server,
                run,
                json!({"cpu_us_per_delivery": us, "latency_us": {"p50": 250}, "lost": 0}),
            )
        };
        let results = results(vec![
            cost("hubbub", 1, 4.4),
            cost("floor-uring", 1, 4.0),
            failed(cost("hubbub", 2, 0.0), "it hung"),
            failed(cost("ws", 1, 0.0), "no node"),
            record("light", "nats", 1, json!({"cpu_us_per_delivery": 9.0, "lost": 2})),
        ]);
        let text = section(&cases(false), Section::Comparison, &results);
        assert!(
            text.starts_with("### One room, light load (`light`)\n\n1,000 connections in 1 room of 1,000, "),
            "{text}"
        );
        assert!(text.contains("| server | CPU per delivery, µs | deliveries/s |"), "{text}");
        assert!(text.contains("| hubbub | 4.40 | – | – | – | 250 | – | 1.10 | – |\n"), "{text}");
        assert!(text.contains("| ws | failed: no node | – |"), "{text}");
        assert!(text.ends_with("- hubbub: 1 of 2 runs failed: it hung\n- nats, run 1: 2 lost\n"), "{text}");
        assert_eq!(section(&cases(false), Section::Growth, &results), "Nothing of this was run.");
    }

    #[test]
    fn a_growth_table_has_a_column_for_what_grows() {
        let cost = |rooms: &str, us: f64| {
            variant(record("growth-rooms", "hubbub", 1, json!({"cpu_us_per_message": us})), rooms)
        };
        let results = results(vec![cost("10 rooms", 50.0), cost("100 rooms", 51.0)]);
        let text = section(&cases(false), Section::Growth, &results);
        assert!(text.contains("| server |  | CPU per message, µs | CPU per delivery, µs | p50, µs | p99, µs |\n| --- | --- | ---: |"), "{text}");
        assert!(
            text.contains("| hubbub | 10 rooms | 50.0 | – | – | – |\n| hubbub | 100 rooms | 51.0 |"),
            "{text}"
        );
    }
}
