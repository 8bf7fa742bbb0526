//! Places: in an origin's log (*position*), in a stream (*sequence*), and the names of what holds them.

use std::fmt;

use super::Hlc;

/// A place in an origin's change log: the HLC of a log row. 0 is before the first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct LogPosition(i64);

impl LogPosition {
    /// Before the first row.
    pub const START: Self = Self(0);

    /// `None` when negative.
    #[must_use]
    pub const fn new(raw: i64) -> Option<Self> {
        if raw < 0 { None } else { Some(Self(raw)) }
    }

    /// The integer, as stored.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The clock of the log row at this place.
    #[must_use]
    pub const fn hlc(self) -> Hlc {
        match Hlc::new(self.0) {
            Some(hlc) => hlc,
            None => Hlc::ZERO,
        }
    }
}

impl From<Hlc> for LogPosition {
    fn from(hlc: Hlc) -> Self {
        Self(hlc.get())
    }
}

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A message's sequence in its stream; 0 is before the first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct StreamSequence(pub u64);

impl StreamSequence {
    /// Before the first message.
    pub const START: Self = Self(0);

    /// The sequence after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for StreamSequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A shard: 1 ..= `shards`. Streams and subjects carry its number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Shard(u16);

impl Shard {
    /// The only shard of a cluster that does not shard.
    pub const FIRST: Self = Self(1);

    /// `None` for 0.
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        if number == 0 { None } else { Some(Self(number)) }
    }

    /// Its number, from 1.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One change stream on one server: the stream's name in shared mode, `<node id>/<stream>` in mesh mode.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SourceId(pub String);

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What recognises a message again: the checksum in its envelope.
///
/// Kept with a checkpoint, compared on every connect: a stream that was rolled back and written again holds another
/// message at the same sequence.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct FrameMark(pub u64);

impl FrameMark {
    /// Of a message that was never looked at: whatever is there is taken for it.
    pub const UNKNOWN: Self = Self(0);
}

/// How far a source is consumed: everything up to `sequence` is applied (or rightly dropped), in the same
/// transaction as the rows.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Checkpoint {
    /// The stream's own identity (its metadata `harmonylite-stream-id`); another one means another stream.
    pub stream_id: String,
    /// The last sequence that is applied.
    pub sequence: StreamSequence,
    /// The message there.
    pub mark: FrameMark,
    /// Rows of this source that changed the database, ever. Exact: redelivery does not count.
    pub rows_applied: u64,
}
