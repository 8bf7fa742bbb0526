//! The first part of the shared index of a write-ahead log, as one connection sees it: the shared memory, or a copy.
//!
//! SQLite keeps the address of that part for as long as the log is open. So it gets an address of our own, behind which the
//! memory is exchanged: the same pages that all others share, or private ones.

use std::ffi::c_void;
use std::ops::Range;
use std::sync::atomic::{Ordering, fence};
use std::{ptr, slice};

use rustix::mm::{MapFlags, MremapFlags, ProtFlags, mmap_anonymous, mremap, mremap_fixed, munmap};

/// Bytes of the part: `WALINDEX_PGSZ` of SQLite, fixed by the format of the file (walformat.html). It begins with the header.
pub(super) const BYTES: usize = 32 << 10;
/// Bytes of the first copy of the header, in which every commit changes something: a counter, the end of the log, checksums
/// (walformat.html, section 2.1.1).
const HEADER: usize = 48;

/// Where the entries of the frames begin, behind the headers and the marks of readers, and where the slots (walformat.html,
/// section 2.2).
const ENTRIES: usize = 136;
const SLOTS: usize = 16 << 10;
/// So many frames have their entries in this part.
pub(super) const FRAMES_IN_PART: usize = (SLOTS - ENTRIES) / size_of::<u32>();

/// Ends the process (SQLite called us). The kernel may have taken the old memory away before it found that there is none
/// for the new one. Nothing of the transaction is in the files: the next start finds all as if it had never begun.
const GONE: &str = "no memory for the shared index of the write-ahead log";

/// What the header was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub(super) struct Header([u8; HEADER]);

/// Where in it are told: how many transactions were committed, the size of a page, and how many frames are committed
/// (walformat.html, section 2.1.1).
const COMMITS: usize = 8;
const PAGE_SIZE: usize = 14;
const FRAMES: usize = 16;

impl Header {
    /// In bytes. The largest size does not fit in two bytes, and is told as 1.
    pub(super) fn page_size(&self) -> i64 {
        let told = u16::from_ne_bytes([self.0[PAGE_SIZE], self.0[PAGE_SIZE + 1]]);
        if told == 1 { 1 << 16 } else { i64::from(told) }
    }

    /// How many transactions were committed, modulo 2^32.
    pub(super) fn commits(&self) -> u32 {
        self.number(COMMITS)
    }

    /// The frames of the log that are committed.
    pub(super) fn frames(&self) -> usize {
        self.number(FRAMES) as usize
    }

    fn number(&self, at: usize) -> u32 {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.0[at..at + 4]);
        u32::from_ne_bytes(bytes)
    }
}

/// The part under an address of its own. There is a mapping of ours behind it at any moment, or another thread could get the place.
#[derive(Debug)]
pub(super) struct Index {
    /// Where everybody else in this process has it; SQLite keeps it mapped for as long as a connection has the log open.
    everybodys: *mut c_void,
    /// Where this connection has it.
    own: *mut c_void,
}

impl Index {
    /// A second address for the memory at `shared`; `None` where the operating system does not give one (memory that is not
    /// shared, pages larger than the part).
    ///
    /// # Safety
    /// `shared` is what xShmMap gave for part 0, of [`BYTES`] bytes, and stays mapped for as long as this lives.
    pub(super) unsafe fn new(shared: *mut c_void) -> Option<Self> {
        if rustix::param::page_size() > BYTES {
            return None;
        }
        // SAFETY: an old size of 0 leaves the old mapping as it is and makes another of the same pages (mremap(2)), where the
        // kernel finds a free place.
        let own = unsafe { mremap(shared, 0, BYTES, MremapFlags::MAYMOVE) }.ok()?;
        Some(Self { everybodys: shared, own })
    }

    /// The address for SQLite.
    pub(super) fn address(&self) -> *mut c_void {
        self.own
    }

    /// The header as everybody sees it. While somebody is writing it that may be neither the old nor the new one.
    pub(super) fn header(&self) -> Header {
        // SAFETY: mapped (see new), and as long. Other processes write it meanwhile, so it is read as such memory is.
        unsafe { ptr::read_volatile(self.everybodys.cast::<Header>()) }
    }

    /// From now on the connection sees what is there now, and what it writes is seen by nobody.
    pub(super) fn freeze(&self) {
        // SAFETY: `own` is a mapping of ours alone of that length, replaced as a whole. SQLite holds the address, not a Rust
        // reference, and runs on this thread, which is here. The copy reads what others may be writing: entries
        // behind the end of the log, which no reader looks at.
        unsafe {
            let flags = MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::POPULATE;
            let frozen = mmap_anonymous(self.own, BYTES, ProtFlags::READ | ProtFlags::WRITE, flags);
            assert!(frozen.is_ok(), "{GONE}");
            ptr::copy_nonoverlapping(self.everybodys.cast::<u8>(), self.own.cast::<u8>(), BYTES);
        }
    }

    /// Cleans the copy of what is behind so many frames: others may have been writing there when it was made, and half of
    /// that may be in it. Without that nobody would see those entries, but SQLite would put ours behind them.
    pub(super) fn clean(&self, frames: usize) {
        // SAFETY: see `entries`.
        unsafe {
            let (pages, slots) = self.entries();
            pages[frames.min(FRAMES_IN_PART)..].fill(0);
            for slot in slots {
                if usize::from(*slot) > frames {
                    *slot = 0;
                }
            }
        }
    }

    /// Has the copy an entry for the frame behind so many?
    pub(super) fn has_more_than(&self, frames: usize) -> bool {
        // SAFETY: see `entries`.
        unsafe { self.entries().0.get(frames).is_none_or(|page| *page != 0) }
    }

    /// Of the copy: the page of every frame, and the slots by which a page's frames are found (walformat.html, section 2.2).
    ///
    /// # Safety
    /// It is one: after `freeze`, before `thaw`. Nobody else writes there, and SQLite, which does, is on this thread and called us.
    unsafe fn entries<'i>(&self) -> (&'i mut [u32], &'i mut [u16]) {
        // SAFETY: both lie within the part, aligned; see above.
        unsafe {
            let entries = self.own.cast::<u8>().add(ENTRIES);
            let slots = self.own.cast::<u8>().add(SLOTS);
            (
                slice::from_raw_parts_mut(entries.cast(), FRAMES_IN_PART),
                slice::from_raw_parts_mut(slots.cast(), (BYTES - SLOTS) / size_of::<u16>()),
            )
        }
    }

    /// Makes everybody see what SQLite wrote into the copy: first what frames there are, then that they count. Between
    /// the two headers and what lies before the entries there are the marks of readers and of who writes back, which are
    /// never ours.
    ///
    /// The lock must be real, and the header in the shared memory what it was when the copy was made.
    pub(super) fn publish(&self) {
        // SAFETY: both are mapped, of that length, and words divide it. Who reads there meanwhile looks at entries
        // that do not change, and at headers, of which it takes none that is not there twice.
        unsafe {
            self.copy_out(ENTRIES..BYTES);
            fence(Ordering::SeqCst);
            self.copy_out(HEADER..2 * HEADER);
            fence(Ordering::SeqCst);
            self.copy_out(0..HEADER);
            fence(Ordering::SeqCst);
        }
    }

    /// Writes what differs.
    ///
    /// # Safety
    /// As in `publish`.
    unsafe fn copy_out(&self, bytes: Range<usize>) {
        let words = |bytes| bytes / size_of::<u64>();
        for word in words(bytes.start)..words(bytes.end) {
            // SAFETY: as in `publish`.
            unsafe {
                let ours = self.own.cast::<u64>().add(word).read();
                let theirs = self.everybodys.cast::<u64>().add(word);
                if theirs.read_volatile() != ours {
                    theirs.write_volatile(ours);
                }
            }
        }
    }

    /// What the header of the copy is.
    pub(super) fn own_header(&self) -> Header {
        // SAFETY: mapped (see new).
        unsafe { ptr::read_volatile(self.own.cast::<Header>()) }
    }

    /// From now on the connection sees what everybody sees.
    pub(super) fn thaw(&self) {
        // SAFETY: as for freeze, and for new.
        let thawed = unsafe { mremap_fixed(self.everybodys, 0, BYTES, MremapFlags::MAYMOVE, self.own) };
        assert!(thawed.is_ok(), "{GONE}");
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and SQLite was told to forget the address.
        let _unmapped = unsafe { munmap(self.own, BYTES) };
    }
}
