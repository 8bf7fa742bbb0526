//! Figures: their samples, what is expected of them, and how they are printed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::Result;
use serde_json::{Value, json};

/// What is expected of a median.
#[derive(Clone, Copy)]
pub(super) enum Expected {
    Below(f64),
    /// A reference: whatever it is.
    Nothing,
}

/// Samples of one quantity.
struct Figure {
    subject: String,
    name: String,
    unit: &'static str,
    samples: Vec<f64>,
    expected: Expected,
}

/// Everything that was measured.
pub(super) struct Report {
    machine: BTreeMap<&'static str, String>,
    figures: Vec<Figure>,
}

impl Report {
    pub(super) fn new(machine: BTreeMap<&'static str, String>) -> Self {
        Self { machine, figures: Vec::new() }
    }

    pub(super) fn add(
        &mut self,
        subject: &str,
        name: &str,
        unit: &'static str,
        samples: Vec<f64>,
        expected: Expected,
    ) {
        self.figures.push(Figure {
            subject: subject.to_owned(),
            name: name.to_owned(),
            unit,
            samples,
            expected,
        });
    }

    pub(super) fn print(&self, as_json: bool) -> Result<()> {
        let text = if as_json { format!("{:#}\n", self.json()) } else { self.table() };
        std::io::stdout().lock().write_all(text.as_bytes())?;
        Ok(())
    }

    fn json(&self) -> Value {
        let figures: Vec<Value> = self.figures.iter().map(Figure::json).collect();
        json!({"machine": self.machine, "figures": figures})
    }

    fn table(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.machine {
            let _ = writeln!(text, "{name}: {value}");
        }
        let _ = writeln!(text, "\n| what | | median | least | most | n | expected | |");
        let _ = writeln!(text, "|---|---|---|---|---|---|---|---|");
        for figure in &self.figures {
            let _ = writeln!(text, "{}", figure.line());
        }
        text
    }
}

impl Figure {
    fn json(&self) -> Value {
        let (least, most) = self.range();
        let below = match self.expected {
            Expected::Below(bound) => Some(bound),
            Expected::Nothing => None,
        };
        json!({
            "subject": self.subject, "name": self.name, "unit": self.unit, "median": median(&self.samples),
            "least": least, "most": most, "samples": self.samples, "expected_below": below, "met": self.met(),
        })
    }

    fn line(&self) -> String {
        let (least, most) = self.range();
        let expected = match self.expected {
            Expected::Below(bound) => format!("below {}", shown(bound)),
            Expected::Nothing => String::new(),
        };
        let verdict = match self.met() {
            Some(true) => "met",
            Some(false) => "**missed**",
            None => "",
        };
        let (subject, name, unit) = (&self.subject, &self.name, self.unit);
        let (median, least, most) = (shown(median(&self.samples)), shown(least), shown(most));
        let count = self.samples.len();
        format!(
            "| {subject} | {name} | {median} {unit} | {least} | {most} | {count} | {expected} | {verdict} |"
        )
    }

    fn met(&self) -> Option<bool> {
        match self.expected {
            Expected::Below(bound) => Some(median(&self.samples) < bound),
            Expected::Nothing => None,
        }
    }

    fn range(&self) -> (f64, f64) {
        let least = self.samples.iter().copied().fold(f64::INFINITY, f64::min);
        (least, self.samples.iter().copied().fold(f64::NEG_INFINITY, f64::max))
    }
}

/// The middle of the samples; of an even number, the lower of the two in the middle.
pub(super) fn median(samples: &[f64]) -> f64 {
    quantile(samples, 0.5)
}

/// The least sample that is not below a share `q` of them.
pub(super) fn quantile(samples: &[f64], q: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// Three digits that matter.
fn shown(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        medium if medium >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_samples() {
        let samples: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!((quantile(&samples, 0.5), quantile(&samples, 0.99)), (50.0, 99.0));
        assert_eq!((median(&[7.0]), median(&[3.0, 1.0, 2.0])), (7.0, 2.0));
    }

    #[test]
    fn a_missed_expectation_is_said() {
        let mut report = Report::new(BTreeMap::new());
        report.add("memory", "resident", "MB", vec![9.0, 11.0, 12.0], Expected::Below(10.0));
        report.add("cpu", "idle", "%", vec![0.1], Expected::Below(0.5));
        let table = report.table();
        assert!(table.contains("| 11.0 MB | 9.00 | 12.0 | 3 | below 10.0 | **missed** |"), "{table}");
        assert!(table.contains("| 1 | below 0.50 | met |"), "{table}");
        assert_eq!(report.json()["figures"][0]["met"], false);
    }
}
