//! What was measured, and what is said of it.

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

/// What a value counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum Unit {
    #[serde(rename = "per second")]
    PerSecond,
    #[serde(rename = "µs")]
    Micros,
    #[serde(rename = "ms")]
    Millis,
    #[serde(rename = "s")]
    Seconds,
    #[serde(rename = "MiB")]
    Mebibytes,
    #[serde(rename = "")]
    Count,
}

impl Unit {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::PerSecond => "/s",
            Self::Micros => "µs",
            Self::Millis => "ms",
            Self::Seconds => "s",
            Self::Mebibytes => "MiB",
            Self::Count => "",
        }
    }
}

/// One thing measured, beside its limit where it has one.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    pub(crate) what: String,
    pub(crate) unit: Unit,
    pub(crate) value: Spread,
    pub(crate) limit: Option<Limit>,
}

/// What a figure stands beside.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Limit {
    pub(crate) what: String,
    pub(crate) value: Spread,
    /// Of each round's two values, not of the medians.
    pub(crate) ratio: Spread,
}

impl Figure {
    /// One that has no limit.
    pub(crate) fn alone(what: impl Into<String>, unit: Unit, values: Vec<f64>) -> Self {
        Self { what: what.into(), unit, value: Spread::of(values), limit: None }
    }

    /// One beside `limit`, round by round.
    pub(crate) fn beside(
        what: impl Into<String>,
        unit: Unit,
        values: &[f64],
        limit: impl Into<String>,
        limits: &[f64],
    ) -> Self {
        let ratios = values.iter().zip(limits).map(|(value, limit)| value / limit).collect();
        let limit = Limit {
            what: limit.into(),
            value: Spread::of(limits.to_vec()),
            ratio: Spread::of(ratios),
        };
        Self { limit: Some(limit), ..Self::alone(what, unit, values.to_vec()) }
    }
}

/// Figures that belong together.
#[derive(Debug, Serialize)]
pub(crate) struct Section {
    pub(crate) title: String,
    /// What a reader has to know of how it was measured.
    pub(crate) notes: Vec<String>,
    pub(crate) figures: Vec<Figure>,
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
        let figure = Figure::beside("x", Unit::PerSecond, &[1.0, 10.0], "y", &[2.0, 10.0]);
        let ratio = figure.limit.expect("it has one").ratio;
        assert_eq!((ratio.min, ratio.max), (0.5, 1.0));
    }
}
