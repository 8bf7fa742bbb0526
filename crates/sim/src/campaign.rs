//! Many seeds, on as many threads as there are cores.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::history::Counts;
use crate::{Failure, Medium, run_seed};

/// A seed that broke a law.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// Which one.
    pub seed: u64,
    /// What it broke.
    pub failure: Failure,
}

/// Which seeds to run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Campaign {
    /// The first one.
    pub first: u64,
    /// How many at most.
    pub seeds: u64,
    /// For how long at most.
    pub time: Option<Duration>,
    /// Where the databases live.
    pub medium: Medium,
}

/// What a campaign gave.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Seeds that were run.
    pub seeds: u64,
    /// What happened in them.
    pub counts: Counts,
    /// The violation of the lowest seed that was met; seeds after it may not have been run.
    pub found: Option<Found>,
}

impl Campaign {
    /// Runs until the first violation, the last seed or the end of the time. `progress` is called with the number of
    /// seeds so far, about once a second.
    pub fn run(&self, progress: impl Fn(u64) + Sync) -> Tally {
        let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        let (tally, told) = (Mutex::new(Tally::default()), Mutex::new(Instant::now()));
        let started = Instant::now();
        let work = || {
            while !stop.load(Ordering::Relaxed) && self.time.is_none_or(|time| started.elapsed() < time) {
                let offset = next.fetch_add(1, Ordering::Relaxed);
                if offset >= self.seeds {
                    return;
                }
                let seed = self.first + offset;
                let run = run_seed(seed, self.medium, false);
                let Ok(mut tally) = tally.lock() else { return };
                tally.seeds += 1;
                tally.counts.add(&run.counts);
                if let Err(failure) = run.outcome {
                    stop.store(true, Ordering::Relaxed);
                    let earlier = tally.found.as_ref().is_none_or(|found| seed < found.seed);
                    if earlier {
                        tally.found = Some(Found { seed, failure });
                    }
                }
                let seeds = tally.seeds;
                drop(tally);
                if let Ok(mut told) = told.try_lock()
                    && told.elapsed() > Duration::from_secs(1)
                {
                    *told = Instant::now();
                    progress(seeds);
                }
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
        tally.into_inner().unwrap_or_default()
    }
}
