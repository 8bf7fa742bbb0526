//! The simulator's command line: runs seeds, repeats them, shrinks them. See `docs/testing.md`.

#[cfg(feature = "planted-bugs")]
mod hunt;

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, Parser, Subcommand};
use harmonylite_sim::{Campaign, Counts, Medium, Run, Tally, run_seed, shrink};

/// In so many seeds every fault strikes, chance or not: the rarest does in one seed of some 200, and one run in e^20 would be without
/// it. Of 500 seeds one run in twenty was.
const ALL_STRIKE_WITHIN: u64 = 4000;

/// One a line: the seed, then its story.
const REGRESSIONS: &str = include_str!("../seeds/regressions.txt");

/// Runs the real core and the real SQLite code of several nodes in virtual time, from seeds, and judges them.
#[derive(Parser, Debug)]
#[command(after_help = "\
Examples:
  harmonylite-sim run --seeds 1000               1000 seeds from 1; ends with 1 and the seed at a violation
  harmonylite-sim replay --seed 42               what happens in seed 42, line by line, the same every time
  harmonylite-sim shrink --seed 42               the few acts of seed 42 that break the law
  harmonylite-sim run --seeds 500 --fresh        500 seeds that nobody ran before
  harmonylite-sim soak --minutes 60              such seeds, for an hour
  harmonylite-sim run --seeds 50 --files         the same on files in WAL mode")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
    /// Databases in files in WAL mode instead of in memory; several times slower.
    #[arg(long, global = true)]
    files: bool,
}

#[derive(Subcommand, Debug)]
enum Task {
    /// Run seeds; ends with 1 and the seed at the first violation.
    Run(Seeds),
    /// Run one seed and print its history.
    Replay(Seed),
    /// Leave out acts of a seed that breaks a law, as long as it still does; print what is left and its history.
    Shrink(Seed),
    /// Run the seeds that once found a bug (seeds/regressions.txt).
    Regressions,
    /// Run seeds twice: the same seed must give the same history.
    Meta(Seeds),
    /// Run seeds for some time, beginning where no other run began.
    Soak {
        /// For how long.
        #[arg(long, default_value_t = 10)]
        minutes: u64,
    },
    /// Plant one bug after the other: each must be found within so many seeds.
    #[cfg(feature = "planted-bugs")]
    Hunt(hunt::Hunt),
}

#[derive(Args, Clone, Copy, Debug)]
struct Seeds {
    /// How many.
    #[arg(long, default_value_t = 500)]
    seeds: u64,
    /// The first one.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// Begin where no other run began; the first seed is printed.
    #[arg(long, conflicts_with = "first")]
    fresh: bool,
}

impl Seeds {
    fn first(self) -> u64 {
        if self.fresh { fresh() } else { self.first }
    }
}

/// A seed that nobody used: the time, with room for every run until the next millisecond.
fn fresh() -> u64 {
    std::time::UNIX_EPOCH.elapsed().map_or(1, |now| now.as_millis() as u64) << 16
}

#[derive(Args, Clone, Copy, Debug)]
struct Seed {
    /// Which one.
    #[arg(long)]
    seed: u64,
}

fn main() -> ExitCode {
    let Arguments { task, files } = Arguments::parse();
    let medium = if files { Medium::Files } else { Medium::Memory };
    let well = match task {
        Task::Run(seeds) => run(seeds.seeds, seeds.first(), None, medium),
        Task::Regressions => regressions(medium),
        Task::Replay(Seed { seed }) => replay(seed, medium),
        Task::Shrink(Seed { seed }) => shrunk(seed, medium),
        Task::Meta(seeds) => meta(seeds, medium),
        Task::Soak { minutes } => run(u64::MAX, fresh(), Some(Duration::from_secs(60 * minutes)), medium),
        #[cfg(feature = "planted-bugs")]
        Task::Hunt(hunt) => hunt.run(medium),
    };
    if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// To stdout; that nobody reads it is no reason to fail.
fn say(text: &str) {
    let _closed = writeln!(std::io::stdout().lock(), "{text}");
}

/// What once found a bug finds it no more.
fn regressions(medium: Medium) -> bool {
    let mut count = 0;
    for line in REGRESSIONS.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
        let Some(seed) = line.split_whitespace().next().and_then(|seed| seed.parse().ok()) else {
            say(&format!("seeds/regressions.txt: no seed in {line:?}"));
            return false;
        };
        if let Err(failure) = run_seed(seed, medium, false).outcome {
            say(&format!("seed {seed}: {failure}"));
            say(&format!("  its story: {line}"));
            return false;
        }
        count += 1;
    }
    say(&format!("{count} seeds that once found a bug find none"));
    count > 0
}

fn run(seeds: u64, first: u64, time: Option<Duration>, medium: Medium) -> bool {
    let started = Instant::now();
    let progress = |done: u64| {
        if done % 1000 < 40 {
            say(&format!("{done} seeds, {:.0} s", started.elapsed().as_secs_f64()));
        }
    };
    let tally = Campaign { first, seeds, time, medium }.run(progress);
    let elapsed = started.elapsed().as_secs_f64();
    say(&report(&tally, first, elapsed));
    if let Some(found) = &tally.found {
        say(&format!("seed {}: {}", found.seed, found.failure));
        say(&format!("  harmonylite-sim replay --seed {0}   or   shrink --seed {0}", found.seed));
        return false;
    }
    let never: Vec<_> = Counts::FAULTS.iter().filter(|fault| tally.counts.of(fault) == 0).collect();
    if !never.is_empty() && tally.seeds >= ALL_STRIKE_WITHIN {
        say(&format!("never struck: {never:?}: the simulator is broken"));
        return false;
    }
    true
}

fn report(tally: &Tally, first: u64, elapsed: f64) -> String {
    let rate = tally.seeds as f64 / elapsed;
    let mut text = format!("{} seeds from {first} in {elapsed:.1} s, {rate:.0} a second", tally.seeds);
    for (what, count) in tally.counts.iter() {
        let _infallible = write!(text, "\n  {count:>9} {what}");
    }
    text
}

fn print_history(run: &Run) -> bool {
    run.lines.iter().for_each(|line| say(line));
    say(&format!("digest {:016x}", run.digest));
    match &run.outcome {
        Ok(()) => say("no law is broken"),
        Err(failure) => say(&format!("BROKEN {failure}")),
    }
    run.outcome.is_ok()
}

fn replay(seed: u64, medium: Medium) -> bool {
    print_history(&run_seed(seed, medium, true))
}

fn shrunk(seed: u64, medium: Medium) -> bool {
    let Some(shrunk) = shrink(seed, medium) else {
        say(&format!("seed {seed} breaks no law"));
        return true;
    };
    print_history(&shrunk.run);
    say(&format!("{} of {} acts are needed:", shrunk.acts.len(), shrunk.acts_before));
    shrunk.acts.iter().for_each(|act| say(act));
    false
}

fn meta(Seeds { seeds, first, .. }: Seeds, medium: Medium) -> bool {
    for seed in first..first + seeds {
        let (one, two) = (run_seed(seed, medium, true), run_seed(seed, medium, true));
        if (one.digest, &one.outcome) != (two.digest, &two.outcome) {
            let differing = one.lines.iter().zip(&two.lines).find(|(one, two)| one != two);
            say(&format!("seed {seed} has two histories, first at {differing:?}"));
            return false;
        }
    }
    say(&format!("{seeds} seeds, the same history twice each"));
    true
}
