//! The first part of the shared index of a write-ahead log, as one connection sees it: the shared memory, or a copy.
//!
//! SQLite keeps the address of that part for as long as the log is open. So it gets an address of our own, behind which the
//! memory is exchanged: the same pages that all others share, or private ones.

use std::ffi::c_void;
use std::ptr;

use rustix::mm::{MapFlags, MremapFlags, ProtFlags, mmap_anonymous, mremap, mremap_fixed, munmap};

/// Bytes of the part: `WALINDEX_PGSZ` of SQLite, fixed by the format of the file (walformat.html). It begins with the header.
pub(super) const BYTES: usize = 32 << 10;
/// Bytes of the first copy of the header, in which every commit changes something: a counter, the end of the log, checksums
/// (walformat.html, section 2.1.1).
const HEADER: usize = 48;

/// Ends the process (SQLite called us). The kernel may have taken the old memory away before it found that there is none for the new
/// one. Nothing of the transaction is in the files: the next start finds all as if it had never begun.
const GONE: &str = "no memory for the shared index of the write-ahead log";

/// What the header was.
pub(super) type Header = [u8; HEADER];

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
