//! The hunt: bugs are planted one after the other, and each must be found. A law that finds nothing proves nothing.

use clap::Args;
use harmonylite_core::planted::{Bug, plant};
use harmonylite_sim::{Campaign, Medium};

use crate::say;

/// What to hunt.
#[derive(Args, Clone, Debug)]
pub(crate) struct Hunt {
    /// Seeds for each bug.
    #[arg(long, default_value_t = 2000)]
    seeds: u64,
    /// The first one.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// Only the bugs whose names contain this.
    #[arg(long)]
    bug: Option<String>,
}

impl Hunt {
    /// True when every bug was found.
    pub(crate) fn run(&self, medium: Medium) -> bool {
        let wanted = |bug: &Bug| self.bug.as_ref().is_none_or(|part| format!("{bug:?}").contains(part));
        let mut all = true;
        for bug in Bug::ALL.into_iter().filter(wanted) {
            plant(Some(bug));
            let campaign = Campaign { first: self.first, seeds: self.seeds, time: None, medium };
            let tally = campaign.run(|_| ());
            match &tally.found {
                Some(found) => say(&format!(
                    "{bug:?}: found after {} seeds: {}: {}",
                    tally.seeds,
                    found.seed,
                    brief(&found.failure.to_string())
                )),
                None => say(&format!("{bug:?}: NOT FOUND in {} seeds", tally.seeds)),
            }
            // A statement that SQLite refuses says that something is wrong, not that a law would have found it.
            all &= tally.found.is_some_and(|found| found.failure.law() != "simulator");
        }
        plant(None);
        all
    }
}

fn brief(text: &str) -> String {
    text.chars().take(160).collect()
}
