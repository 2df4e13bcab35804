//! What several runs say together.

use super::figure::number;

/// Median, smallest and largest of the runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Spread {
    /// Of some values; `None` of none.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let upper = *sorted.get(sorted.len() / 2)?;
        let lower = *sorted.get((sorted.len() - 1) / 2)?;
        let median = f64::midpoint(lower, upper);
        Some(Self { median, min: *sorted.first()?, max: *sorted.last()? })
    }

    /// `median (min–max)`, or the value alone where the runs agree.
    pub(super) fn text(&self) -> String {
        let [median, min, max] = [self.median, self.min, self.max].map(number);
        if min == max { median } else { format!("{median} ({min}–{max})") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_middle() {
        assert_eq!(Spread::of([]), None);
        assert_eq!(Spread::of([3.0, 1.0, 2.0]).unwrap().text(), "2.00 (1.00–3.00)");
        assert_eq!(Spread::of([1.0, 2.0, 4.0, 9.0]).unwrap().text(), "3.00 (1.00–9.00)");
        assert_eq!(Spread::of([7.0]).unwrap().text(), "7.00");
        assert_eq!(Spread::of([0.999, 1.0, 1.0001]).unwrap().text(), "1.00 (0.999–1.00)");
    }
}
