//! Tells the service manager that the node lives, for as long as it comes forward.
//!
//! The driver's loop is the one that tells, so that a loop that stands still is noticed; and it tells only while the
//! store's thread rests or comes forward, so that a thread that hangs (in a disk that never answers) is noticed, too. A long
//! request is no hang: SQLite counts its own steps. What counts none, a checkpoint or an fsync, must end within the time
//! that the manager was given.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use harmonylite_core::status::Status;
use tokio::time::Instant;

use super::service_manager::ServiceManager;

/// How often the manager is told how the node is.
const STATUS_INTERVAL: Duration = Duration::from_secs(2);

/// What the store's thread does, seen from outside.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    steps: Arc<AtomicU64>,
    busy: Arc<AtomicBool>,
}

impl Progress {
    /// It came a step forward.
    pub(crate) fn step(&self) {
        self.steps.fetch_add(1, Ordering::Relaxed);
    }

    /// It begins with something, or has ended it.
    pub(crate) fn set_busy(&self, busy: bool) {
        self.step();
        self.busy.store(busy, Ordering::Relaxed);
    }

    /// Is it at something?
    pub(crate) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed)
    }
}

/// Looks after the manager's watchdog, and its line of status.
#[derive(Debug)]
pub(crate) struct Watchdog {
    pub(crate) manager: ServiceManager,
    progress: Progress,
    /// The steps of the last look.
    seen: u64,
    /// What the manager was told last, so that it is not told twice.
    told: String,
    interval: Duration,
    next: Option<Instant>,
}

impl Watchdog {
    /// Looks four times within the manager's time: a late look is no reason to be killed.
    pub(crate) fn new(manager: ServiceManager, progress: Progress) -> Self {
        let interval = manager.watchdog().map_or(STATUS_INTERVAL, |time| (time / 4).min(STATUS_INTERVAL));
        let next = manager.is_there().then(Instant::now);
        Self { manager, progress, seen: 0, told: String::new(), interval, next }
    }

    /// When the next look is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Looks, and tells what there is to tell.
    pub(crate) fn look(&mut self, status: &Status) {
        self.next = Some(Instant::now() + self.interval);
        let line = line(status);
        if line != self.told {
            self.manager.status(&line);
            self.told = line;
        }
        if self.manager.watchdog().is_some() && self.comes_forward() {
            self.manager.alive();
        }
    }

    fn comes_forward(&mut self) -> bool {
        let steps = self.progress.steps.load(Ordering::Relaxed);
        let forward = steps != self.seen || !self.progress.is_busy();
        self.seen = steps;
        forward
    }
}

/// A node in one line.
fn line(status: &Status) -> String {
    let publisher = &status.publisher;
    let mut parts = Vec::new();
    if publisher.state == "checking" {
        parts.push("reading what was published before the start".to_owned());
    }
    let peers = || status.sources.values().filter(|source| source.state != "own");
    let following = peers().filter(|source| source.state == "following").count();
    parts.push(format!("following {following} of {} sources", peers().count()));
    if publisher.pending_rows > 0 {
        parts.push(format!("{} rows to send", publisher.pending_rows));
    }
    parts.extend(publisher.waiting_for.as_ref().map(|reason| format!("waiting for {reason}")));
    if status.dead_letters > 0 {
        parts.push(format!("{} dead letters", status.dead_letters));
    }
    parts.extend(status.troubles.iter().map(|trouble| format!("{} fails: {}", trouble.what, trouble.error)));
    for (id, source) in status.sources.iter().filter(|(_, source)| source.state == "stopped") {
        parts.push(format!("STOPPED {id}: {}", source.reason.as_deref().unwrap_or_default()));
    }
    // One line whatever a reason says.
    parts.join(", ").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use harmonylite_core::model::{Incarnation, NodeId, Origin, SourceId, StreamSequence};
    use harmonylite_core::status::{Counters, PublisherStatus, SourceStatus, Trouble};

    use super::*;

    fn watchdog(progress: &Progress) -> Watchdog {
        Watchdog::new(ServiceManager::default(), progress.clone())
    }

    fn source(state: &'static str, reason: Option<&str>) -> SourceStatus {
        SourceStatus {
            state,
            reason: reason.map(str::to_owned),
            checkpoint: StreamSequence(0),
            last: StreamSequence(0),
            rows_applied: 0,
            lag_ms: None,
        }
    }

    #[test]
    fn a_store_that_rests_or_comes_forward_is_alive_and_one_that_hangs_is_not() {
        let progress = Progress::default();
        let mut watchdog = watchdog(&progress);
        assert!(watchdog.comes_forward() && watchdog.comes_forward());
        progress.set_busy(true);
        assert!(watchdog.comes_forward());
        assert!(!watchdog.comes_forward() && !watchdog.comes_forward());
        progress.step();
        assert!(watchdog.comes_forward());
        assert!(!watchdog.comes_forward());
        progress.set_busy(false);
        assert!(watchdog.comes_forward() && watchdog.comes_forward());
    }

    #[test]
    fn without_a_manager_nothing_is_due() {
        assert_eq!(watchdog(&Progress::default()).next(), None);
    }

    #[test]
    fn the_line_says_what_stands_still() {
        let sources = [
            ("1/changes-1", source("own", None)),
            ("2/changes-1", source("following", None)),
            ("3/changes-1", source("stopped", Some("2 messages\nare gone"))),
        ];
        let status = Status {
            origin: Origin::new(NodeId::new(1).unwrap(), Incarnation::new(1).unwrap()),
            tables: Vec::new(),
            publisher: PublisherStatus {
                state: "waiting",
                waiting_for: Some("the server".into()),
                pending_rows: 3,
                ..PublisherStatus::default()
            },
            sources: sources.map(|(id, source)| (SourceId(id.into()), source)).into(),
            positions: BTreeMap::new(),
            dead_letters: 1,
            clocks_ahead: BTreeMap::new(),
            troubles: vec![Trouble { what: "apply", error: "the disk is full".into() }],
            counters: Counters::default(),
        };
        assert_eq!(
            line(&status),
            "following 1 of 2 sources, 3 rows to send, waiting for the server, 1 dead letters, \
             apply fails: the disk is full, STOPPED 3/changes-1: 2 messages are gone"
        );
    }
}
