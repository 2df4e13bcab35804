//! One number of a report: where it stands in the JSON, what it is called, and how numbers are written.

use serde_json::Value;

/// Significant digits of a number below 100,000.
const DIGITS: i32 = 3;

/// A number that a report may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Figure {
    /// Where, as a JSON pointer (RFC 6901).
    pub(super) pointer: String,
    /// What it is.
    pub(super) title: String,
    /// In what; empty for plain counts and ratios.
    pub(super) unit: &'static str,
}

impl Figure {
    pub(super) fn new(pointer: impl Into<String>, title: impl Into<String>, unit: &'static str) -> Self {
        Self { pointer: pointer.into(), title: title.into(), unit }
    }

    /// The number, where the report has it.
    pub(super) fn of(&self, report: &Value) -> Option<f64> {
        value_at(report, &self.pointer)
    }

    /// The head of its column.
    pub(super) fn heading(&self) -> String {
        if self.unit.is_empty() { self.title.clone() } else { format!("{}, {}", self.title, self.unit) }
    }
}

/// The number at a JSON pointer.
pub(super) fn value_at(report: &Value, pointer: &str) -> Option<f64> {
    report.pointer(pointer)?.as_f64().filter(|value| value.is_finite())
}

/// A number for people: three digits that count, thousands apart.
pub(super) fn number(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    let magnitude = (0..).take(12).find(|power| value.abs() < 10_f64.powi(*power)).unwrap_or(12);
    // Below one, zeros after the point do not count.
    let small = (1..8).find(|power| value.abs() * 10_f64.powi(*power) >= 1.0).unwrap_or(8);
    let decimals = if value.abs() < 1.0 { small + DIGITS - 1 } else { (DIGITS - magnitude).max(0) };
    let text = format!("{value:.*}", usize::try_from(decimals).unwrap_or(0));
    let (whole, rest) = text.split_once('.').unwrap_or((&text, ""));
    let whole = thousands(whole);
    if rest.is_empty() { whole } else { format!("{whole}.{rest}") }
}

/// A number without the zeros at its end, for those that are exact.
pub(super) fn short(value: f64) -> String {
    let text = number(value);
    let trimmed = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    trimmed.to_owned()
}

/// A count.
pub(super) fn whole(value: f64) -> String {
    thousands(&format!("{value:.0}"))
}

/// `1234567` as `1,234,567`.
pub(super) fn thousands(digits: &str) -> String {
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        let left = digits.len() - place;
        if place > 0 && left.is_multiple_of(3) && !out.ends_with('-') {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn finds_numbers_in_reports() {
        let report = json!({"latency_us": {"p50": 7}, "steps": [{"n": 1.5}], "rate": null, "word": "x"});
        let at = |pointer: &str| Figure::new(pointer, "", "").of(&report);
        assert_eq!(at("/latency_us/p50"), Some(7.0));
        assert_eq!(at("/steps/0/n"), Some(1.5));
        assert_eq!((at("/rate"), at("/word"), at("/steps/1/n")), (None, None, None));
        assert_eq!(Figure::new("", "CPU", "µs").heading(), "CPU, µs");
        assert_eq!(Figure::new("", "rooms", "").heading(), "rooms");
    }

    #[test]
    fn writes_numbers_for_people() {
        let cases = [
            (0.0, "0"),
            (0.045, "0.0450"),
            (0.045_67, "0.0457"),
            (0.5, "0.500"),
            (3.714_9, "3.71"),
            (10.0, "10.0"),
            (24.36, "24.4"),
            (480.4, "480"),
            (12_921.6, "12,922"),
            (2_900_000.0, "2,900,000"),
            (-1_234.0, "-1,234"),
            (-123.0, "-123"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
        assert_eq!([0.0, 0.045, 3.8, 10.0, 500_000.0].map(short), ["0", "0.045", "3.8", "10", "500,000"]);
    }
}
