//! What `harmonylite bench` is asked for, and what follows for a run.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;

/// The options of `harmonylite bench`.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct BenchArguments {
    /// Measure only these.
    #[arg(long, value_name = "SUBJECT,...", value_delimiter = ',')]
    pub(super) only: Vec<Subject>,
    /// A minute instead of several: smaller numbers, two rounds. Options below replace single ones.
    #[arg(long)]
    quick: bool,
    /// How often each figure is measured, each time beside its reference [default: 5].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// Rows of a round in transactions of 1000 [default: 200000].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..=100_000_000))]
    rows: Option<i64>,
    /// Rows of a round in transactions of their own [default: 20000].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..=100_000_000))]
    single_rows: Option<i64>,
    /// How long an application writes at its own pace where latencies are measured, in seconds [default: 5].
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: Option<u64>,
    /// Rows that a node has missed and catches up with [default: 1000000].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..=100_000_000))]
    backlog: Option<i64>,
    /// Where an application's writes are measured: let all nodes have all processors and the disk, instead of half of the
    /// processors and the disk for its node, and the rest and memory for the others.
    #[arg(long)]
    share_machine: bool,
    /// Where a folder for the databases and streams is made, and removed again; put it on the disk that is to be
    /// measured [default: the system's folder for temporary files].
    #[arg(long, value_name = "FOLDER")]
    pub(super) dir: Option<PathBuf>,
    /// Print JSON, for programs.
    #[arg(long)]
    pub(super) json: bool,
    /// Print Markdown, for documents.
    #[arg(long, conflicts_with = "json")]
    pub(super) markdown: bool,
}

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Subject {
    /// Rows per second, from commit to visible on all three nodes.
    Throughput,
    /// From commit to visible on another node, at 100 writes per second.
    Latency,
    /// What an application waits for its own writes while another node's load is applied to its database.
    Application,
    /// A node that missed many rows: how fast it catches up, and in how much memory.
    CatchUp,
    /// What the triggers cost an insert.
    Capture,
}

/// How much of everything a run measures.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Plan {
    /// How often each figure is measured.
    pub(super) rounds: u32,
    /// Rows of a round in transactions of 1000.
    pub(super) rows: i64,
    /// Rows of a round in transactions of their own.
    pub(super) single_rows: i64,
    /// How long an application writes at its own pace.
    pub(super) seconds: u64,
    /// Rows that a node has missed.
    pub(super) backlog: i64,
    /// The application's node has no processors and no disk of its own.
    pub(super) share_machine: bool,
}

const FULL: Plan = Plan {
    rounds: 5,
    rows: 200_000,
    single_rows: 20_000,
    seconds: 5,
    backlog: 1_000_000,
    share_machine: false,
};
const QUICK: Plan =
    Plan { rounds: 2, rows: 20_000, single_rows: 2_000, seconds: 2, backlog: 50_000, share_machine: false };

impl BenchArguments {
    /// The numbers that hold.
    pub(super) fn plan(&self) -> Plan {
        let preset = if self.quick { QUICK } else { FULL };
        Plan {
            rounds: self.rounds.unwrap_or(preset.rounds),
            rows: self.rows.unwrap_or(preset.rows),
            single_rows: self.single_rows.unwrap_or(preset.single_rows),
            seconds: self.seconds.unwrap_or(preset.seconds),
            backlog: self.backlog.unwrap_or(preset.backlog),
            share_machine: self.share_machine,
        }
    }

    /// What is measured, in this order.
    pub(super) fn subjects(&self) -> impl Iterator<Item = Subject> {
        let wanted = |subject: &Subject| self.only.is_empty() || self.only.contains(subject);
        Subject::value_variants().iter().copied().filter(wanted)
    }
}

impl Subject {
    /// As it is called on the command line.
    pub(super) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// What it is, for people.
    pub(super) fn title(self) -> String {
        let help = self.to_possible_value().and_then(|value| value.get_help().map(ToString::to_string));
        help.unwrap_or_default()
    }
}

impl Plan {
    /// For how long an application writes at its own pace.
    pub(super) fn span(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_numbers_replace_those_of_a_quick_run_and_the_rest_stays() {
        let arguments = BenchArguments { quick: true, rows: Some(7), ..BenchArguments::default() };
        assert_eq!(arguments.plan(), Plan { rows: 7, ..QUICK });
        assert_eq!(BenchArguments::default().plan(), FULL);
    }

    #[test]
    fn everything_is_measured_unless_something_is_named_and_always_in_one_order() {
        assert_eq!(BenchArguments::default().subjects().count(), Subject::value_variants().len());
        let only = vec![Subject::Capture, Subject::Latency];
        let arguments = BenchArguments { only, ..BenchArguments::default() };
        assert_eq!(arguments.subjects().collect::<Vec<_>>(), [Subject::Latency, Subject::Capture]);
    }

    #[test]
    fn subjects_are_called_the_same_on_the_command_line_and_in_the_document() {
        for subject in Subject::value_variants() {
            assert_eq!(serde_json::to_value(subject).unwrap(), subject.name());
            assert!(!subject.title().is_empty());
        }
    }
}
