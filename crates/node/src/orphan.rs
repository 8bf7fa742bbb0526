//! Child processes that do not outlive us, however we end.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::Signal;

/// Has the kernel kill the child when the thread that starts it ends, however that comes about.
#[allow(unsafe_code)]
pub(crate) fn die_with_this_thread(command: &mut Command) {
    let parent = rustix::process::getpid();
    let in_child = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // We may have died before the line above took effect.
        if rustix::process::getppid() == Some(parent) {
            Ok(())
        } else {
            Err(io::ErrorKind::Interrupted.into())
        }
    };
    // SAFETY: between fork and exec only async-signal-safe calls are allowed: these are two system calls, nothing
    // is allocated (an error of a bare kind is not), no lock is taken.
    unsafe {
        command.pre_exec(in_child);
    }
}
