//! Notices that somebody writes to the database's files.
//!
//! Watches the directory, so that files that are deleted and made again are seen too. Opening and reading a file are
//! events as well: only writes count, or our own looks would wake us.
//!
//! While the store works for long, it looks in its place where transactions end.

use std::ffi::OsString;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use harmonylite_sqlite::LogEndsWatch;
use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};

use super::store_thread::StoreHandle;

/// After an event the next ones are left to gather for so long: SQLite writes a commit page by page, and each page is an event,
/// ours included. Whoever was woken looks until the commit shows; another one within the millisecond is noticed after it.
const GATHER: Duration = Duration::from_millis(1);
/// An event that comes sooner after that had gathered: it is handled at once, however many there are.
const GATHERED: Duration = Duration::from_micros(100);

/// When the store did not look for so long although something is written, we do: a tenth of the time in which a write-ahead log
/// starts over that gets 17,000 pages a second, as of an application that writes 100,000 rows a second.
const STORE_LOOKS_WITHIN: Duration = Duration::from_millis(5);

/// Watches for as long as it is kept.
pub(crate) struct Watch {
    _watcher: RecommendedWatcher,
    woken: Woken,
}

/// Who is told of what is written.
struct Told {
    store: StoreHandle,
    ends: LogEndsWatch,
}

/// The thread that waits for events may go on for a while, and must not keep the store's thread from its end.
type Woken = Arc<Mutex<Option<Told>>>;

impl Drop for Watch {
    fn drop(&mut self) {
        self.woken.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// `false` when nobody is to be woken any more.
fn wake(woken: &Woken) -> bool {
    let told = woken.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(Told { store, ends }) = told.as_ref() else { return false };
    let busy = !store.wake();
    if busy && let Err(error) = ends.note_unless(STORE_LOOKS_WITHIN) {
        // The store says so when it finds the same.
        tracing::debug!(%error, "cannot look where transactions ended in the change log");
    }
    true
}

/// Wakes the store thread for as long as it is kept, and notes with `ends` what it comes too late for. `None` (said in the log)
/// when the system has no events: the poll then finds the commits.
pub(crate) fn start(database: &Path, store: StoreHandle, ends: LogEndsWatch) -> Option<Watch> {
    let watched = names(database);
    let woken = Woken::new(Mutex::new(Some(Told { store, ends })));
    let to_wake = woken.clone();
    let mut gathered: Option<Instant> = None;
    let handler = move |event: Result<Event, notify::Error>| {
        let is_new = gathered.is_none_or(|gathered| gathered.elapsed() > GATHERED);
        if event.is_ok_and(|event| is_write(&event, &watched)) && wake(&to_wake) && is_new {
            std::thread::sleep(GATHER);
            gathered = Some(Instant::now());
        }
    };
    let directory = database.parent().filter(|parent| !parent.as_os_str().is_empty());
    let start = || {
        let mut watcher = notify::recommended_watcher(handler)?;
        watcher.watch(directory.unwrap_or(Path::new(".")), RecursiveMode::NonRecursive)?;
        Ok::<_, notify::Error>(watcher)
    };
    match start() {
        Ok(watcher) => Some(Watch { _watcher: watcher, woken }),
        Err(error) => {
            tracing::warn!(%error, "no file events here: commits are found by polling");
            None
        }
    }
}

/// The database and the files that a commit writes.
fn names(database: &Path) -> Vec<OsString> {
    let name = database.file_name().unwrap_or_default();
    ["", "-wal", "-journal"]
        .iter()
        .map(|suffix| {
            let mut name = name.to_owned();
            name.push(suffix);
            name
        })
        .collect()
}

fn is_write(event: &Event, names: &[OsString]) -> bool {
    let read = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
        EventKind::Access(_) => true,
        _ => false,
    };
    !read
        && event.paths.iter().filter_map(|path| path.file_name()).any(|name| names.iter().any(|n| n == name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::event::ModifyKind;

    fn event(kind: EventKind, path: &str) -> Event {
        Event::new(kind).add_path(path.into())
    }

    #[test]
    fn writes_to_the_database_and_its_journals_wake_us_and_reads_do_not() {
        let names = names(Path::new("/data/app.db"));
        let write = EventKind::Modify(ModifyKind::Any);
        assert!(is_write(&event(write, "/data/app.db"), &names));
        assert!(is_write(&event(write, "/data/app.db-wal"), &names));
        assert!(is_write(&event(write, "/data/app.db-journal"), &names));
        assert!(!is_write(&event(write, "/data/app.db-shm"), &names));
        assert!(!is_write(&event(write, "/data/other.db"), &names));
        let open = EventKind::Access(AccessKind::Open(AccessMode::Any));
        assert!(!is_write(&event(open, "/data/app.db"), &names));
    }
}
