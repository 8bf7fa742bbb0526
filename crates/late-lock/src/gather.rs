//! The pages of a commit, kept until they are all there: they are written at once, so that the lock is held for one write.

use std::mem;

use super::index::{FRAMES_IN_PART, Header};

/// Bytes of the log before its first frame, and of a frame before its page (fileformat2.html, section 4.1).
const LOG_HEADER: i64 = 32;
const FRAME_HEADER: i64 = 24;
/// Of these, where the size of the database is told in the last frame of a commit, and 0 in the others.
const DATABASE_SIZE: std::ops::Range<usize> = 4..8;
/// More is not kept: what is behind it is written as SQLite writes it.
const BYTES_MAX: i64 = 1 << 20;

/// SQLite's own layer writes less than twice as much at once (`seekAndWriteFd` in its os_unix.c counts with 17 bits: it is
/// asked for a page at most).
const PIECE: usize = 64 << 10;

/// What is to become of a write.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// It is kept.
    More,
    /// It is, and with it the commit is complete.
    Complete,
    /// There is no room for it: what is kept is to be written first.
    Full,
    /// It does not follow what is kept. SQLite made room in its cache while it commits, and goes back to such a page now.
    Misplaced,
}

/// What of the log is kept.
#[derive(Debug)]
pub(super) struct Gathered {
    at: i64,
    end_max: i64,
    bytes: Vec<u8>,
    /// The page of the last frame comes next.
    is_last: bool,
}

impl Gathered {
    /// For what comes behind the log that `header` tells of.
    pub(super) fn behind(header: &Header, memory: Vec<u8>) -> Self {
        let frame = header.page_size() + FRAME_HEADER;
        let end_of = |frames: usize| LOG_HEADER + frames as i64 * frame;
        let at = end_of(header.frames());
        // Frames behind have their entries in a part of the index that we have no copy of.
        let end_max = end_of(FRAMES_IN_PART).min(at + BYTES_MAX);
        Self { at, end_max, bytes: memory, is_last: false }
    }

    pub(super) fn add(&mut self, bytes: &[u8], at: i64) -> Kept {
        if at != self.end() {
            return Kept::Misplaced;
        }
        if at + bytes.len() as i64 > self.end_max {
            return Kept::Full;
        }
        self.bytes.extend_from_slice(bytes);
        if mem::take(&mut self.is_last) {
            return Kept::Complete;
        }
        self.is_last = bytes.len() as i64 == FRAME_HEADER && bytes[DATABASE_SIZE] != [0; 4];
        Kept::More
    }

    /// Is anything of it in the log up to there?
    pub(super) fn reaches(&self, end: i64) -> bool {
        !self.is_empty() && end > self.at
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// All of it, in pieces that SQLite's own layer takes, and where they belong.
    pub(super) fn pieces(&self) -> impl Iterator<Item = (&[u8], i64)> {
        self.bytes.chunks(PIECE).zip((self.at..).step_by(PIECE))
    }

    fn end(&self) -> i64 {
        self.at + self.bytes.len() as i64
    }

    /// Its memory, for the next.
    pub(super) fn into_memory(mut self) -> Vec<u8> {
        self.bytes.clear();
        self.bytes
    }
}
