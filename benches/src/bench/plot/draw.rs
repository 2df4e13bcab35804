//! Draws a chart as SVG, on white, so that it can be read on a dark page too.

use std::fmt::Display;
use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, ValueFormatter};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{Axis, Chart};

const WIDTH: u32 = 940;
const LEGEND_WIDTH: u32 = 130;
const HEIGHT: u32 = 480;
const FONT: &str = "sans-serif";
const LINE_WIDTH: u32 = 2;
/// Of the line that the plot is about.
const OWN_WIDTH: u32 = 4;
const DOT_SIZE: u32 = 4;
/// A line with more points than this has no dots.
const DOTS_MAX: usize = 12;

/// Colours that people who see few of them can still tell apart (Okabe and Ito, 2008).
const COLOURS: [(&str, RGBColor); 8] = [
    ("hubbub", RGBColor(213, 94, 0)),
    ("floor-uring", RGBColor(0, 0, 0)),
    ("floor-send", RGBColor(130, 130, 130)),
    ("nchan", RGBColor(0, 158, 115)),
    ("nats", RGBColor(86, 180, 233)),
    ("socketio", RGBColor(0, 114, 178)),
    ("ws", RGBColor(230, 159, 0)),
    ("tungstenite", RGBColor(204, 121, 167)),
];

/// The text of the SVG file.
pub(in super::super) fn draw(chart: &Chart) -> Result<String, String> {
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, (WIDTH, HEIGHT)).into_drawing_area();
    paint(chart, &area).map_err(|error| format!("{}: {error}", chart.file))?;
    drop(area);
    Ok(svg)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn paint(chart: &Chart, area: &Area<'_>) -> Result<(), String> {
    area.fill(&WHITE).map_err(words)?;
    let (left, right) = area.split_horizontally(WIDTH - LEGEND_WIDTH);
    let mut plot = ChartBuilder::on(&left)
        .margin(14)
        .margin_right(28)
        .caption(chart.title, (FONT, 22))
        .x_label_area_size(52)
        .y_label_area_size(72)
        .build_cartesian_2d(Ticks::new(&chart.x), Ticks::new(&chart.y))
        .map_err(words)?;
    plot.configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.15))
        .x_desc(chart.x.title.as_str())
        .y_desc(chart.y.title.as_str())
        .label_style((FONT, 15))
        .axis_desc_style((FONT, 16))
        .draw()
        .map_err(words)?;
    // The first one comes last, to lie on top.
    for series in chart.series.iter().rev() {
        let style = style(&series.server);
        plot.draw_series(LineSeries::new(series.points.iter().copied(), style)).map_err(words)?;
        if series.points.len() <= DOTS_MAX {
            let dots = series.points.iter().map(|point| Circle::new(*point, DOT_SIZE, style.filled()));
            plot.draw_series(dots).map_err(words)?;
        }
    }
    let servers = chart.series.iter().map(|series| series.server.as_str());
    legend(servers, &right)?;
    area.present().map_err(words)
}

/// Beside the plot, where it covers nothing.
fn legend<'a>(servers: impl Iterator<Item = &'a str>, area: &Area<'_>) -> Result<(), String> {
    for (server, y) in servers.zip((64..).step_by(24)) {
        area.draw(&PathElement::new([(0, y), (26, y)], style(server))).map_err(words)?;
        let left = TextStyle::from((FONT, 15)).pos(Pos::new(HPos::Left, VPos::Center));
        area.draw(&Text::new(server, (34, y), left)).map_err(words)?;
    }
    Ok(())
}

fn style(server: &str) -> ShapeStyle {
    let known = COLOURS.iter().find(|(name, _)| *name == server);
    let colour = known.map_or(MAGENTA, |(_, colour)| *colour);
    colour.stroke_width(if server == "hubbub" { OWN_WIDTH } else { LINE_WIDTH })
}

/// An axis as plotters wants it: with ticks where it has labels, and nowhere else.
struct Ticks {
    axis: Axis,
    range: RangedCoordf64,
}

impl Ticks {
    fn new(axis: &Axis) -> Self {
        Self { axis: axis.clone(), range: (axis.from..axis.to).into() }
    }
}

impl Ranged for Ticks {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        self.range.map(value, limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        self.axis.labels.iter().map(|(place, _)| *place).collect()
    }

    fn range(&self) -> Range<f64> {
        self.range.range()
    }
}

impl ValueFormatter<f64> for Ticks {
    fn format_ext(&self, place: &f64) -> String {
        self.axis.label_at(*place).to_owned()
    }
}

fn words(error: impl Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::super::Series;
    use super::*;

    #[test]
    fn a_chart_names_what_it_shows() {
        let series =
            |server: &str| Series { server: server.to_owned(), points: vec![(0.0, 1.0), (10.0, 4.0)] };
        let chart = Chart {
            file: "x.svg",
            title: "A title",
            x: Axis::linear("members of the room", 10.0),
            y: Axis::linear("CPU, µs", 5.0),
            series: vec![series("hubbub"), series("ws")],
        };
        let svg = draw(&chart).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        for text in ["A title", "members of the room", "CPU, µs", "hubbub", "ws", "10", "#D55E00", "#FFFFFF"]
        {
            assert!(svg.contains(text), "{text}");
        }
    }
}
