//! Machines of their own for the application's node and for the others, as far as one machine can be two: what is measured is not
//! that the load of one takes processor and disk from another.

use std::path::Path;

use rustix::fs::statvfs;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tempfile::TempDir;

use super::{FOLDER_PREFIX, failed};
use crate::cli::print_error;
use crate::exit::ExitError;

/// Files in memory, on Linux.
const MEMORY: &str = "/dev/shm";
/// What it must have room for: databases and their logs, and a stream that grows by some 4 MB a second at full speed.
const ROOM: u64 = 1 << 30;
const ROOM_PER_SECOND: u64 = 8 << 20;

/// Whose machine it would be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Side {
    /// Of the application whose writes are measured, its node and its server.
    Application,
    /// Of the other nodes, their servers and the load.
    Others,
}

/// Half of the processors that we may use for each of the two; and the disk for the application, memory for the others.
#[derive(Debug)]
pub(super) struct Machines {
    all: CpuSet,
    /// `None`: everybody has all of them.
    halves: Option<(CpuSet, CpuSet)>,
    /// `None`: everybody has the disk.
    memory: Option<TempDir>,
}

impl Machines {
    /// For a load of so many `seconds`; without it, everybody has everything. The processors are shared also where there is only
    /// one, the disk (which is said) where there is no room in memory.
    pub(super) fn split(seconds: Option<u64>) -> Result<Self, ExitError> {
        let all = sched_getaffinity(None).map_err(refused)?;
        let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| all.is_set(*core)).collect();
        let (application, others) = cores.split_at(cores.len() / 2);
        let halves = seconds.is_some() && !application.is_empty();
        let halves = halves.then(|| (set_of(application), set_of(others)));
        let memory = seconds.and_then(|seconds| folder_in_memory(Path::new(MEMORY), seconds));
        if seconds.is_some() && memory.is_none() {
            print_error(&format!(
                "note: no room in {MEMORY}: the other nodes take the disk from the application, too"
            ));
        }
        Ok(Self { all, halves, memory })
    }

    /// Where files of `side` are, if not where all are.
    pub(super) fn folder(&self, side: Side) -> Option<&Path> {
        self.memory.as_ref().filter(|_| side == Side::Others).map(TempDir::path)
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

fn folder_in_memory(memory: &Path, seconds: u64) -> Option<TempDir> {
    let there = statvfs(memory).ok()?;
    let needed = ROOM.saturating_add(seconds.saturating_mul(ROOM_PER_SECOND));
    let has_room = there.f_bavail.saturating_mul(there.f_frsize) >= needed;
    has_room.then(|| tempfile::Builder::new().prefix(FOLDER_PREFIX).tempdir_in(memory).ok()).flatten()
}

fn set_of(cores: &[usize]) -> CpuSet {
    let mut set = CpuSet::new();
    cores.iter().for_each(|core| set.set(*core));
    set
}

fn refused(error: rustix::io::Errno) -> ExitError {
    failed("cannot share out the processors", &error.into()).with_hint("--share-machine goes without")
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
        let (all, split) = (cores(), Machines::split(Some(1)).unwrap());
        let seen = |side| split.on(side, || Ok(cores())).unwrap();
        let (application, others) = (seen(Side::Application), seen(Side::Others));
        if all.len() > 1 {
            assert_eq!([application, others].concat(), all);
        } else {
            assert_eq!((&application, &others), (&all, &all));
        }
        assert_eq!(cores(), all);
        let shared = Machines::split(None).unwrap();
        assert_eq!(shared.on(Side::Others, || Ok(cores())).unwrap(), all);
        assert_eq!(shared.folder(Side::Others), None);
        assert_eq!(split.folder(Side::Application), None);
        assert!(folder_in_memory(&std::env::temp_dir(), u64::MAX).is_none());
    }
}
