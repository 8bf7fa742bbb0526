//! The write lock of one connection: not there, only told to SQLite, or real.

use std::ffi::{c_int, c_void};
use std::mem;
use std::time::{Duration, Instant};

use rusqlite::ffi;

use super::gather::{Gathered, Kept};
use super::index::{Header, Index};
use super::{Lock, checked, code};

/// Of the locks in the shared index: that of whoever writes (`WAL_WRITE_LOCK`) ..
const WRITE: c_int = 0;
/// .. and the first of those of readers who read from the log (`WAL_READ_LOCK(1)`). Who holds the one below reads from the
/// database file alone, and may start the log over when it writes.
const READ_FROM_LOG: c_int = 4;

const LOCK_EXCLUSIVE: c_int = ffi::SQLITE_SHM_LOCK | ffi::SQLITE_SHM_EXCLUSIVE;
const UNLOCK_EXCLUSIVE: c_int = ffi::SQLITE_SHM_UNLOCK | ffi::SQLITE_SHM_EXCLUSIVE;
const LOCK_SHARED: c_int = ffi::SQLITE_SHM_LOCK | ffi::SQLITE_SHM_SHARED;
const UNLOCK_SHARED: c_int = ffi::SQLITE_SHM_UNLOCK | ffi::SQLITE_SHM_SHARED;

/// Asks SQLite's own layer for a lock of the shared index, or lets go of it: the first one, how many, what.
pub(super) type System<'s> = &'s dyn Fn(c_int, c_int, c_int) -> c_int;

/// Writes to the log, as SQLite's own layer does it: what, and where.
pub(super) type SystemWrite<'s> = &'s dyn Fn(&[u8], i64) -> c_int;

/// Takes the write lock. Whoever of the application waits for this processor goes first: the kernel lets it wait until we
/// return from a system call, and this would be the first one for long, so that it would begin to write while we hold the
/// lock (ADR 0013).
fn lock_politely(system: System<'_>) -> c_int {
    rustix::thread::sched_yield();
    system(WRITE, 1, LOCK_EXCLUSIVE)
}

/// Where the write lock is.
#[derive(Debug, Default)]
enum Held {
    /// As SQLite was told: not ours, or really ours.
    #[default]
    AsTold,
    /// SQLite was told that it is ours; so was the log when that was.
    Pending(Header),
    /// The same, and the transaction commits: its pages are kept until they are all there.
    Committing(Header, Gathered),
    /// It is ours, and they are in the log. What SQLite writes into the index everybody sees when it lets go of the lock.
    Written(Header),
    /// The same, and it could not be had: the transaction can only be rolled back. A page that was refused counts in the checksums
    /// of those that SQLite would write after it, which nobody could read again.
    Doomed,
}

/// Of one connection.
#[derive(Debug, Default)]
pub(super) struct WriteLock {
    index: Option<Index>,
    /// The next transactions get their lock late.
    late: bool,
    held: Held,
    /// It reads from the log.
    reads_log: bool,
    clashed: bool,
    /// When the lock that was late was taken, and for how long it was held, the last time.
    taken: Option<Instant>,
    held_for: Option<Duration>,
    /// For the pages of the next commit.
    memory: Vec<u8>,
}

impl WriteLock {
    pub(super) fn prefer(&mut self, lock: Lock) {
        self.late = lock == Lock::Late;
    }

    pub(super) fn is_pending(&self) -> bool {
        !matches!(self.held, Held::AsTold | Held::Written(_))
    }

    /// The connection has a copy of the index.
    fn is_late(&self) -> bool {
        !matches!(self.held, Held::AsTold)
    }

    /// Has anybody committed since it was told, or is it lost already? Then it can only be rolled back.
    pub(super) fn is_lost(&mut self) -> bool {
        if let (Held::Pending(header), Some(index)) = (&self.held, &self.index)
            && index.header() != *header
        {
            self.doom(ffi::SQLITE_BUSY);
        }
        matches!(self.held, Held::Doomed)
    }

    pub(super) fn clashed(&mut self) -> bool {
        mem::take(&mut self.clashed)
    }

    /// The transactions that were committed; `None` without an index.
    pub(super) fn commits(&self) -> Option<u32> {
        self.index.as_ref().map(|index| index.header().commits())
    }

    /// For how long the lock that was late was held, the last time. Asked once.
    pub(super) fn held_for(&mut self) -> Option<Duration> {
        self.held_for.take()
    }

    /// Part 0 of the index is at `shared`; gives where SQLite is to look for it.
    ///
    /// # Safety
    /// As for [`Index::new`], until [`WriteLock::unmapped`].
    pub(super) unsafe fn mapped(&mut self, shared: *mut c_void) -> *mut c_void {
        if self.index.is_none() {
            // SAFETY: handed on.
            self.index = unsafe { Index::new(shared) };
        }
        self.index.as_ref().map_or(shared, Index::address)
    }

    /// The index is not mapped any more.
    pub(super) fn unmapped(&mut self) {
        self.index = None;
    }

    /// SQLite asks for locks, or lets go of them.
    pub(super) fn shm_lock(&mut self, first: c_int, count: c_int, what: c_int, system: System<'_>) -> c_int {
        match (first, what) {
            (WRITE, LOCK_EXCLUSIVE) if self.late && self.reads_log && !self.is_late() => self.pretend(system),
            (WRITE, UNLOCK_EXCLUSIVE) if self.is_late() => self.end(system),
            // Only one who writes without reading from the log asks for more.
            (_, LOCK_EXCLUSIVE) if self.is_late() => ffi::SQLITE_IOERR_SHMLOCK,
            _ => {
                let code = match (first, what) {
                    (WRITE, LOCK_EXCLUSIVE) => lock_politely(system),
                    _ => system(first, count, what),
                };
                match (first, what) {
                    (WRITE, UNLOCK_EXCLUSIVE) => self.let_go(),
                    (READ_FROM_LOG.., LOCK_SHARED) if code == ffi::SQLITE_OK => self.reads_log = true,
                    (READ_FROM_LOG.., UNLOCK_SHARED) if code == ffi::SQLITE_OK => self.reads_log = false,
                    _ => {}
                }
                code
            }
        }
    }

    /// Somebody may hold it already: then there is no sense in beginning.
    fn pretend(&mut self, system: System<'_>) -> c_int {
        let code = lock_politely(system);
        let Some(index) = &self.index else { return code };
        if code != ffi::SQLITE_OK {
            return code;
        }
        let header = index.header();
        let code = system(WRITE, 1, UNLOCK_EXCLUSIVE);
        if code == ffi::SQLITE_OK {
            index.freeze();
            self.held = Held::Pending(header);
            self.clashed = false;
            self.held_for = None;
        }
        code
    }

    /// The transaction commits now: the lock is taken when all its pages are there, and they are written at once.
    pub(super) fn commit(&mut self) -> Result<(), c_int> {
        match (&self.held, &self.index) {
            (Held::Doomed, _) => return Err(ffi::SQLITE_BUSY),
            (Held::Pending(header), Some(index)) => {
                index.clean(header.frames());
                let pages = Gathered::behind(header, mem::take(&mut self.memory));
                self.held = Held::Committing(*header, pages);
            }
            _ => {}
        }
        Ok(())
    }

    /// SQLite writes to the log; gives SQLite's code.
    pub(super) fn write(
        &mut self,
        bytes: &[u8],
        at: i64,
        system: System<'_>,
        write: SystemWrite<'_>,
    ) -> c_int {
        let kept = match &mut self.held {
            Held::AsTold | Held::Written(_) => return write(bytes, at),
            Held::Pending(_) | Held::Doomed => Kept::Full,
            Held::Committing(_, pages) => pages.add(bytes, at),
        };
        let written = match kept {
            Kept::More => Ok(()),
            Kept::Complete => self.take(system, write),
            // While pages only make room in the cache, SQLite takes "busy" for "later".
            Kept::Full => self.take(system, write).and_then(|()| {
                self.thaw();
                checked(write(bytes, at))
            }),
            Kept::Misplaced => Err(self.doom(ffi::SQLITE_BUSY)),
        };
        code(written)
    }

    /// May SQLite read the log up to there? Where a page made room in the cache while the transaction commits, what it looks
    /// for is not there.
    pub(super) fn may_read(&mut self, end: i64) -> bool {
        let is_kept = matches!(&self.held, Held::Committing(_, pages) if pages.reaches(end));
        if is_kept {
            self.doom(ffi::SQLITE_BUSY);
        }
        !is_kept
    }

    /// Makes the lock real, and writes what is kept; an error is SQLite's code, and the last word on this transaction.
    fn take(&mut self, system: System<'_>, write: SystemWrite<'_>) -> Result<(), c_int> {
        let (header, pages) = match mem::replace(&mut self.held, Held::Doomed) {
            Held::Pending(header) => (header, None),
            Held::Committing(header, pages) => (header, Some(pages)),
            Held::AsTold | Held::Written(_) | Held::Doomed => return Err(ffi::SQLITE_BUSY),
        };
        let is_any_kept = pages.as_ref().is_some_and(|pages| !pages.is_empty());
        self.lock_if(header, is_any_kept, system).map_err(|code| self.doom(code))?;
        self.taken = Some(Instant::now());
        self.held = Held::Written(header);
        let Some(pages) = pages else { return Ok(()) };
        let written = pages.pieces().map(|(bytes, at)| write(bytes, at)).find(|code| *code != ffi::SQLITE_OK);
        self.memory = pages.into_memory();
        written.map_or(Ok(()), Err)
    }

    fn doom(&mut self, code: c_int) -> c_int {
        self.held = Held::Doomed;
        self.clashed = code == ffi::SQLITE_BUSY;
        code
    }

    /// The transaction is over.
    fn end(&mut self, system: System<'_>) -> c_int {
        let mut code = ffi::SQLITE_OK;
        if let (Held::Written(header), Some(index)) = (&self.held, &self.index) {
            if index.own_header() != *header {
                index.publish();
            }
            code = system(WRITE, 1, UNLOCK_EXCLUSIVE);
            self.let_go();
        }
        self.thaw();
        code
    }

    fn let_go(&mut self) {
        if let Some(taken) = self.taken.take() {
            self.held_for = Some(taken.elapsed());
        }
    }

    /// If the log is as it was then.
    fn lock_if(&self, header: Header, is_any_kept: bool, system: System<'_>) -> Result<(), c_int> {
        let index = self.index.as_ref().ok_or(ffi::SQLITE_IOERR_SHMLOCK)?;
        // Of pages that made room in the cache while it commits, the entries are in our copy alone.
        if is_any_kept && index.has_more_than(header.frames()) {
            return Err(ffi::SQLITE_BUSY);
        }
        checked(lock_politely(system))?;
        if index.header() == header {
            return Ok(());
        }
        checked(system(WRITE, 1, UNLOCK_EXCLUSIVE))?;
        Err(ffi::SQLITE_BUSY)
    }

    fn thaw(&mut self) {
        if let Some(index) = &self.index {
            index.thaw();
        }
        self.held = Held::AsTold;
    }
}
