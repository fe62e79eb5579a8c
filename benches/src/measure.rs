//! Rates, and what is said of them.

use std::time::Duration;

use serde::Serialize;

/// The least, the middle and the greatest of several rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Of values of which there is at least one.
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |place: usize| values.get(place).copied().unwrap_or(f64::NAN);
        let last = values.len().saturating_sub(1);
        let median = (at(last / 2) + at(last.div_ceil(2))) / 2.0;
        Self { min: at(0), median, max: at(last) }
    }
}

/// So many in such a time, per second.
pub(crate) fn per_second(count: u32, took: Duration) -> f64 {
    f64::from(count) / took.as_secs_f64()
}

/// One thing measured beside its limit.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    pub(crate) what: String,
    pub(crate) per_second: Spread,
    pub(crate) limit_per_second: Spread,
    /// Of each round's two values, not of the medians.
    pub(crate) ratio: Spread,
}

impl Figure {
    pub(crate) fn of(what: impl Into<String>, pairs: &[(f64, f64)]) -> Self {
        let all = |value: fn(&(f64, f64)) -> f64| Spread::of(pairs.iter().map(value).collect());
        Self {
            what: what.into(),
            per_second: all(|pair| pair.0),
            limit_per_second: all(|pair| pair.1),
            ratio: all(|pair| pair.0 / pair.1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_of_sorted_values() {
        let odd = Spread::of(vec![3.0, 1.0, 2.0]);
        assert_eq!(odd, Spread { min: 1.0, median: 2.0, max: 3.0 });
        let even = Spread::of(vec![4.0, 1.0, 2.0, 3.0]);
        assert_eq!(even.median, 2.5);
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let figure = Figure::of("x", &[(1.0, 2.0), (10.0, 10.0)]);
        assert_eq!((figure.ratio.min, figure.ratio.max), (0.5, 1.0));
    }
}
