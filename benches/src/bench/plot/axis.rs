//! Axes. Every axis is linear in its own coordinates; a logarithmic one holds logarithms, with labels that say
//! what they stand for.

use super::super::figure::short;

/// About how many labels a linear axis has.
const LABELS: f64 = 6.0;
/// Decades up to which a logarithmic axis is labelled between them too.
const DECADES_FINE: f64 = 2.0;

/// An axis with its labels.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    /// What it shows, with the unit.
    pub(super) title: String,
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) labels: Vec<(f64, String)>,
}

impl Axis {
    /// From zero to a round number that is not below `max`.
    pub(super) fn linear(title: &str, max: f64) -> Self {
        let rough = (max.max(f64::MIN_POSITIVE)) / LABELS;
        let decade = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|times| times * decade).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        let steps = (0..=64_u32).map(f64::from).find(|steps| steps * step >= max).unwrap_or(LABELS);
        let labels = (0..=64_u32).map(f64::from).take_while(|place| *place <= steps);
        let labels = labels.map(|place| (place * step, short(place * step))).collect();
        Self { title: title.to_owned(), from: 0.0, to: steps * step, labels }
    }

    /// Of logarithms of positive values, widened to where a label can stand.
    pub(super) fn logarithmic(title: &str, values: impl IntoIterator<Item = f64>) -> Self {
        let bounds =
            values.into_iter().filter(|value| *value > 0.0).fold(None, |bounds, value| match bounds {
                None => Some((value, value)),
                Some((min, max)) => Some((f64::min(min, value), f64::max(max, value))),
            });
        let (min, max) = bounds.unwrap_or((1.0, 10.0));
        let (from, to) = (min.log10().floor(), max.log10().ceil());
        let to = if to > from { to } else { from + 1.0 };
        let between: &[f64] = if to - from > DECADES_FINE { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let decades = (0..32_u32).map(|place| from + f64::from(place)).take_while(|decade| *decade <= to);
        let values = decades.flat_map(|decade| between.iter().map(move |times| times * 10_f64.powf(decade)));
        Self::at(title, values.map(|value| (value.log10(), short(value))).filter(|(place, _)| *place <= to))
    }

    /// With these labels; from the first to the last.
    pub(super) fn at(title: &str, labels: impl IntoIterator<Item = (f64, String)>) -> Self {
        let labels: Vec<(f64, String)> = labels.into_iter().collect();
        let end = |label: Option<&(f64, String)>| label.map_or(0.0, |(place, _)| *place);
        let (from, to) = (end(labels.first()), end(labels.last()));
        let to = if to > from { to } else { from + 1.0 };
        Self { title: title.to_owned(), from, to, labels }
    }

    /// The label at a place.
    pub(super) fn label_at(&self, place: f64) -> &str {
        let distance = |label: &&(f64, String)| (label.0 - place).abs();
        let near = self.labels.iter().min_by(|one, other| distance(one).total_cmp(&distance(other)));
        near.map_or("", |(_, label)| label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(axis: &Axis) -> Vec<&str> {
        axis.labels.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn linear_axes_end_at_round_numbers() {
        assert_eq!(words(&Axis::linear("", 19_000.0)), ["0", "5,000", "10,000", "15,000", "20,000"]);
        assert_eq!(words(&Axis::linear("", 4.7)), ["0", "1", "2", "3", "4", "5"]);
        assert_eq!(words(&Axis::linear("", 0.3)).last(), Some(&"0.3"));
        assert!(Axis::linear("", 0.0).to > 0.0 || Axis::linear("", 0.0).labels.len() == 1);
    }

    #[test]
    fn logarithmic_axes_have_whole_decades() {
        let wide = Axis::logarithmic("", [9.0, 470.0, 0.0, 12_000.0]);
        assert_eq!((wide.from, wide.to), (0.0, 5.0));
        assert_eq!(words(&wide), ["1", "10", "100", "1,000", "10,000", "100,000"]);
        let narrow = Axis::logarithmic("", [0.2, 0.7]);
        assert_eq!(words(&narrow), ["0.1", "0.2", "0.5", "1"]);
        assert_eq!(narrow.label_at(-0.69), "0.2");
        assert_eq!(words(&Axis::logarithmic("", [])), ["1", "2", "5", "10"]);
        assert_eq!(words(&Axis::logarithmic("", [10.0])), ["10", "20", "50", "100"]);
    }
}
