//! The core's events as log lines: lower case, values as fields.

use harmonylite_core::event::Event;

/// Writes one event to the log, at the level of what an operator should do about it.
pub(crate) fn log(event: &Event) {
    match event {
        Event::SourceFollowed { source, from } => tracing::info!(%source, %from, "following"),
        Event::SourceLost { source, error, retry_ms } => {
            tracing::warn!(%source, error, retry_ms, "source lost, trying again");
        }
        Event::SourceStalled { source, behind } => {
            tracing::error!(%source, behind, "the stream goes on and nothing of it comes, following it anew");
        }
        Event::SourceStopped { source, reason } => {
            tracing::error!(%source, reason, "source stopped, others go on");
        }
        Event::StreamRestarted { source, reason } => {
            tracing::warn!(%source, reason, "not the stream that was consumed, reading it again");
        }
        Event::MessageRejected { source, sequence, error } => {
            tracing::warn!(%source, %sequence, error, "message rejected");
        }
        Event::GroupDiscarded { source, origin } => {
            tracing::warn!(%source, %origin, "unfinished group discarded");
        }
        Event::GroupClosedEarly { through, remaining_rows } => {
            tracing::warn!(%through, remaining_rows, "change set above the limits, replicas may show it in parts");
        }
        Event::RowTooLarge { table, size } => {
            tracing::error!(table, size, "row too large to travel, it stays on this node");
        }
        Event::PublishUncertain { shard, error } => {
            tracing::warn!(%shard, error, "publish not acknowledged, asking the stream and trying again");
        }
        Event::OlderCopyFound { reason } => {
            tracing::warn!(reason, "the database is an older copy of itself, taking a new incarnation");
        }
        Event::IncarnationMinted { origin } => tracing::warn!(%origin, "new incarnation"),
        Event::BaselineDiffers { source, tables } => {
            tracing::warn!(%source, ?tables, "rows from before the first start differ, they are not sent by themselves");
        }
        Event::SchemaRead { replicated, notes, refused, repaired, uncaptured, dropped } => {
            log_schema(*replicated, refused, *repaired, uncaptured);
            for (table, note) in notes {
                tracing::info!(table, note, "table replicated, with a note");
            }
            for table in dropped {
                tracing::warn!(table, "table dropped, what was still to be sent of it is gone with it");
            }
        }
        Event::UncapturedFound { table, found } => {
            tracing::warn!(
                table,
                new = found.new,
                changed = found.changed,
                deleted = found.deleted,
                "writes found that no trigger saw, they are published as if made now"
            );
        }
        Event::ConflictsLogged { rows } => {
            tracing::info!(rows, "conflicts, the losing rows are in the conflict log")
        }
        Event::DeadLettered { rows } => {
            tracing::error!(rows, "rows that cannot be written went to the dead letters")
        }
        Event::ClockAhead { origin, ahead_ms } => {
            tracing::error!(%origin, ahead_ms, "a clock is too far ahead, look at the time on its node");
        }
        Event::ClockWithinLimit { origin } => tracing::info!(%origin, "clock within the limit again"),
        Event::FallsAsleep { after_ms } => {
            tracing::info!(after_ms, "nothing happened for so long, ending in order")
        }
        Event::StoreTrouble { request, error } => {
            tracing::error!(request, error, "the database refused, trying again until it works");
        }
        Event::TroubleOver { what } => tracing::info!(what, "works again"),
    }
}

fn log_schema(replicated: usize, refused: &[(String, String)], repaired: u64, uncaptured: &[String]) {
    tracing::info!(replicated, repaired, "schema read");
    for (table, reason) in refused {
        tracing::warn!(table, reason, "table not replicated");
    }
    for table in uncaptured {
        tracing::warn!(table, "triggers were missing, looking for writes to the table since then");
    }
}
