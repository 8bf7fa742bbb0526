//! Has the C allocator give memory back that a burst needed.
//!
//! Left to itself, glibc takes the first large block that is freed (a table of 100,000 keys is one) as a sign that more
//! will come, keeps blocks of that size in its heaps, and trims those only above twice that size: after a backlog of a
//! million rows a node that rests stays at 60 to 90 MB. With fixed thresholds it goes back to 20 to 40.

use std::ffi::c_int;

/// Blocks from this size on are mapped by themselves and unmapped when freed: what glibc begins with.
const MMAP_THRESHOLD: c_int = 128 << 10;
/// Free memory at the top of a heap above which it is given back: what glibc begins with.
const TRIM_THRESHOLD: c_int = 128 << 10;

/// For the whole process, best before it has other threads. Elsewhere than on glibc it does nothing.
pub fn keep_small() {
    set(MMAP_THRESHOLD, TRIM_THRESHOLD);
}

#[cfg(target_env = "gnu")]
#[allow(unsafe_code)]
fn set(mmap_threshold: c_int, trim_threshold: c_int) {
    // Of malloc.h.
    const M_TRIM_THRESHOLD: c_int = -1;
    const M_MMAP_THRESHOLD: c_int = -3;
    // SAFETY: mallopt(3) as glibc declares it; it takes two numbers and locks what it changes. What it refuses it says
    // with 0 and leaves as it was.
    unsafe extern "C" {
        safe fn mallopt(parameter: c_int, value: c_int) -> c_int;
    }
    let set = [(M_MMAP_THRESHOLD, mmap_threshold), (M_TRIM_THRESHOLD, trim_threshold)]
        .map(|(parameter, value)| mallopt(parameter, value) == 1);
    if set.contains(&false) {
        tracing::debug!("the allocator keeps its own thresholds");
    }
}

#[cfg(not(target_env = "gnu"))]
fn set(_: c_int, _: c_int) {}
