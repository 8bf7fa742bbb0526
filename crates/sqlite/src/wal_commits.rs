//! Where transactions ended in our log, as the write-ahead log tells: it holds what each commit wrote, and keeps it until it
//! starts over. So nobody has to look in time.
//!
//! SQLite gives no access to that, so the file is read, in the [format that is documented]. A commit that added rows to our log
//! wrote the last page of that table, and the last row of that page is where the transaction ended. (No lock stands on this
//! file: to open and close it does not drop the POSIX locks of this process's connections, which doing that to the database's
//! would.)
//!
//! [format that is documented]: https://www.sqlite.org/fileformat2.html#the_write_ahead_log

use std::fs::File;
use std::io::{ErrorKind, Read as _, Result, Seek as _, SeekFrom};
use std::path::Path;

const HEADER_SIZE: usize = 32;
const FRAME_HEADER_SIZE: usize = 24;
/// Frames that are read at once: with the usual pages a quarter of a megabyte.
const FRAMES_AT_ONCE: u64 = 64;
/// Frames that are read at all, 64 MB with the usual pages: what was left for so long is a large change set in any case.
const FRAMES_MAX: u64 = 16_384;
/// The first byte of a page that holds rows of a table.
const TABLE_LEAF: u8 = 13;

/// How far the commits are known.
#[derive(Debug, Default)]
pub(crate) struct WalCommits {
    /// Another pair each time the file starts over.
    salts: [u8; 8],
    /// Frames that were read.
    frames: u64,
}

/// The file, from its present beginning.
pub(crate) struct WalFile {
    file: File,
    salts: [u8; 8],
    page_size: usize,
}

impl WalFile {
    /// The write-ahead log of the database at `path`; `None` when there is none, or nothing in it.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>> {
        let mut name = path.as_os_str().to_owned();
        name.push("-wal");
        let mut file = match File::open(&name) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let Some(header) = header(&mut file)? else { return Ok(None) };
        let page_size = number(&header, 8) as usize;
        Ok(Some(Self { file, salts: salts(&header, 16), page_size }))
    }

    fn has_started_over(&mut self) -> Result<bool> {
        Ok(header(&mut self.file)?.is_none_or(|header| salts(&header, 16) != self.salts))
    }
}

impl WalCommits {
    /// The last row that each of the commits since the last reading left in a page of our log, in their order. None when some
    /// were missed: the file has started over, or has grown by too much.
    ///
    /// `frames`: so many the log had, the last of a commit, at a moment after `wal` was opened. `is_table`: whether our log may
    /// have rows of a table of that name.
    pub(crate) fn read(
        &mut self,
        mut wal: WalFile,
        frames: u64,
        is_table: impl Fn(&str) -> bool,
    ) -> Result<Vec<i64>> {
        if self.salts != wal.salts || frames.saturating_sub(self.frames) > FRAMES_MAX {
            if !wal.has_started_over()? {
                *self = Self { salts: wal.salts, frames };
            }
            return Ok(Vec::new());
        }
        let (mut ends, mut commit) = (Vec::new(), Commit::default());
        let size = FRAME_HEADER_SIZE + wal.page_size;
        let mut buffer = vec![0; size * FRAMES_AT_ONCE.min(frames.saturating_sub(self.frames)) as usize];
        let mut next = self.frames;
        while next < frames {
            let count = FRAMES_AT_ONCE.min(frames - next);
            let read = &mut buffer[..size * count as usize];
            wal.file.seek(SeekFrom::Start(HEADER_SIZE as u64 + next * size as u64))?;
            match wal.file.read_exact(read) {
                // Cut off just now.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(Vec::new()),
                read => read?,
            }
            for frame in read.chunks_exact(size).filter(|frame| salts(frame, 8) == wal.salts) {
                commit.look_at(&frame[FRAME_HEADER_SIZE..], &is_table);
                let is_last = number(frame, 4) != 0;
                if is_last {
                    ends.extend(std::mem::take(&mut commit).end());
                }
            }
            next += count;
        }
        // Whoever starts it over writes the header first: what was read up to now is what it was.
        if wal.has_started_over()? {
            return Ok(Vec::new());
        }
        self.frames = self.frames.max(frames);
        Ok(ends)
    }
}

/// What the frames of one commit say.
#[derive(Debug, Default)]
struct Commit {
    /// The last row in a page of our log.
    last: Option<i64>,
    /// The last row in a page that is of the same form, but names no table of ours.
    doubtful: Option<i64>,
}

impl Commit {
    fn look_at(&mut self, page: &[u8], is_table: impl Fn(&str) -> bool) {
        let Some((id, name)) = last_row(page) else { return };
        if str::from_utf8(name).is_ok_and(is_table) {
            self.last = self.last.max(Some(id));
        } else {
            self.doubtful = self.doubtful.max(Some(id));
        }
    }

    /// Where it ended in our log. `None` when it added nothing to that, or when the last row may be one that we do not know.
    fn end(self) -> Option<i64> {
        self.last.filter(|_| self.last > self.doubtful)
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

fn number(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes)
}

fn salts(bytes: &[u8], at: usize) -> [u8; 8] {
    bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default()
}

/// The last row of a page that has rows as the global log has them: an id, stored as NULL since it is the row's number, and the
/// name of a table.
fn last_row(page: &[u8]) -> Option<(i64, &[u8])> {
    if *page.first()? != TABLE_LEAF {
        return None;
    }
    let cells = usize::from(u16::from_be_bytes([*page.get(3)?, *page.get(4)?]));
    let pointer = 8 + 2 * cells.checked_sub(1)?;
    let cell = usize::from(u16::from_be_bytes([*page.get(pointer)?, *page.get(pointer + 1)?]));
    let (_size, rest) = varint(page.get(cell..)?)?;
    let (id, record) = varint(rest)?;
    let (header_size, rest) = varint(record)?;
    let (id_type, rest) = varint(rest)?;
    let (name_type, content) = varint(rest)?;
    let is_such = id_type == 0 && name_type >= 13 && name_type % 2 == 1;
    if !is_such || usize::try_from(header_size) != Ok(record.len() - content.len()) {
        return None;
    }
    Some((id, content.get(..usize::try_from((name_type - 13) / 2).ok()?)?))
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
