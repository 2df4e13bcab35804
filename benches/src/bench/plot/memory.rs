//! Memory against connections: how much each further one costs is the slope.

use serde_json::Value;

use super::super::figure::value_at;
use super::super::results::{Record, Results};
use super::super::spread::Spread;
use super::{Axis, Chart, Series, servers};

const BYTES_PER_MB: f64 = 1e6;

pub(super) fn chart(results: &Results) -> Option<Chart> {
    let records = results.of_case("idle");
    let lines: Vec<(&str, Vec<(f64, f64)>)> =
        servers(&records).into_iter().map(|server| (server, points(&records, server))).collect();
    let all = || lines.iter().flat_map(|(_, points)| points);
    let most = all().map(|(connections, _)| *connections).reduce(f64::max)?;
    let y = Axis::logarithmic("user memory of the server, MB", all().map(|(_, megabytes)| *megabytes));
    let line = |(server, points): (&str, Vec<(f64, f64)>)| Series {
        server: server.to_owned(),
        points: points.into_iter().map(|(x, megabytes)| (x, megabytes.log10())).collect(),
    };
    Some(Chart {
        file: "memory.svg",
        title: "Memory of idle connections",
        x: Axis::linear("connections", most),
        y,
        series: lines.clone().into_iter().filter(|(_, points)| !points.is_empty()).map(line).collect(),
    })
}

/// Connections and megabytes, the median over the runs.
fn points(records: &[&Record], server: &str) -> Vec<(f64, f64)> {
    let reports =
        || records.iter().filter(|record| record.server == server).filter_map(|record| record.report());
    let steps = |report: &Value| report.pointer("/steps").and_then(Value::as_array).map_or(0, Vec::len);
    let most = reports().map(steps).max().unwrap_or_default();
    let median =
        |pointer: &str| Some(Spread::of(reports().filter_map(|report| value_at(report, pointer)))?.median);
    let point = |step: usize| {
        let connections = median(&format!("/steps/{step}/connections"))?;
        let megabytes = median(&format!("/steps/{step}/user_bytes"))? / BYTES_PER_MB;
        (megabytes > 0.0).then_some((connections, megabytes))
    };
    (0..most).filter_map(point).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::results::fake::{failed, record, results};
    use super::*;

    #[test]
    fn a_line_for_each_server_that_was_measured() {
        let steps = |bytes: f64| json!({"steps": [{"connections": 5000, "user_bytes": bytes}, {"connections": 19000, "user_bytes": 4.0 * bytes}]});
        let results = results(vec![
            record("idle", "hubbub", 1, steps(2e6)),
            record("idle", "hubbub", 2, steps(4e6)),
            failed(record("idle", "nats", 1, steps(1.0)), "no nats"),
            record("idle", "ws", 1, steps(100e6)),
        ]);
        let chart = chart(&results).unwrap();
        let servers: Vec<&str> = chart.series.iter().map(|series| series.server.as_str()).collect();
        assert_eq!(servers, ["hubbub", "ws"]);
        assert_eq!(chart.series[0].points, [(5000.0, 3_f64.log10()), (19_000.0, 12_f64.log10())]);
        assert_eq!((chart.x.to, chart.y.from, chart.y.to), (20_000.0, 0.0, 3.0));
        assert_eq!(super::chart(&Results::default()), None);
    }
}
