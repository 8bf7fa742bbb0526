//! Figures: samples beside those of a reference, and the ratio of each pair.

use serde::Serialize;

use super::arguments::Subject;

/// What a quantity is measured in, and with it which way is better.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub(super) enum Unit {
    /// More is better.
    #[serde(rename = "rows/s")]
    RowsPerSecond,
    /// Less is better.
    #[serde(rename = "ms")]
    Milliseconds,
    /// Less is better.
    #[serde(rename = "us/row")]
    MicrosecondsPerRow,
    /// Less is better.
    #[serde(rename = "MB")]
    Megabytes,
}

/// The same quantity, once a round.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(super) struct Spread {
    /// The middle one; of an even number, the lower of the two in the middle.
    pub(super) median: f64,
    /// The least.
    pub(super) least: f64,
    /// The most.
    pub(super) most: f64,
    /// All of them, in the order of the rounds.
    pub(super) samples: Vec<f64>,
}

/// What a figure is compared with.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(super) struct Reference {
    /// What was measured.
    pub(super) what: &'static str,
    /// In the unit of the figure.
    #[serde(flatten)]
    pub(super) spread: Spread,
}

/// One figure of the report.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(super) struct Figure {
    /// What it belongs to.
    pub(super) subject: Subject,
    /// Its name, for programs.
    pub(super) name: &'static str,
    /// What it is, for people.
    pub(super) what: &'static str,
    /// Of the figure and of its reference.
    pub(super) unit: Unit,
    /// What was measured.
    #[serde(flatten)]
    pub(super) spread: Spread,
    /// Measured in the same rounds.
    pub(super) reference: Reference,
    /// How many times as slow as the reference, or as large: round by round. Less is better, whatever the unit.
    pub(super) ratio: Spread,
}

/// A figure without its samples.
#[derive(Clone, Copy, Debug)]
pub(super) struct Definition {
    pub(super) subject: Subject,
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    pub(super) unit: Unit,
    pub(super) reference: &'static str,
}

impl Definition {
    /// The figure of these rounds, each with what was measured and the same of the reference.
    pub(super) fn figure(self, rounds: impl IntoIterator<Item = (f64, f64)>) -> Figure {
        let (samples, references): (Vec<f64>, Vec<f64>) = rounds.into_iter().unzip();
        let pairs = samples.iter().zip(&references);
        let ratios = pairs.map(|(sample, reference)| match self.unit {
            Unit::RowsPerSecond => reference / sample,
            Unit::Milliseconds | Unit::MicrosecondsPerRow | Unit::Megabytes => sample / reference,
        });
        let ratio = Spread::of(ratios.collect());
        let reference = Reference { what: self.reference, spread: Spread::of(references) };
        let Self { subject, name, what, unit, .. } = self;
        Figure { subject, name, what, unit, spread: Spread::of(samples), reference, ratio }
    }
}

impl Unit {
    /// As it is written.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::RowsPerSecond => "rows/s",
            Self::Milliseconds => "ms",
            Self::MicrosecondsPerRow => "us/row",
            Self::Megabytes => "MB",
        }
    }
}

impl Spread {
    fn of(samples: Vec<f64>) -> Self {
        let (median, least) = (quantile(&samples, 0.5), quantile(&samples, 0.0));
        Self { median, least, most: quantile(&samples, 1.0), samples }
    }
}

/// The least sample that a share `q` of them does not exceed; not a number when there is none.
pub(super) fn quantile(samples: &[f64], q: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(unit: Unit) -> Definition {
        Definition { subject: Subject::Latency, name: "a", what: "b", unit, reference: "c" }
    }

    #[test]
    fn quantiles_are_samples() {
        let samples: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!([0.0, 0.5, 0.99, 1.0].map(|q| quantile(&samples, q)), [1.0, 50.0, 99.0, 100.0]);
        assert_eq!((quantile(&[7.0], 0.5), quantile(&[3.0, 1.0], 0.5)), (7.0, 1.0));
    }

    #[test]
    fn a_ratio_of_three_is_three_times_worse_whichever_way_the_unit_goes() {
        let slow = definition(Unit::Milliseconds).figure([(30.0, 10.0)]);
        let few = definition(Unit::RowsPerSecond).figure([(10.0, 30.0)]);
        assert_eq!((slow.ratio.median, few.ratio.median), (3.0, 3.0));
    }

    #[test]
    fn ratios_are_those_of_each_round_and_not_of_the_medians() {
        let figure = definition(Unit::Megabytes).figure([(1.0, 1.0), (6.0, 2.0), (8.0, 4.0)]);
        assert_eq!(figure.ratio.samples, [1.0, 3.0, 2.0]);
        assert_eq!((figure.ratio.least, figure.ratio.median, figure.ratio.most), (1.0, 2.0, 3.0));
        assert_eq!((figure.spread.median, figure.reference.spread.median), (6.0, 2.0));
    }

    #[test]
    fn units_are_called_the_same_for_people_and_programs() {
        for unit in [Unit::RowsPerSecond, Unit::Milliseconds, Unit::MicrosecondsPerRow, Unit::Megabytes] {
            assert_eq!(serde_json::to_value(unit).unwrap(), unit.name());
        }
    }
}
