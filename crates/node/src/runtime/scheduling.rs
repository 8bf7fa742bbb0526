//! Has the kernel prefer the application when both could run.
//!
//! A thread that wakes up usually takes the processor from the one that runs. Ours wake up all the time while they apply, and an
//! application on the same processor then waited for them, not for the lock. As batch work (sched(7)) they wait until it is their
//! turn, and get their share of the processor as before.

use std::ffi::c_int;

/// For this thread, and for every thread and process that it starts: best before it has any. Elsewhere than on Linux it does
/// nothing.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
pub fn let_others_go_first() {
    // Of sched.h.
    const SCHED_BATCH: c_int = 3;
    #[repr(C)]
    struct Parameters {
        priority: c_int,
    }
    // SAFETY: sched_setscheduler(2) as the C library declares it: it reads what the pointer leads to, during the call.
    unsafe extern "C" {
        fn sched_setscheduler(thread: c_int, policy: c_int, parameters: *const Parameters) -> c_int;
    }
    // SAFETY: as above; 0 is this thread, and such a policy has no priorities but 0.
    if unsafe { sched_setscheduler(0, SCHED_BATCH, &Parameters { priority: 0 }) } != 0 {
        let error = std::io::Error::last_os_error();
        tracing::debug!(%error, "the kernel does not let this process be batch work");
    }
}

#[cfg(not(target_os = "linux"))]
pub fn let_others_go_first() {}
