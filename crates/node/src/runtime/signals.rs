//! SIGTERM and SIGINT: an orderly end. SIGHUP: the configuration is to be read again.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that the first SIGTERM or SIGINT cancels. A second one ends the process at once, as if killed: that loses
/// nothing either.
///
/// # Errors
/// When the process cannot have signal handlers.
pub fn stop() -> std::io::Result<CancellationToken> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = CancellationToken::new();
    let cancel = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM, ending in order"),
            _ = interrupt.recv() => tracing::info!("SIGINT, ending in order"),
        }
        cancel.cancel();
        // The default is gone for good with the first handler of a signal.
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::warn!("a second signal, ending at once");
        // It cannot fail for a process and itself.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    });
    Ok(stop)
}

/// SIGHUP, from now on: without this it ends the process.
///
/// # Errors
/// When the process cannot have signal handlers.
pub fn hang_ups() -> std::io::Result<Signal> {
    signal(SignalKind::hangup())
}
