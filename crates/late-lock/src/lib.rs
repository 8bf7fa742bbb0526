//! SQLite's write lock, taken late: a transaction is worked out while the application goes on writing, and holds the lock
//! only while it is written down, in one piece (ADR 0012, 0013).
//!
//! In WAL mode nothing of a transaction reaches the files before it commits: until then it is pages in this connection's
//! cache. So the lock is needed for two things: that nobody else appends to the log at the same time, and that what we
//! read is still so when we commit. Here the connection gets its lock at `BEGIN IMMEDIATE` without anybody else being
//! shut out, and the real one within `COMMIT` (see [`commit_at_once`]): if nobody committed in between, all is as if it had
//! been held all the time; else the transaction is rolled back, for the caller to do again.
//!
//! What must hold, whatever SQLite does between the two:
//!
//! - Nothing is written to the log without the real lock. The pages of a commit are kept until the last one is there
//!   ([`Gathered`](gather::Gathered)); any other write takes the lock first, or is refused.
//! - Nothing is written to the shared index of the log without it: the connection works on a copy of that part of it in
//!   which the log's end is told ([`Index`](index::Index)), and what a commit wrote there is made public before the lock is let
//!   go of. A rollback cleans up there, and would otherwise clean away what another is just writing.
//!
//! A layer above SQLite's own access to files does it ([`vfs`]). Only connections that [`open`] made go through it.

#![allow(unsafe_code)]

mod gather;
mod index;
mod lock;
#[cfg(test)]
mod tests;
mod vfs;

use std::ffi::c_int;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, ffi};

/// How a transaction that writes gets the lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lock {
    /// When it begins.
    Early,
    /// When it commits, if the database lets that be: it has a write-ahead log, and we read from it.
    Late,
}

/// Opens the database at `path` through the layer.
///
/// # Errors
/// As [`Connection::open_with_flags`], or when SQLite does not take the layer.
pub fn open(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    vfs::register().map_err(|code| rusqlite::Error::SqliteFailure(ffi::Error::new(code), None))?;
    Connection::open_with_flags_and_vfs(path, flags, vfs::NAME)
}

/// Says how the next transactions of `connection` get their lock.
pub fn prefer(connection: &Connection, lock: Lock) {
    // A database in memory has no such layer, and is locked early.
    let _code = vfs::control(connection, vfs::Request::Prefer(lock));
}

/// Is the transaction that is open one that has no lock yet?
pub fn is_pending(connection: &Connection) -> bool {
    vfs::control(connection, vfs::Request::IsPending) == ffi::SQLITE_OK
}

/// Can the transaction that is open only be rolled back? So it is when somebody else committed since it began, and when its
/// cache was full and the lock could not be had: to go on would only take time and memory.
#[must_use]
pub fn is_lost(connection: &Connection) -> bool {
    vfs::control(connection, vfs::Request::IsLost) == ffi::SQLITE_OK
}

/// The transaction that is open will commit now: a `COMMIT` is what SQLite has to be told next. Its pages are written at once,
/// with the real lock, which is taken when they are all there. Where the transaction is not pending that changes nothing.
///
/// # Errors
/// Busy when it can only be rolled back, which costs nobody anything. So is the `COMMIT` when somebody else committed since it
/// began, or is at it.
pub fn commit_at_once(connection: &Connection) -> rusqlite::Result<()> {
    match vfs::control(connection, vfs::Request::Commit) {
        ffi::SQLITE_OK | ffi::SQLITE_NOTFOUND => Ok(()),
        code => Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)),
    }
}

/// For how long the last transaction whose lock was late held it; `None` when it wrote nothing, or its lock was early. Asked once.
pub fn held_for(connection: &Connection) -> Option<Duration> {
    let mut duration = None;
    let _code = vfs::control(connection, vfs::Request::HeldFor(&mut duration));
    duration
}

/// How many transactions were committed by anybody, modulo 2^32, since some moment; `None` without a write-ahead log.
pub fn commits(connection: &Connection) -> Option<u32> {
    let mut commits = None;
    let _code = vfs::control(connection, vfs::Request::Commits(&mut commits));
    commits
}

/// Did the last transaction with a late lock fail because of others? Asked once.
pub fn clashed(connection: &Connection) -> bool {
    vfs::control(connection, vfs::Request::Clashed) == ffi::SQLITE_OK
}

/// SQLite's names for the outcome of a lock.
fn code(done: Result<(), c_int>) -> c_int {
    done.err().unwrap_or(ffi::SQLITE_OK)
}

/// And back.
fn checked(code: c_int) -> Result<(), c_int> {
    if code == ffi::SQLITE_OK { Ok(()) } else { Err(code) }
}
