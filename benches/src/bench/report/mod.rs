//! The report that people read: `RESULTS.md`.

mod case_tables;
mod head;
mod splice;
mod table;
mod target_table;

pub(super) use target_table::target_table;

use super::case::{Case, Section};
use super::plot::Chart;
use super::results::Results;
use splice::{Part, splice};

/// How a report begins that does not exist yet; from then on it is kept as somebody left it.
const BEGINNING: &str = "\
# Results

`make bench` measures and writes this file. What stands between two markers is written anew each time; everything else
is kept. The raw results are in [results.json](results.json); `hubbub-load bench --report-only` writes the report from
them again.

Each figure is the median of the runs, with the smallest and the largest in parentheses. CPU is what the kernel accounts
to the server, user and system time; that of the clients is not in it. Memory is what one more connection costs. Within a
run all servers of a case are measured right after one another, and ratios are taken within a run: on a machine with
neighbours they say more than the figures. `floor-uring` and `floor-send` are servers that do nothing but write the
same bytes to the same sockets, by io_uring and by send(2).
";

/// The report, with its generated parts made anew.
pub(super) fn document(
    existing: Option<&str>,
    cases: &[Case],
    results: &Results,
    charts: &[Chart],
) -> String {
    let part = |name, heading, body| Part { name, heading, body };
    let parts = [
        part("head", "", head::head(results)),
        part("targets", "## Targets", target_table(results).markdown(&(2..4))),
        part("comparison", "## Comparison", case_tables::section(cases, Section::Comparison, results)),
        part("growth", "## Growth", case_tables::section(cases, Section::Growth, results)),
        part("plots", "## Plots", plots(charts)),
    ];
    splice(existing.unwrap_or(BEGINNING), &parts)
}

fn plots(charts: &[Chart]) -> String {
    let images: Vec<String> =
        charts.iter().map(|chart| format!("![{}](plots/{})", chart.title, chart.file)).collect();
    if images.is_empty() { "There is nothing to draw.".to_owned() } else { images.join("\n\n") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::cases::cases;
    use super::super::plot::charts;
    use super::super::results::fake::{record, results};
    use super::*;

    #[test]
    fn a_report_is_made_and_made_again() {
        let report =
            json!({"steps": [{"connections": 1_000, "user_bytes": 2e6}], "user_bytes_per_connection": 470});
        let results = results(vec![record("idle", "hubbub", 1, report)]);
        let cases = cases(false);
        let charts = charts(&results);
        let first = document(None, &cases, &results, &charts);
        let order = [
            "# Results",
            "## Targets",
            "## Comparison",
            "### Idle",
            "## Growth",
            "## Plots",
            "plots/memory.svg",
        ];
        let places: Vec<usize> = order.iter().map(|word| first.find(word).expect(word)).collect();
        assert!(places.is_sorted(), "{first}");
        assert_eq!(document(Some(&first), &cases, &results, &charts), first);
        let nothing = document(Some(&first), &cases, &Results::default(), &[]);
        assert!(nothing.contains("There is nothing to draw.") && nothing.starts_with("# Results"));
    }
}
