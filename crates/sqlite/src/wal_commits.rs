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
use std::fs::File;
use std::io::{ErrorKind, Read as _, Result, Seek as _, SeekFrom};

const HEADER_SIZE: usize = 32;
const FRAME_HEADER_SIZE: usize = 24;
/// Bytes that are read at once, at least a frame.
const BYTES_AT_ONCE: usize = 1 << 18;
/// Bytes that are read at all: what was left for so long is a large change set in any case.
const BYTES_MAX: u64 = 64 << 20;
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
#[derive(Debug)]
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
    /// Another pair each time the file starts over.
    salts: [u8; 8],
    /// Frames that were read, or that were there when the path was.
    frames: u64,
    /// As the last of these frames left it; `None`: not known, and nor is what the commits behind it add.
    path: Option<LastPath>,
}

/// The file, from its present beginning.
pub(crate) struct WalFile {
    file: File,
    salts: [u8; 8],
    page_size: usize,
}

impl WalFile {
    /// The write-ahead log of the database at `path`, which is no symbolic link; `None` when there is none, or nothing in it.
    pub(crate) fn open(path: &str) -> Result<Option<Self>> {
        let mut file = match File::open(format!("{path}-wal")) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let Some(header) = header(&mut file)? else { return Ok(None) };
        let page_size = number(&header, 8) as usize;
        Ok(Some(Self { file, salts: salts(&header, 16), page_size }))
    }

    /// Whoever starts it over writes the header first.
    fn has_started_over(&mut self) -> Result<bool> {
        Ok(header(&mut self.file)?.is_none_or(|header| salts(&header, 16) != self.salts))
    }

    /// Fills `frames`; `false` when the file was cut off just now.
    fn read(&mut self, first: u64, frames: &mut [u8]) -> Result<bool> {
        let size = (FRAME_HEADER_SIZE + self.page_size) as u64;
        self.file.seek(SeekFrom::Start(HEADER_SIZE as u64 + first * size))?;
        match self.file.read_exact(frames) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
            read => read.map(|()| true),
        }
    }
}

impl WalCommits {
    /// Nothing is known any more.
    pub(crate) fn lose(&mut self) {
        self.path = None;
    }

    /// `path` is as the first `frames` of `wal` left it.
    pub(crate) fn begin(&mut self, mut wal: WalFile, frames: u64, path: LastPath) -> Result<()> {
        // Without any it has started over, and its header says so only with the next commit.
        if frames > 0 && !wal.has_started_over()? {
            *self = Self { salts: wal.salts, frames, path: Some(path) };
        }
        Ok(())
    }

    /// Where the table ended behind each of the commits that were not read before and wrote its last page, in their order: the
    /// id of its last row. `None`, and the path is lost, when the file has started over or cannot be followed; then
    /// [`Self::begin`].
    ///
    /// `frames`: so many the log had, the last of a commit, at a moment after `wal` was opened.
    pub(crate) fn read(&mut self, wal: &mut WalFile, frames: u64) -> Result<Option<Vec<i64>>> {
        let path = self.path.take().filter(|_| self.salts == wal.salts && frames >= self.frames);
        let Some(mut path) = path else { return Ok(None) };
        let Some(ends) = follow(&mut path, wal, self.frames, frames)? else { return Ok(None) };
        if wal.has_started_over()? {
            return Ok(None);
        }
        (self.frames, self.path) = (frames, Some(path));
        Ok(Some(ends))
    }
}

/// `None`: it cannot be followed.
fn follow(path: &mut LastPath, wal: &mut WalFile, from: u64, to: u64) -> Result<Option<Vec<i64>>> {
    let size = FRAME_HEADER_SIZE + wal.page_size;
    if (to - from).saturating_mul(size as u64) > BYTES_MAX {
        return Ok(None);
    }
    let at_once = (BYTES_AT_ONCE / size).max(1) as u64;
    let mut buffer = vec![0; size * at_once.min(to - from) as usize];
    let (mut ends, mut written) = (Vec::new(), HashMap::new());
    let mut next = from;
    while next < to {
        let count = at_once.min(to - next);
        let frames = &mut buffer[..size * count as usize];
        if !wal.read(next, frames)? {
            return Ok(None);
        }
        next += count;
        for frame in frames.chunks_exact(size) {
            let (page, content) = (number(frame, 0), &frame[FRAME_HEADER_SIZE..]);
            let other_schema = page == FIRST_PAGE && number(content, SCHEMA_COOKIE) != path.cookie;
            if salts(frame, 8) != wal.salts || other_schema {
                return Ok(None);
            }
            // The last one of a page counts.
            written.insert(page, Page::of(content));
            let is_last = number(frame, 4) != 0;
            if is_last {
                match path.after(&written) {
                    Ok(end) => ends.extend(end),
                    Err(Lost) => return Ok(None),
                }
                written.clear();
            }
        }
    }
    Ok(Some(ends))
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

/// `None`: shorter than that.
fn header(file: &mut File) -> Result<Option<[u8; HEADER_SIZE]>> {
    let mut header = [0; HEADER_SIZE];
    file.seek(SeekFrom::Start(0))?;
    match file.read_exact(&mut header) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
        read => read.map(|()| Some(header)),
    }
}

fn short(bytes: &[u8], at: usize) -> Option<usize> {
    Some(usize::from(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?])))
}

fn number(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes)
}

fn salts(bytes: &[u8], at: usize) -> [u8; 8] {
    bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default()
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

    fn look(connection: &Connection, commits: &mut WalCommits) -> Option<Vec<i64>> {
        let path = connection.path().unwrap();
        let frames = frames(connection);
        let mut wal = WalFile::open(path).unwrap().unwrap();
        let ends = commits.read(&mut wal, frames).unwrap();
        if ends.is_none() {
            let root = connection
                .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'log'", [], |row| row.get(0))
                .unwrap();
            let sql = "SELECT data FROM sqlite_dbpage('main') WHERE pgno = ?1";
            let path = LastPath::find(root, |page| connection.query_row(sql, [page], |row| row.get(0)));
            commits.begin(wal, frames, path.unwrap().unwrap()).unwrap();
        }
        ends
    }

    fn insert(connection: &Connection, rows: i64) -> i64 {
        let sql = "INSERT INTO log(name) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1) \
                   SELECT 'some text' FROM n";
        connection.execute(sql, [rows]).unwrap();
        connection.last_insert_rowid()
    }

    #[test]
    fn each_commit_is_known_until_the_file_starts_over() {
        let folder = tempfile::tempdir().unwrap();
        let connection = Connection::open(folder.path().join("app.db")).unwrap();
        connection
            .execute_batch(
                "PRAGMA page_size = 512; PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0;
                 CREATE TABLE log(id INTEGER PRIMARY KEY, name TEXT NOT NULL)",
            )
            .unwrap();
        let mut commits = WalCommits::default();
        assert_eq!(look(&connection, &mut commits), None);
        for _ in 0..3 {
            let wanted = [1, 30, 3000, 1, 500].map(|rows| insert(&connection, rows));
            assert_eq!(look(&connection, &mut commits), Some(wanted.to_vec()));
            assert_eq!(look(&connection, &mut commits), Some(Vec::new()));
            // As many frames again, and more; what is missed is as if it had not been.
            connection.execute_batch("PRAGMA wal_checkpoint(RESTART)").unwrap();
            let before = frames(&connection);
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
}
