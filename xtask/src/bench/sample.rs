//! Repeated measurements, and how two series of them compare.

use std::fmt;
use std::time::Duration;

/// Measurements of one thing, in the order of the rounds.
#[derive(Debug, Clone, Default)]
pub(super) struct Samples(Vec<Duration>);

/// How a series spreads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spread {
    pub(super) median: f64,
    /// The least and the greatest.
    ends: (f64, f64),
    /// What the middle half lies between.
    middle: (f64, f64),
}

impl Spread {
    /// How these spread; all is 0 of none.
    pub(super) fn of(values: impl Iterator<Item = f64>) -> Self {
        spread(values)
    }

    /// The median, with the range of the middle half: for series so long that the ends are accidents.
    pub(super) fn middle_half(&self) -> String {
        let (low, high) = self.middle;
        format!("{:.2} ({low:.2} to {high:.2})", self.median)
    }
}

impl Samples {
    pub(super) fn add(&mut self, sample: Duration) {
        self.0.push(sample);
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// The middle one, in milliseconds; 0 of none.
    pub(super) fn median_ms(&self) -> f64 {
        spread(self.0.iter().map(|sample| sample.as_secs_f64() * 1e3)).median
    }

    /// The quickest one, which other work on the machine has disturbed least, in milliseconds; 0 of
    /// none.
    pub(super) fn quickest_ms(&self) -> f64 {
        spread(self.0.iter().map(|sample| sample.as_secs_f64() * 1e3)).ends.0
    }

    /// The slowest one, in milliseconds; 0 of none.
    pub(super) fn slowest_ms(&self) -> f64 {
        spread(self.0.iter().map(|sample| sample.as_secs_f64() * 1e3)).ends.1
    }

    /// The one that this share of all, such as 0.99, is at most as long as; 0 of none.
    pub(super) fn quantile(&self, share: f64) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort();
        let has_passed = |index: usize| (index + 1) as f64 >= share * sorted.len() as f64;
        let first = (0..sorted.len()).find(|index| has_passed(*index));
        first.map(|index| sorted[index]).unwrap_or_default()
    }

    /// The ratios of each measurement to the other series' in the same round. What slows a whole
    /// round down cancels out.
    pub(super) fn ratios_to(&self, other: &Self) -> Spread {
        spread(self.0.iter().zip(&other.0).map(|(a, b)| a.as_secs_f64() / b.as_secs_f64()))
    }
}

fn spread(values: impl Iterator<Item = f64>) -> Spread {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let median = match (values.len().is_multiple_of(2), values.get(middle)) {
        (_, None) => 0.0,
        (true, Some(upper)) => f64::midpoint(values[middle - 1], *upper),
        (false, Some(middle)) => *middle,
    };
    let at = |index: usize| values.get(index).copied().unwrap_or_default();
    let last = values.len().saturating_sub(1);
    let quarter = values.len() / 4;
    Spread {
        median,
        ends: (at(0), at(last)),
        middle: (at(quarter), at(last.saturating_sub(quarter))),
    }
}

impl fmt::Display for Spread {
    /// The median, and from where to where.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (least, greatest) = self.ends;
        write!(f, "{:.2} ({least:.2} to {greatest:.2})", self.median)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(milliseconds: &[u64]) -> Samples {
        Samples(milliseconds.iter().map(|ms| Duration::from_millis(*ms)).collect())
    }

    #[test]
    fn the_median_is_the_middle_or_between_the_two_middle_ones() {
        let medians = [&[][..], &[7], &[9, 1], &[9, 1, 2]].map(|ms| samples(ms).median_ms());
        assert_eq!(medians.map(|median| format!("{median:.1}")), ["0.0", "7.0", "5.0", "2.0"]);
    }

    #[test]
    fn the_quickest_is_the_least() {
        assert_eq!(format!("{:.1}", samples(&[9, 3, 4]).quickest_ms()), "3.0");
    }

    #[test]
    fn a_quantile_is_one_of_the_measurements() {
        let all = samples(&[5, 4, 3, 2, 1, 6, 7, 8, 9, 10]);
        let quantiles = [0.0, 0.5, 0.9, 0.99, 1.0].map(|share| all.quantile(share).as_millis());
        assert_eq!(quantiles, [1, 5, 9, 10, 10]);
        assert_eq!(Samples::default().quantile(0.5), Duration::ZERO);
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        // Everything is twice as slow in the second round.
        let spread = samples(&[30, 60, 33]).ratios_to(&samples(&[20, 40, 20]));
        assert_eq!(spread.to_string(), "1.50 (1.50 to 1.65)");
    }

    #[test]
    fn the_middle_half_leaves_accidents_out() {
        let spread = samples(&[1, 20, 21, 22, 23, 24, 25, 900]).ratios_to(&samples(&[10; 8]));
        assert_eq!(spread.to_string(), "2.25 (0.10 to 90.00)");
        assert_eq!(spread.middle_half(), "2.25 (2.10 to 2.40)");
    }
}
