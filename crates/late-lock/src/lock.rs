//! The write lock of one connection: not there, only told to SQLite, or real.

use std::ffi::{c_int, c_void};

use rusqlite::ffi;

use super::Lock;
use super::index::{Header, Index};

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

/// Where the write lock is.
#[derive(Debug, Default)]
enum Held {
    /// As SQLite was told: not ours, or really ours.
    #[default]
    AsTold,
    /// SQLite was told that it is ours; so was the log when that was.
    Pending(Header),
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
}

impl WriteLock {
    pub(super) fn prefer(&mut self, lock: Lock) {
        self.late = lock == Lock::Late;
    }

    pub(super) fn is_pending(&self) -> bool {
        !matches!(self.held, Held::AsTold)
    }

    pub(super) fn is_doomed(&self) -> bool {
        matches!(self.held, Held::Doomed)
    }

    pub(super) fn clashed(&mut self) -> bool {
        std::mem::take(&mut self.clashed)
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
            (WRITE, LOCK_EXCLUSIVE) if self.late && self.reads_log && !self.is_pending() => {
                self.pretend(system)
            }
            (WRITE, UNLOCK_EXCLUSIVE) if self.is_pending() => {
                self.thaw();
                ffi::SQLITE_OK
            }
            // Only one who writes without reading from the log asks for more.
            (_, LOCK_EXCLUSIVE) if self.is_pending() => ffi::SQLITE_IOERR_SHMLOCK,
            _ => {
                let code = system(first, count, what);
                if code == ffi::SQLITE_OK && first >= READ_FROM_LOG {
                    match what {
                        LOCK_SHARED => self.reads_log = true,
                        UNLOCK_SHARED => self.reads_log = false,
                        _ => {}
                    }
                }
                code
            }
        }
    }

    /// Somebody may hold it already: then there is no sense in beginning.
    fn pretend(&mut self, system: System<'_>) -> c_int {
        let code = system(WRITE, 1, LOCK_EXCLUSIVE);
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
        }
        code
    }

    /// Makes the lock real when it is not; an error is SQLite's code, and the last word on this transaction.
    pub(super) fn take(&mut self, system: System<'_>) -> Result<(), c_int> {
        let header = match self.held {
            Held::AsTold => return Ok(()),
            Held::Pending(header) => header,
            Held::Doomed => return Err(ffi::SQLITE_BUSY),
        };
        let taken = self.lock_if(header, system);
        match taken {
            Ok(()) => self.thaw(),
            Err(code) => {
                self.held = Held::Doomed;
                self.clashed = code == ffi::SQLITE_BUSY;
            }
        }
        taken
    }

    /// If the log is as it was then.
    fn lock_if(&self, header: Header, system: System<'_>) -> Result<(), c_int> {
        let index = self.index.as_ref().ok_or(ffi::SQLITE_IOERR_SHMLOCK)?;
        match system(WRITE, 1, LOCK_EXCLUSIVE) {
            ffi::SQLITE_OK => {}
            code => return Err(code),
        }
        if index.header() == header {
            return Ok(());
        }
        match system(WRITE, 1, UNLOCK_EXCLUSIVE) {
            ffi::SQLITE_OK => Err(ffi::SQLITE_BUSY),
            code => Err(code),
        }
    }

    fn thaw(&mut self) {
        if let Some(index) = &self.index {
            index.thaw();
        }
        self.held = Held::AsTold;
    }
}
