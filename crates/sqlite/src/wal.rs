//! The write-ahead log: when its pages go back into the database file, and how large it is.
//!
//! Left to SQLite's default, whoever commits when the log has 1000 pages writes them back, and waits for the disk: often
//! that would be the application, for pages that an apply wrote. So we do it between two transactions of ours, a little
//! earlier and without the write lock; PASSIVE, which waits for nobody and makes nobody wait. An application that commits
//! meanwhile finds the work taken.
//!
//! A reader that stays in its snapshot keeps pages after it from being written back, and the log grows (nothing can be done
//! about that from here but to say so).

use harmonylite_late_lock::Lock;
use rusqlite::Connection;

use crate::Store;
use crate::error::StoreError;
use crate::meta::{key, read_integer, write_integer};

/// Pages in the log from which we write back: below the 1000 of SQLite's default, by what a short transaction adds.
const CHECKPOINT_PAGES: u64 = 800;
/// Often the application commits while we write back; the few pages of that keep the log from starting over. So again.
const PASSES: u32 = 3;
/// How often NOOP is tried: it gives no answer when it meets the moment in which a commit is being announced.
const LOOKS: u32 = 4;
/// How large the file may stay when it starts over by a transaction of ours, in bytes: SQLite itself never shrinks it.
const FILE_SIZE_KEPT: i64 = 64 << 20;

/// How large the write-ahead log is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WalSize {
    /// Bytes in it since it last started over.
    pub bytes: u64,
    /// Of them already written back into the database file.
    pub checkpointed_bytes: u64,
}

impl WalSize {
    /// Bytes that are still to be written back.
    #[must_use]
    pub const fn waiting_bytes(self) -> u64 {
        self.bytes.saturating_sub(self.checkpointed_bytes)
    }
}

/// What is known of the log between two looks.
#[derive(Debug, Default)]
pub(crate) struct WalKeeper {
    page_size: u64,
    /// At the last look.
    size: WalSize,
    /// The pages at the last look: fewer now, and it has started over.
    pages: u64,
    /// Not before it has so many pages: a reader was in the way, and another try costs time that grows with the log.
    not_before: u64,
    /// It is not made to start over before it has so many: somebody was reading from it, and another try would commit in vain.
    start_over_not_before: u64,
}

/// What SQLite says of the log.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    /// There is none.
    NoLog,
    /// Somebody else is at it at this moment.
    Busy,
    Pages(Pages),
}

/// The log in pages.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Pages {
    all: u64,
    checkpointed: u64,
}

/// From now on no commit of ours writes anything back.
pub(crate) fn settle(connection: &Connection) -> Result<(), StoreError> {
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(Some("main"), "journal_size_limit", FILE_SIZE_KEPT)?;
    Ok(())
}

impl Store {
    /// Writes pages of the log back when it is long enough, outside of any transaction, and makes it start over when that was
    /// all; gives its size in between, `None` without a write-ahead log. `again`: also when a reader was in the way before.
    ///
    /// # Errors
    /// When the database cannot be read, or the disk refuses.
    pub fn tend_wal(&mut self, again: bool) -> Result<Option<WalSize>, StoreError> {
        let mut pages = match look(&self.connection)? {
            Look::Pages(pages) => pages,
            Look::NoLog => return Ok(None),
            // It is there, and as large as it was or a little larger.
            Look::Busy => return Ok(Some(self.wal.size)),
        };
        if again || pages.all < self.wal.pages {
            self.wal.not_before = 0;
        }
        if pages.all < self.wal.pages {
            self.wal.start_over_not_before = 0;
        }
        let before = pages;
        for _ in 0..PASSES {
            let due = pages.all >= CHECKPOINT_PAGES.max(self.wal.not_before);
            if !due || pages.all == pages.checkpointed {
                break;
            }
            // What is written back may be overwritten. Whatever is wrong there is none of this work's concern.
            let _noted = self.note_log_ends();
            let Look::Pages(done) = checkpoint(&self.connection, "PASSIVE")? else { break };
            if done.checkpointed <= pages.checkpointed {
                self.wal.not_before = done.all + done.all / 4;
            }
            // It tells of the log as it was when it began, and syncs for milliseconds afterwards: who committed meanwhile shows
            // in another look.
            let Look::Pages(now) = look(&self.connection)? else { break };
            pages = now;
        }
        let is_free = pages.checkpointed > before.checkpointed && pages.checkpointed == pages.all;
        if is_free && pages.all >= self.wal.start_over_not_before {
            let in_vain = self.start_over()?
                && matches!(look(&self.connection)?, Look::Pages(now) if now.all > pages.all);
            if in_vain {
                self.wal.start_over_not_before = pages.all + pages.all / 4;
            }
        }
        self.wal.pages = pages.all;
        self.wal.size = self.wal_size(pages)?;
        Ok(Some(self.wal.size))
    }

    /// Everything is written back, so whoever writes next starts the log over, and syncs its header while everybody else is
    /// shut out. Better a transaction that does nothing else than one of the application, or a longer one of ours. `false` when
    /// somebody is writing just now.
    fn start_over(&self) -> Result<bool, StoreError> {
        let writing = match self.begin_writing(Lock::Early) {
            Err(error) if error.is_busy() => return Ok(false),
            begun => begun?,
        };
        // A transaction that changes nothing would leave the log as it is.
        let starts = read_integer(&writing, key::LOG_STARTS)?.unwrap_or(0);
        write_integer(&writing, key::LOG_STARTS, starts + 1)?;
        writing.commit()?;
        Ok(true)
    }

    fn wal_size(&mut self, pages: Pages) -> Result<WalSize, StoreError> {
        if self.wal.page_size == 0 {
            let size: i64 = self.connection.query_row("PRAGMA main.page_size", [], |row| row.get(0))?;
            self.wal.page_size = size.unsigned_abs();
        }
        let bytes = |pages: u64| pages.saturating_mul(self.wal.page_size);
        Ok(WalSize { bytes: bytes(pages.all), checkpointed_bytes: bytes(pages.checkpointed) })
    }
}

/// So many frames the log has up to the last commit; `None` without such a log, or while somebody is at it.
pub(crate) fn frames(connection: &Connection) -> Result<Option<u64>, StoreError> {
    match look(connection)? {
        Look::Pages(pages) => Ok(Some(pages.all)),
        Look::NoLog | Look::Busy => Ok(None),
    }
}

fn look(connection: &Connection) -> Result<Look, StoreError> {
    let mut look = checkpoint(connection, "NOOP")?;
    for _ in 1..LOOKS {
        if look != Look::Busy {
            break;
        }
        look = checkpoint(connection, "NOOP")?;
    }
    Ok(look)
}

fn checkpoint(connection: &Connection, mode: &str) -> Result<Look, StoreError> {
    let mut statement = connection.prepare_cached(&format!("PRAGMA main.wal_checkpoint({mode})"))?;
    let (busy, all, checkpointed): (bool, i64, i64) =
        statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let pages = u64::try_from(all).ok().zip(u64::try_from(checkpointed).ok());
    Ok(match pages {
        Some((all, checkpointed)) => Look::Pages(Pages { all, checkpointed }),
        None if busy => Look::Busy,
        None => Look::NoLog,
    })
}
