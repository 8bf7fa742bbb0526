//! Has the kernel prefer the application when both could run.
//!
//! A thread that wakes up usually takes the processor from the one that runs. Ours wake up all the time while they apply, and an
//! application on the same processor then waited for them, not for the lock. As batch work (sched(7)) they wait until it is their
//! turn, and get their share of the processor as before.
//!
//! The exception is the store's thread on a database without a write-ahead log: it holds the lock while the disk syncs, and
//! when that is done, whoever waits for the lock waits for it to get a turn.

/// For this thread, and for every thread and process that it starts: best before it has any.
pub fn let_others_go_first() {
    set(Policy::Batch);
}

/// For this thread: `true` as batch work, else as any other.
pub(crate) fn let_others_go_before_this_thread(batch: bool) {
    set(if batch { Policy::Batch } else { Policy::Other });
}

/// Of sched.h.
#[derive(Clone, Copy, Debug)]
enum Policy {
    Other = 0,
    Batch = 3,
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn set(policy: Policy) {
    use std::ffi::c_int;

    #[repr(C)]
    struct Parameters {
        priority: c_int,
    }
    // SAFETY: sched_setscheduler(2) as the C library declares it: it reads what the pointer leads to, during the call.
    unsafe extern "C" {
        fn sched_setscheduler(thread: c_int, policy: c_int, parameters: *const Parameters) -> c_int;
    }
    // SAFETY: as above; 0 is this thread, and these policies have no priorities but 0.
    if unsafe { sched_setscheduler(0, policy as c_int, &Parameters { priority: 0 }) } != 0 {
        let error = std::io::Error::last_os_error();
        tracing::debug!(%error, ?policy, "the kernel keeps the scheduling as it is");
    }
}

/// Elsewhere there is nothing of the kind.
#[cfg(not(target_os = "linux"))]
fn set(_: Policy) {}
