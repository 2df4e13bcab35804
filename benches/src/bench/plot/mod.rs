//! The plots: what is in them (pure), and how it is drawn.

mod axis;
mod draw;
mod latency;
mod memory;
mod room_size;

pub(super) use draw::draw;

use super::results::Results;
use axis::Axis;

/// A plot, in the coordinates of its axes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Chart {
    /// The name of its file, in the folder of the plots.
    pub(super) file: &'static str,
    pub(super) title: &'static str,
    x: Axis,
    y: Axis,
    series: Vec<Series>,
}

/// One line of it.
#[derive(Debug, Clone, PartialEq)]
struct Series {
    server: String,
    points: Vec<(f64, f64)>,
}

/// Those that there are results for.
pub(super) fn charts(results: &Results) -> Vec<Chart> {
    [memory::chart(results), room_size::chart(results), latency::chart(results)]
        .into_iter()
        .flatten()
        .collect()
}

/// The servers of some records, each once, in their order.
fn servers<'a>(records: &[&'a super::results::Record]) -> Vec<&'a str> {
    let mut servers: Vec<&str> = Vec::new();
    for record in records {
        if !servers.contains(&record.server.as_str()) {
            servers.push(&record.server);
        }
    }
    servers
}
