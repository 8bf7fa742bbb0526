//! Where transactions ended in our log, as the write-ahead log tells: it holds what each commit wrote, and keeps it until it
//! starts over. So nobody has to look in time.
//!
//! A commit that added rows to our log wrote the last page of that table, and the last row of that page is where the transaction
//! ended. Which page is the last one is known exactly: from the root of the table downwards the path on the right is read in a
//! snapshot, and followed through every commit behind it. Not by what a page looks like: pages that were freed may hold rows that
//! were rolled back, and are written with a commit all the same.
//!
//! SQLite gives no access to the file, so it is read, in the [format that is documented]. (No lock stands on this file: to open
//! and close it does not drop the POSIX locks of this process's connections, which doing that to the database's would.)
//!
//! [format that is documented]: https://www.sqlite.org/fileformat2.html

use std::collections::HashMap;
use std::io::Result;

use crate::wal_file::{Frame, Frames, Salts, WalFile, number};

/// The first byte of a page that holds rows of a table, and of one that leads to such pages.
const TABLE_LEAF: u8 = 13;
const TABLE_INTERIOR: u8 = 5;
/// Deeper than any table can be.
const PATH_MAX: usize = 24;
/// Of the database, it has its header before what is a page else.
const FIRST_PAGE: u32 = 1;
/// Where that header has a number that changes with the schema.
const SCHEMA_COOKIE: usize = 40;

/// What matters of a page of a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Page {
    /// The page below it on the right.
    Interior { right: u32 },
    /// The greatest row id; `None` without rows.
    Leaf { last: Option<i64> },
}

/// The pages from the root of a table down to its last one.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct LastPath {
    /// The root first.
    pages: Vec<u32>,
    /// With another schema the root may be another page.
    cookie: u32,
}

/// The path leads to a page that is not known.
struct Lost;

/// How far the commits are known.
#[derive(Debug, Default)]
pub(crate) struct WalCommits {
    /// Of the file when it was read.
    salts: Salts,
    /// Frames that were read, or that were there when the path was.
    frames: u64,
    /// As the last of these frames left it; `None`: not known, and nor is what the commits behind it add.
    path: Option<LastPath>,
    /// Nobody said how many frames there were before the file started over: they were read to where they end. A commit that was
    /// written down but not announced, by a process that was killed just then, would be the last of them. So where that one ends is not
    /// told, and the path has to be that of a snapshot.
    uncertain: bool,
}

impl WalCommits {
    /// Nothing is known any more.
    pub(crate) fn lose(&mut self) {
        self.path = None;
    }

    /// Does it take a look at a snapshot to know that what was read is so? Then [`Self::settle`].
    pub(crate) fn is_uncertain(&self) -> bool {
        self.path.is_none() || self.uncertain
    }

    /// `path` is as the first `frames` of `wal` left it. Gives whether that is what was known: else nothing was.
    pub(crate) fn settle(&mut self, wal: &mut WalFile, frames: u64, path: LastPath) -> Result<bool> {
        if self.path.as_ref() == Some(&path) && (self.salts, self.frames) == (wal.salts, frames) {
            self.uncertain = false;
            return Ok(true);
        }
        self.lose();
        // Without any it has started over, and its header says so only with the next commit.
        if frames > 0 && !wal.has_started_over()? {
            *self = Self { salts: wal.salts, frames, path: Some(path), uncertain: false };
        }
        Ok(false)
    }

    /// Where the table ended behind each of the commits that were not read before and wrote its last page, in their order: the
    /// id of its last row. `None`, and the path is lost, when they are overwritten or cannot be followed.
    ///
    /// `frames`: so many the log had, the last of a commit, at a moment after `wal` was opened.
    pub(crate) fn read(&mut self, wal: &mut WalFile, frames: u64) -> Result<Option<Vec<i64>>> {
        let Some(mut path) = self.path.take() else { return Ok(None) };
        let mut ends = Vec::new();
        if self.salts != wal.salts {
            if !wal.started_over_since(self.salts) {
                return Ok(None);
            }
            let rest = Frames::Rest(self.frames, self.salts);
            let Some(before_last) = follow(&mut path, wal, &rest, &mut ends)? else { return Ok(None) };
            // Only the last one may be such a commit: the next one would have overwritten it.
            ends.truncate(before_last);
            *self = Self { salts: wal.salts, frames: 0, path: None, uncertain: true };
        }
        if frames < self.frames {
            return Ok(None);
        }
        let new = Frames::Committed(self.frames, frames);
        if follow(&mut path, wal, &new, &mut ends)?.is_none() || wal.has_started_over()? {
            return Ok(None);
        }
        (self.frames, self.path) = (frames, Some(path));
        Ok(Some(ends))
    }
}

/// How many of `ends` are there without the last commit; `None`: the frames cannot be followed.
fn follow(
    path: &mut LastPath,
    wal: &mut WalFile,
    frames: &Frames,
    ends: &mut Vec<i64>,
) -> Result<Option<usize>> {
    let (mut written, mut before_last) = (HashMap::new(), ends.len());
    let read = wal.read(frames, |frame: &Frame<'_>| {
        let (page, content) = (frame.page(), frame.content());
        if page == FIRST_PAGE && number(content, SCHEMA_COOKIE) != path.cookie {
            return false;
        }
        // The last one of a page counts.
        written.insert(page, Page::of(content));
        if !frame.is_last() {
            return true;
        }
        before_last = ends.len();
        let end = path.after(&written);
        written.clear();
        end.map(|end| ends.extend(end)).is_ok()
    })?;
    Ok(read.map(|_| before_last))
}

impl LastPath {
    /// Of the table with that root, in a snapshot whose pages `read` gives.
    pub(crate) fn find<E>(
        root: u32,
        mut read: impl FnMut(u32) -> std::result::Result<Vec<u8>, E>,
    ) -> std::result::Result<Option<Self>, E> {
        let cookie = number(&read(FIRST_PAGE)?, SCHEMA_COOKIE);
        let mut pages = vec![root];
        let mut page = root;
        while pages.len() < PATH_MAX {
            match Page::of(&read(page)?) {
                None => break,
                Some(Page::Leaf { .. }) => return Ok(Some(Self { pages, cookie })),
                Some(Page::Interior { right }) => {
                    pages.push(right);
                    page = right;
                }
            }
        }
        Ok(None)
    }

    /// Follows a commit that wrote these pages (`None`: one that is of no table). The id of the last row, if the last page is
    /// among them and has rows.
    fn after(&mut self, written: &HashMap<u32, Option<Page>>) -> std::result::Result<Option<i64>, Lost> {
        let mut page = *self.pages.first().ok_or(Lost)?;
        let mut pages = vec![page];
        while pages.len() < PATH_MAX {
            let right = match written.get(&page) {
                Some(None) => return Err(Lost),
                Some(Some(Page::Leaf { last })) => {
                    self.pages = pages;
                    return Ok(*last);
                }
                Some(Some(Page::Interior { right })) => *right,
                // As it was.
                None => match self.pages.iter().position(|known| *known == page).ok_or(Lost)? {
                    last if last + 1 == self.pages.len() => {
                        self.pages = pages;
                        return Ok(None);
                    }
                    index => self.pages[index + 1],
                },
            };
            pages.push(right);
            page = right;
        }
        Err(Lost)
    }
}

impl Page {
    fn of(bytes: &[u8]) -> Option<Self> {
        match *bytes.first()? {
            TABLE_INTERIOR => Some(Self::Interior { right: number(bytes, 8) }),
            TABLE_LEAF => {
                let Some(last_cell) = short(bytes, 3)?.checked_sub(1) else {
                    return Some(Self::Leaf { last: None });
                };
                let cell = bytes.get(short(bytes, 8 + 2 * last_cell)?..)?;
                let (_size, cell) = varint(cell)?;
                let (id, _record) = varint(cell)?;
                Some(Self::Leaf { last: Some(id) })
            }
            _ => None,
        }
    }
}

fn short(bytes: &[u8], at: usize) -> Option<usize> {
    Some(usize::from(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?])))
}

/// An integer as records have it, and what comes after it.
fn varint(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let mut value = 0_u64;
    for index in 0..8 {
        let byte = *bytes.get(index)?;
        value = value << 7 | u64::from(byte & 0x7f);
        if byte < 0x80 {
            return Some((value.cast_signed(), &bytes[index + 1..]));
        }
    }
    let value = value << 8 | u64::from(*bytes.get(8)?);
    Some((value.cast_signed(), &bytes[9..]))
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    fn frames(connection: &Connection) -> u64 {
        let frames: i64 = connection.query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| row.get(1)).unwrap();
        frames.unsigned_abs()
    }

    fn path(connection: &Connection) -> LastPath {
        let root = connection
            .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'log'", [], |row| row.get(0))
            .unwrap();
        let sql = "SELECT data FROM sqlite_dbpage('main') WHERE pgno = ?1";
        let path = LastPath::find(root, |page| connection.query_row(sql, [page], |row| row.get(0)));
        path.unwrap().unwrap()
    }

    fn wal(connection: &Connection) -> WalFile {
        WalFile::open(connection.path().unwrap()).unwrap().unwrap()
    }

    fn look(connection: &Connection, commits: &mut WalCommits) -> Option<Vec<i64>> {
        let frames = frames(connection);
        let mut wal = wal(connection);
        let ends = commits.read(&mut wal, frames).unwrap();
        if !commits.is_uncertain() {
            return ends;
        }
        let known = commits.settle(&mut wal, frames, path(connection)).unwrap();
        ends.filter(|_| known)
    }

    fn database(folder: &tempfile::TempDir) -> Connection {
        let connection = Connection::open(folder.path().join("app.db")).unwrap();
        connection
            .execute_batch(
                "PRAGMA page_size = 512; PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0;
                 CREATE TABLE log(id INTEGER PRIMARY KEY, name TEXT NOT NULL)",
            )
            .unwrap();
        connection
    }

    fn start_over(connection: &Connection) {
        connection.execute_batch("PRAGMA wal_checkpoint(RESTART)").unwrap();
    }

    fn insert(connection: &Connection, rows: i64) -> i64 {
        let sql = "INSERT INTO log(name) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1) \
                   SELECT 'some text' FROM n";
        connection.execute(sql, [rows]).unwrap();
        connection.last_insert_rowid()
    }

    #[test]
    fn each_commit_is_known_until_it_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let connection = database(&folder);
        let mut commits = WalCommits::default();
        assert_eq!(look(&connection, &mut commits), None);
        for _ in 0..3 {
            let wanted = [1, 30, 3000, 1, 500].map(|rows| insert(&connection, rows));
            assert_eq!(look(&connection, &mut commits), Some(wanted.to_vec()));
            assert_eq!(look(&connection, &mut commits), Some(Vec::new()));
            // As many frames again, and more; what is missed is as if it had not been.
            insert(&connection, 1);
            let before = frames(&connection);
            start_over(&connection);
            while frames(&connection) <= before {
                insert(&connection, 5000);
            }
            assert_eq!(look(&connection, &mut commits), None);
        }
        // The root may be another page now.
        insert(&connection, 1);
        connection.execute_batch("VACUUM").unwrap();
        assert_eq!(look(&connection, &mut commits), None);
        let last = insert(&connection, 1);
        assert_eq!(look(&connection, &mut commits), Some(vec![last]));
    }

    #[test]
    fn what_was_not_read_before_the_file_started_over_is_read_where_it_still_is() {
        let folder = tempfile::tempdir().unwrap();
        let connection = database(&folder);
        let mut commits = WalCommits::default();
        insert(&connection, 3000);
        look(&connection, &mut commits);
        for _ in 0..3 {
            let mut wanted = [1, 30, 1000].map(|rows| insert(&connection, rows)).to_vec();
            // Where the last one ends is not told.
            insert(&connection, 1);
            // Rolled back and beyond the end, its frames are still there.
            connection.execute_batch("PRAGMA cache_size = 5; BEGIN").unwrap();
            insert(&connection, 2000);
            connection.execute_batch("ROLLBACK; PRAGMA cache_size = 1000").unwrap();
            start_over(&connection);
            wanted.extend([1, 40, 1].map(|rows| insert(&connection, rows)));
            assert_eq!(look(&connection, &mut commits), Some(wanted));
            assert_eq!(look(&connection, &mut commits), Some(Vec::new()));
            // Others are at it: nothing is committed yet.
            insert(&connection, 3000);
            look(&connection, &mut commits).unwrap();
            let known = insert(&connection, 350);
            insert(&connection, 350);
            start_over(&connection);
            connection.execute_batch("PRAGMA cache_size = 5; BEGIN").unwrap();
            insert(&connection, 200);
            let reader = Connection::open(connection.path().unwrap()).unwrap();
            assert_eq!(frames(&reader), 0);
            assert_eq!(commits.read(&mut wal(&connection), 0).unwrap(), Some(vec![known]));
            assert_eq!(commits.read(&mut wal(&connection), 0).unwrap(), Some(Vec::new()));
            connection.execute_batch("COMMIT; PRAGMA cache_size = 1000").unwrap();
            let last = connection.last_insert_rowid();
            assert_eq!(look(&connection, &mut commits), Some(vec![last]));
        }
    }

    #[test]
    fn what_started_over_twice_is_not_known() {
        let folder = tempfile::tempdir().unwrap();
        let connection = database(&folder);
        let mut commits = WalCommits::default();
        insert(&connection, 3000);
        look(&connection, &mut commits);
        for _ in 0..2 {
            start_over(&connection);
            insert(&connection, 1);
        }
        assert_eq!(look(&connection, &mut commits), None);
    }

    /// A commit that was never announced is in the file like any other. It may have moved the path, too: what a snapshot shows decides.
    #[test]
    fn the_last_commit_before_the_file_started_over_may_have_been_none() {
        let folder = tempfile::tempdir().unwrap();
        let connection = database(&folder);
        let mut commits = WalCommits::default();
        insert(&connection, 3000);
        look(&connection, &mut commits);
        let (known, unannounced) = (insert(&connection, 100), insert(&connection, 100));
        start_over(&connection);
        let last = insert(&connection, 1);
        assert!(known < unannounced);
        let (frames, mut file) = (frames(&connection), wal(&connection));
        assert_eq!(commits.read(&mut file, frames).unwrap(), Some(vec![known, last]));
        assert!(commits.is_uncertain());
        let mut other = path(&connection);
        other.pages.pop();
        assert!(!commits.settle(&mut file, frames, other).unwrap());
    }

    /// It is of this time by its salts, and was overtaken: a process that is killed while it commits leaves such.
    #[test]
    fn a_frame_that_does_not_go_on_from_the_one_before_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let connection = database(&folder);
        let mut commits = WalCommits::default();
        insert(&connection, 3000);
        look(&connection, &mut commits);
        let file = format!("{}-wal", connection.path().unwrap());
        let size = || std::fs::metadata(&file).unwrap().len() as usize;
        let before = size();
        let known = insert(&connection, 1);
        insert(&connection, 1);
        let mut bytes = std::fs::read(&file).unwrap();
        bytes.extend_from_within(before..size());
        std::fs::write(&file, bytes).unwrap();
        start_over(&connection);
        let last = insert(&connection, 1);
        // With what was added the last but one would be another.
        assert_eq!(look(&connection, &mut commits), Some(vec![known, last]));
    }

    /// Another process may be writing, and has come to what is still to be read.
    #[test]
    fn frames_that_are_being_overwritten_are_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let connection = database(&folder);
        let mut commits = WalCommits::default();
        insert(&connection, 300);
        look(&connection, &mut commits);
        insert(&connection, 3000);
        start_over(&connection);
        insert(&connection, 1);
        // Written, and not committed.
        connection.execute_batch("PRAGMA cache_size = 5; BEGIN").unwrap();
        insert(&connection, 2000);
        let reader = Connection::open(connection.path().unwrap()).unwrap();
        let mut wal = wal(&connection);
        assert!(frames(&reader) < commits.frames);
        assert_eq!(commits.read(&mut wal, frames(&reader)).unwrap(), None);
    }
}
