//! Putting a group together from its frames.

use crate::codec::{FrameHeader, GroupPlace};
use crate::effect::{ReceivedBody, ReceivedGroup};
use crate::limits::GROUP_RECEIVED_BYTES_MAX;
use crate::model::{Origin, SourceId, StreamSequence};

/// A group of which not all frames are here yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct OpenGroup {
    place: GroupPlace,
    group: u64,
    /// The sequence of its first frame: the checkpoint stays before it.
    pub(super) first: StreamSequence,
    /// Frames so far.
    pub(super) messages: u32,
    bytes: usize,
    rows: u64,
    bodies: Vec<ReceivedBody>,
    /// The pieces of a body that continues.
    piece: Vec<u8>,
}

impl OpenGroup {
    /// From its first frame; `None` when this is not a first one.
    pub(super) fn start(header: &FrameHeader, sequence: StreamSequence) -> Option<Self> {
        (header.part == 0).then(|| Self {
            place: header.place.clone(),
            group: header.group,
            first: sequence,
            messages: 0,
            bytes: 0,
            rows: 0,
            bodies: Vec::new(),
            piece: Vec::new(),
        })
    }

    /// Is this the next frame of the group?
    pub(super) fn continues_with(&self, header: &FrameHeader) -> bool {
        self.group == header.group && self.place == header.place && self.messages == header.part
    }

    /// Adds the next frame. `false` when the group is above every limit that an honest origin keeps.
    pub(super) fn add(&mut self, header: &FrameHeader, body: &[u8]) -> bool {
        self.messages += 1;
        self.bytes += body.len();
        self.rows += u64::from(header.rows);
        self.piece.extend_from_slice(body);
        if !header.continued && header.raw_size > 0 {
            let bytes = std::mem::take(&mut self.piece);
            self.bodies.push(ReceivedBody {
                bytes,
                compressed: header.compressed,
                raw_size: header.raw_size,
            });
        }
        self.bytes <= GROUP_RECEIVED_BYTES_MAX
    }

    /// Whose it is.
    pub(super) fn origin(&self) -> Origin {
        self.place.origin
    }

    /// The whole group.
    pub(super) fn finish(self, source: &SourceId) -> ReceivedGroup {
        ReceivedGroup {
            source: source.clone(),
            origin: self.place.origin,
            shard: self.place.shard,
            prev: self.place.prev,
            through: self.place.through,
            bodies: self.bodies,
            rows: self.rows,
        }
    }
}
