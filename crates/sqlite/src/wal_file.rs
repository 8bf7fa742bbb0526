//! The file of a write-ahead log, read beside SQLite, which gives no access to it, in the [format that is documented].
//!
//! (No lock stands on this file: to open and close it does not drop the POSIX locks of this process's connections, which doing that
//! to the database's would.)
//!
//! When everything in it is written back, the file starts over: it gets a new header and other salts, and new frames take the
//! place of old ones, from the first on. What is behind them is still there until they come that far.
//!
//! [format that is documented]: https://www.sqlite.org/fileformat2.html#walformat

use std::fs::File;
use std::io::{ErrorKind, Read as _, Result, Seek as _, SeekFrom};

const HEADER_SIZE: usize = 32;
const FRAME_HEADER_SIZE: usize = 24;
/// The first number of the file; one more when its checksums are of big-endian numbers.
const MAGIC: u32 = 0x377f_0682;
/// Bytes that are read at once, at least a frame.
const BYTES_AT_ONCE: usize = 1 << 18;
/// Bytes that are read at all: what was left for so long is a large change set in any case.
const BYTES_MAX: u64 = 64 << 20;

/// Another pair each time the file starts over: a counter, and a random number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Salts([u8; 8]);

impl Salts {
    fn at(bytes: &[u8], at: usize) -> Self {
        Self(bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default())
    }

    /// Are these the ones after `others`?
    fn follow(self, others: Self) -> bool {
        number(&self.0, 0) == number(&others.0, 0).wrapping_add(1)
    }
}

/// A page that a commit wrote.
pub(crate) struct Frame<'f>(&'f [u8]);

impl<'f> Frame<'f> {
    pub(crate) fn page(&self) -> u32 {
        number(self.0, 0)
    }

    /// Is it the last one of a commit?
    pub(crate) fn is_last(&self) -> bool {
        number(self.0, 4) != 0
    }

    pub(crate) fn content(&self) -> &'f [u8] {
        &self.0[FRAME_HEADER_SIZE..]
    }
}

/// Which frames are read.
pub(crate) enum Frames {
    /// From one on, to another: all of them committed.
    Committed(u64, u64),
    /// From one on to the last one, of the time before the file started over, when it had these salts.
    Rest(u64, Salts),
}

/// The file, from its present beginning.
pub(crate) struct WalFile {
    file: File,
    pub(crate) salts: Salts,
    page_size: usize,
    big_endian: bool,
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
        let big_endian = number(&header, 0) == MAGIC + 1;
        Ok(Some(Self { file, salts: Salts::at(&header, 16), page_size, big_endian }))
    }

    /// Did it start over once since it had `salts`?
    pub(crate) fn started_over_since(&self, salts: Salts) -> bool {
        self.salts.follow(salts)
    }

    /// Whoever starts it over writes the header first.
    pub(crate) fn has_started_over(&mut self) -> Result<bool> {
        Ok(header(&mut self.file)?.is_none_or(|header| Salts::at(&header, 16) != self.salts))
    }

    /// Gives `each` the frames one after the other, until it does not want more (`false`). How many were read; `None` when
    /// they are not all there (any more), or not wanted.
    pub(crate) fn read(
        &mut self,
        frames: &Frames,
        mut each: impl FnMut(&Frame<'_>) -> bool,
    ) -> Result<Option<u64>> {
        match *frames {
            Frames::Committed(from, to) => {
                let salts = self.salts;
                let read = self
                    .read_on(from, to, |bytes| Some(Salts::at(bytes, 8) == salts && each(&Frame(bytes))))?;
                Ok(read.filter(|read| *read == to - from))
            }
            Frames::Rest(from, salts) => self.read_rest(from, salts, each),
        }
    }

    /// The frame before says whether new ones have come so far (they are written one after the other; so it is looked at
    /// again afterwards), and what the checksum goes on from: what does not go on from it is of still another time.
    fn read_rest(
        &mut self,
        from: u64,
        salts: Salts,
        mut each: impl FnMut(&Frame<'_>) -> bool,
    ) -> Result<Option<u64>> {
        let Some(before) = from.checked_sub(1) else { return Ok(None) };
        let Some(known) = self.frame_header(before)?.filter(|known| Salts::at(known, 8) == salts) else {
            return Ok(None);
        };
        let mut sum =
            Checksum { sums: [number(&known, 16), number(&known, 20)], big_endian: self.big_endian };
        let read = self.read_on(from, u64::MAX, |bytes| {
            sum.add(&bytes[..8]);
            sum.add(&bytes[FRAME_HEADER_SIZE..]);
            let goes_on = Salts::at(bytes, 8) == salts && sum.sums == [number(bytes, 16), number(bytes, 20)];
            if goes_on { Some(each(&Frame(bytes))) } else { None }
        })?;
        Ok(read.filter(|_| self.frame_header(before).is_ok_and(|now| now == Some(known))))
    }

    /// Frames up to `to`, the end of the file, or one for which `each` gives `None`; how many. For `false` gives `None`.
    fn read_on(
        &mut self,
        from: u64,
        to: u64,
        mut each: impl FnMut(&[u8]) -> Option<bool>,
    ) -> Result<Option<u64>> {
        let size = FRAME_HEADER_SIZE + self.page_size;
        let mut next = from;
        self.file.seek(SeekFrom::Start(self.place(from)))?;
        while next < to {
            if (next - from).saturating_mul(size as u64) > BYTES_MAX {
                return Ok(None);
            }
            let at_once = (BYTES_AT_ONCE / size).max(1) as u64;
            let mut bytes = Vec::new();
            let wanted = size as u64 * at_once.min(to - next);
            (&self.file).take(wanted).read_to_end(&mut bytes)?;
            for frame in bytes.chunks_exact(size) {
                match each(frame) {
                    None => return Ok(Some(next - from)),
                    Some(false) => return Ok(None),
                    Some(true) => next += 1,
                }
            }
            if !bytes.len().is_multiple_of(size) {
                // Cut off in the middle: nobody knows what was behind it.
                return Ok(None);
            }
            if (bytes.len() as u64) < wanted {
                break;
            }
        }
        Ok(Some(next - from))
    }

    fn frame_header(&mut self, index: u64) -> Result<Option<[u8; FRAME_HEADER_SIZE]>> {
        let place = self.place(index);
        read_at(&mut self.file, place)
    }

    fn place(&self, frame: u64) -> u64 {
        HEADER_SIZE as u64 + frame * (FRAME_HEADER_SIZE + self.page_size) as u64
    }
}

/// Of all frames up to here (section 4.3 of the format).
struct Checksum {
    sums: [u32; 2],
    big_endian: bool,
}

impl Checksum {
    /// Adds bytes, a multiple of 8.
    fn add(&mut self, bytes: &[u8]) {
        let word = if self.big_endian { u32::from_be_bytes } else { u32::from_le_bytes };
        let [mut first, mut second] = self.sums;
        for pair in bytes.as_chunks::<8>().0 {
            let [a, b, c, d, e, f, g, h] = *pair;
            first = first.wrapping_add(word([a, b, c, d])).wrapping_add(second);
            second = second.wrapping_add(word([e, f, g, h])).wrapping_add(first);
        }
        self.sums = [first, second];
    }
}

/// `None`: shorter than that.
fn header(file: &mut File) -> Result<Option<[u8; HEADER_SIZE]>> {
    read_at(file, 0)
}

fn read_at<const SIZE: usize>(file: &mut File, place: u64) -> Result<Option<[u8; SIZE]>> {
    let mut bytes = [0; SIZE];
    file.seek(SeekFrom::Start(place))?;
    match file.read_exact(&mut bytes) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
        read => read.map(|()| Some(bytes)),
    }
}

/// A big-endian number; 0 beyond the end.
pub(crate) fn number(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes)
}
