//! The distribution of latencies: how long the slowest tenth, hundredth, thousandth of the deliveries took.

use serde_json::Value;

use super::super::figure::value_at;
use super::super::results::{Record, Results};
use super::{Axis, Chart, Series, servers};

const US_PER_MS: f64 = 1_000.0;
/// The labels of the percentiles: each stands one further to the right.
const PERCENTILES: [&str; 6] = ["0 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %"];
/// Where half of them are: nines of one half.
const HALF: (f64, &str) = (std::f64::consts::LOG10_2, "50 %");
/// Deliveries that must be slower than a point for it to say anything.
const BEYOND_MIN: f64 = 10.0;

pub(super) fn chart(results: &Results) -> Option<Chart> {
    let records = results.of_case("latency");
    let lines: Vec<(&str, Vec<(f64, f64)>)> = servers(&records)
        .into_iter()
        .map(|server| (server, curve(&buckets(&records, server))))
        .filter(|(_, points)| !points.is_empty())
        .collect();
    let all = || lines.iter().flat_map(|(_, points)| points);
    let rarest = all().map(|(nines, _)| *nines).reduce(f64::max)?;
    let y = Axis::logarithmic("from publish to delivery, ms", all().map(|(_, us)| us / US_PER_MS));
    let whole = PERCENTILES.iter().zip(0_u32..).map(|(label, nines)| (f64::from(nines), *label));
    let mut shown: Vec<(f64, &str)> = whole.chain([HALF]).collect();
    shown.sort_by(|one, other| one.0.total_cmp(&other.0));
    let shown = shown.into_iter().map(|(nines, label)| (nines, label.to_owned()));
    let shown = shown.take_while(|(nines, _)| *nines < rarest.max(1.0).ceil() + 0.5);
    Some(Chart {
        file: "latency.svg",
        title: "Latency across two gateways",
        x: Axis::at("deliveries that were at least as fast", shown),
        y,
        series: lines
            .iter()
            .map(|(server, points)| Series {
                server: (*server).to_owned(),
                points: points.iter().map(|(nines, us)| (*nines, (us / US_PER_MS).log10())).collect(),
            })
            .collect(),
    })
}

/// Bounds in microseconds and counts, of all runs together, rising.
fn buckets(records: &[&Record], server: &str) -> Vec<(f64, f64)> {
    let own = records.iter().filter(|record| record.server == server).filter_map(|record| record.report());
    let lists = own.filter_map(|report| report.pointer("/latency_buckets").and_then(Value::as_array));
    let pair = |bucket: &Value| Some((value_at(bucket, "/0")?, value_at(bucket, "/1")?));
    let mut buckets: Vec<(f64, f64)> = lists.flatten().filter_map(pair).collect();
    buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
    buckets
}

/// For each bucket how rare it is to be slower, as the number of nines, and its bound.
fn curve(buckets: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let total: f64 = buckets.iter().map(|(_, count)| count).sum();
    let mut points: Vec<(f64, f64)> = Vec::new();
    let mut slower = total;
    for (us, count) in buckets {
        slower -= count;
        if *us <= 0.0 || *count <= 0.0 {
            continue;
        }
        if slower < BEYOND_MIN {
            break;
        }
        let nines = (total / slower).log10();
        match points.last_mut() {
            // The same bound in another run.
            Some(last) if last.1 >= *us => last.0 = nines,
            _ => points.push((nines, *us)),
        }
    }
    points
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::results::fake::{record, results};
    use super::*;

    #[test]
    fn the_curve_goes_by_nines() {
        let curve =
            curve(&[(100.0, 90_000.0), (200.0, 9_000.0), (300.0, 0.0), (400.0, 900.0), (9_000.0, 100.0)]);
        let rounded: Vec<(f64, f64)> =
            curve.iter().map(|(nines, us)| ((nines * 1e6).round() / 1e6, *us)).collect();
        assert_eq!(
            rounded,
            [(1.0, 100.0), (2.0, 200.0), (3.0, 400.0)],
            "a hundred at the end say nothing more"
        );
        assert!(super::curve(&[]).is_empty());
    }

    #[test]
    fn runs_are_counted_together() {
        let run = |run, few: u32| {
            record("latency", "hubbub", run, json!({"latency_buckets": [[100, 900], [300, few]]}))
        };
        let chart = chart(&results(vec![run(1, 50), run(2, 150)])).unwrap();
        assert_eq!(chart.series.len(), 1);
        assert_eq!(
            chart.series[0].points,
            [
                ((2000.0_f64 / 200.0).log10(), 0.1_f64.log10()),
                ((2000.0_f64 / 150.0).log10(), 0.3_f64.log10())
            ]
        );
        assert_eq!(chart.x.labels.last().unwrap().1, "99 %");
        assert_eq!(super::chart(&Results::default()), None);
    }
}
