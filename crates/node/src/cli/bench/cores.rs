//! Which processors the application's node runs on, and which the others: nodes have machines of their own, and what is measured is
//! not that the load of one takes the processor from another.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::failed;
use crate::exit::ExitError;

/// Whose machine it would be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Side {
    /// Of the application whose writes are measured, its node and its server.
    Application,
    /// Of the other nodes, their servers and the load.
    Others,
}

/// Half of the processors that we may use for each of the two.
#[derive(Debug)]
pub(super) struct Cores {
    all: CpuSet,
    /// `None`: everybody has all of them.
    halves: Option<(CpuSet, CpuSet)>,
}

impl Cores {
    /// `shared`: everybody has all of them, as where there is only one.
    pub(super) fn split(shared: bool) -> Result<Self, ExitError> {
        let all = sched_getaffinity(None).map_err(refused)?;
        let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| all.is_set(*core)).collect();
        let (application, others) = cores.split_at(cores.len() / 2);
        let halves = !shared && !application.is_empty();
        Ok(Self { all, halves: halves.then(|| (set_of(application), set_of(others))) })
    }

    /// Does `work` where `side` is: so do the threads and processes that it starts.
    pub(super) fn on<T>(
        &self,
        side: Side,
        work: impl FnOnce() -> Result<T, ExitError>,
    ) -> Result<T, ExitError> {
        let Some((application, others)) = &self.halves else { return work() };
        let cores = if side == Side::Application { application } else { others };
        sched_setaffinity(None, cores).map_err(refused)?;
        let done = work();
        sched_setaffinity(None, &self.all).map_err(refused)?;
        done
    }
}

fn set_of(cores: &[usize]) -> CpuSet {
    let mut set = CpuSet::new();
    cores.iter().for_each(|core| set.set(*core));
    set
}

fn refused(error: rustix::io::Errno) -> ExitError {
    failed("cannot share out the processors", &error.into()).with_hint("--share-cores goes without")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cores() -> Vec<usize> {
        let set = sched_getaffinity(None).unwrap();
        (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect()
    }

    #[test]
    fn both_have_processors_of_their_own_and_afterwards_we_have_all_again() {
        let (all, split) = (cores(), Cores::split(false).unwrap());
        let seen = |side| split.on(side, || Ok(cores())).unwrap();
        let (application, others) = (seen(Side::Application), seen(Side::Others));
        if all.len() > 1 {
            assert_eq!([application, others].concat(), all);
        } else {
            assert_eq!((&application, &others), (&all, &all));
        }
        assert_eq!(cores(), all);
        let shared = Cores::split(true).unwrap();
        assert_eq!(shared.on(Side::Others, || Ok(cores())).unwrap(), all);
    }
}
