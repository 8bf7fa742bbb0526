//! SIGTERM and SIGINT: an orderly end.

use tokio::signal::unix::{SignalKind, signal};
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
    });
    Ok(stop)
}
