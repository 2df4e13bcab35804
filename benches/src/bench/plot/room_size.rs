//! CPU per delivery against the size of the room, beside the floors.

use super::super::figure::{value_at, whole};
use super::super::results::{Record, Results};
use super::super::spread::Spread;
use super::{Axis, Chart, Series, servers};

pub(super) fn chart(results: &Results) -> Option<Chart> {
    let records = results.of_case("room-size");
    let series: Vec<Series> = servers(&records)
        .into_iter()
        .map(|server| Series { server: server.to_owned(), points: points(&records, server) })
        .filter(|series| !series.points.is_empty())
        .collect();
    let most = series.iter().flat_map(|series| &series.points).map(|(_, us)| *us).reduce(f64::max)?;
    let labels = sizes(&records, None).into_iter().map(|size| (size.log10(), whole(size)));
    Some(Chart {
        file: "room-size.svg",
        title: "CPU of a delivery, by the size of the room",
        x: Axis::at("members of the room", labels),
        y: Axis::linear("CPU of the server per delivery, µs", most),
        series,
    })
}

/// The sizes that were measured, rising.
fn sizes(records: &[&Record], server: Option<&str>) -> Vec<f64> {
    let own = records.iter().filter(|record| server.is_none_or(|server| record.server == server));
    let mut sizes: Vec<f64> = own.filter_map(|record| value_at(record.report()?, "/members")).collect();
    sizes.retain(|size| *size > 0.0);
    sizes.sort_by(f64::total_cmp);
    sizes.dedup();
    sizes
}

fn points(records: &[&Record], server: &str) -> Vec<(f64, f64)> {
    let cost_at = |size: f64| {
        let of_size = records.iter().filter(|record| record.server == server).filter_map(|record| {
            let report = record.report().filter(|report| value_at(report, "/members") == Some(size))?;
            value_at(report, "/cpu_us_per_delivery")
        });
        Some((size.log10(), Spread::of(of_size)?.median))
    };
    sizes(records, Some(server)).into_iter().filter_map(cost_at).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::results::fake::{record, results};
    use super::*;

    #[test]
    fn medians_by_size() {
        let cost = |server: &str, run, members: u32, us: f64| {
            record("room-size", server, run, json!({"members": members, "cpu_us_per_delivery": us}))
        };
        let chart = chart(&results(vec![
            cost("hubbub", 1, 10, 8.0),
            cost("floor-send", 1, 10, 5.0),
            cost("hubbub", 1, 1000, 4.0),
            cost("hubbub", 2, 1000, 6.0),
        ]))
        .unwrap();
        assert_eq!(chart.x.labels, [(1.0, "10".to_owned()), (3.0, "1,000".to_owned())]);
        assert_eq!(chart.series[0].points, [(1.0, 8.0), (3.0, 5.0)]);
        assert_eq!(chart.series[1].points, [(1.0, 5.0)]);
        assert_eq!((chart.y.from, chart.y.to), (0.0, 8.0));
    }
}
