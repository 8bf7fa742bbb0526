//! How figures are printed: for people, for documents, for programs.

use serde::Serialize;

use super::arguments::{Plan, Subject};
use super::figure::{Figure, Spread};
use super::machine::Machine;
use crate::cli::table::{columns, pairs};

/// Everything that a run has measured. As JSON this is the document that docs/performance.md describes.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(super) struct Report {
    /// The version of this program.
    pub(super) harmonylite: &'static str,
    /// The machine.
    pub(super) machine: Machine,
    /// How much of everything.
    pub(super) plan: Plan,
    /// The figures.
    pub(super) figures: Vec<Figure>,
}

impl Report {
    /// For people at a terminal.
    pub(super) fn text(&self) -> String {
        let facts = self.facts();
        let facts: Vec<(&str, String)> = facts.iter().map(|(name, value)| (*name, value.clone())).collect();
        let mut text = pairs(&facts);
        for (subject, figures) in self.by_subject() {
            let mut rows = vec![TITLES.map(str::to_uppercase).to_vec()];
            rows.extend(figures.into_iter().map(cells));
            text.push_str(&format!("\n{}: {}\n{}", subject.name(), subject.title(), columns(&rows, 2)));
        }
        text.push_str(&format!("\n{FOOT}\n"));
        text
    }

    /// The same as tables.
    pub(super) fn markdown(&self) -> String {
        let mut text = format!("| {} |\n|---|---|---|---|---|---|\n", TITLES.join(" | "));
        for (subject, figures) in self.by_subject() {
            text.push_str(&format!("| **{}** | | | | | |\n", subject.title().trim_end_matches('.')));
            for figure in figures {
                text.push_str(&format!("| {} |\n", cells(figure).join(" | ")));
            }
        }
        let facts: Vec<String> =
            self.facts().iter().map(|(name, value)| format!("{name}: {value}")).collect();
        text.push_str(&format!("\n{FOOT}\n\n{}.\n", facts.join("; ")));
        text
    }

    fn by_subject(&self) -> Vec<(Subject, Vec<&Figure>)> {
        let mut groups: Vec<(Subject, Vec<&Figure>)> = Vec::new();
        for figure in &self.figures {
            match groups.last_mut() {
                Some((subject, group)) if *subject == figure.subject => group.push(figure),
                _ => groups.push((figure.subject, vec![figure])),
            }
        }
        groups
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let (machine, plan) = (&self.machine, &self.plan);
        let loads = format!("{} at the start, {} at the end", machine.load_at_start, machine.load_at_end);
        vec![
            ("harmonylite", format!("{}, {} build", self.harmonylite, machine.build)),
            ("cores", format!("{}, {}", machine.cores, machine.processor)),
            ("memory", format!("{} MB", grouped(machine.memory_mb))),
            ("kernel", machine.kernel.clone()),
            ("file system", machine.file_system.clone()),
            ("load", loads),
            ("sqlite", machine.sqlite.to_owned()),
            ("nats-server", machine.nats_server.clone()),
            ("rounds", plan.rounds.to_string()),
        ]
    }
}

const TITLES: [&str; 6] = ["what", "median", "spread", "reference", "its median", "ratio, spread"];
const FOOT: &str = "Spreads are the least and the most of all rounds. A ratio says how many times as slow as its reference a \
                    figure is, or as large: the median of the rounds' own ratios.";

fn cells(figure: &Figure) -> Vec<String> {
    let unit = figure.unit.name();
    let ratio = format!("{} ({})", shown(figure.ratio.median), range(&figure.ratio));
    vec![
        figure.what.to_owned(),
        format!("{} {unit}", shown(figure.spread.median)),
        range(&figure.spread),
        figure.reference.what.to_owned(),
        format!("{} {unit}", shown(figure.reference.spread.median)),
        ratio,
    ]
}

fn range(spread: &Spread) -> String {
    format!("{} to {}", shown(spread.least), shown(spread.most))
}

/// Three digits that matter.
fn shown(value: f64) -> String {
    match value.abs() {
        large if large >= 1000.0 => {
            let unit = 10_f64.powf(large.log10().floor() - 2.0);
            grouped(((value / unit).round() * unit) as u64)
        }
        hundreds if hundreds >= 100.0 => format!("{value:.0}"),
        tens if tens >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// With a comma between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let starts_group = |at: usize| at > 0 && (digits.len() - at).is_multiple_of(3);
    let write = |(at, digit): (usize, char)| {
        if starts_group(at) { format!(",{digit}") } else { digit.to_string() }
    };
    digits.chars().enumerate().map(write).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::figure::{Definition, Unit};
    use super::*;

    fn report() -> Report {
        let figure = |subject, name, what, unit, rounds: [(f64, f64); 3]| {
            Definition { subject, name, what, unit, reference: "without us" }.figure(rounds)
        };
        let rounds = [(123_456.0, 400_000.0), (100_000.0, 410_000.0), (140_000.0, 420_000.0)];
        let waits = [(1.876, 0.2), (1.5, 0.1), (12.34, 0.3)];
        Report {
            harmonylite: "0.1.0",
            machine: Machine::read(Path::new("/"), "2.15.1".to_owned()),
            plan: super::super::arguments::BenchArguments::default().plan(),
            figures: vec![
                figure(Subject::Throughput, "visible", "rows that came", Unit::RowsPerSecond, rounds),
                figure(Subject::Latency, "p50", "p50", Unit::Milliseconds, waits),
            ],
        }
    }

    #[test]
    fn a_line_has_the_figure_its_spread_its_reference_and_the_ratio() {
        let markdown = report().markdown();
        let line = "| rows that came | 123,000 rows/s | 100,000 to 140,000 | without us | 410,000 rows/s | \
                    3.24 (3.00 to 4.10) |";
        assert!(markdown.contains(line), "{markdown}");
        assert!(markdown.contains("| p50 | 1.88 ms | 1.50 to 12.3 | without us | 0.20 ms |"), "{markdown}");
    }

    #[test]
    fn people_see_the_machine_first_and_one_table_per_subject() {
        let text = report().text();
        assert!(text.starts_with("  harmonylite:  0.1.0, debug build\n"), "{text}");
        let (throughput, latency) = (text.find("\nthroughput: ").unwrap(), text.find("\nlatency: ").unwrap());
        assert!(throughput < text.find("rows that came").unwrap() && throughput < latency, "{text}");
    }

    #[test]
    fn programs_find_samples_reference_and_ratio_of_every_figure() {
        let document = serde_json::to_value(report()).unwrap();
        let figure = &document["figures"][0];
        assert_eq!(figure["subject"], "throughput");
        assert_eq!((&figure["unit"], &figure["median"]), (&"rows/s".into(), &123_456.0.into()));
        assert_eq!(figure["reference"]["what"], "without us");
        assert_eq!(figure["reference"]["samples"].as_array().unwrap().len(), 3);
        assert_eq!(figure["ratio"]["least"], 3.0);
    }

    #[test]
    fn three_digits_matter() {
        let numbers = [0.1234, 9.87, 12.34, 456.7, 1234.0, 99_960.0, 1_234_567.0];
        let expected = ["0.12", "9.87", "12.3", "457", "1,230", "100,000", "1,230,000"];
        assert_eq!(numbers.map(shown), expected);
    }
}
