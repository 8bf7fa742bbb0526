//! Bodies are decoded before the application's lock is taken, as far as that does not take much memory.

use std::sync::Arc;

use harmonylite_core::codec::{Body, DecodeError, decode_body};
use harmonylite_core::effect::{ReceivedBody, ReceivedGroup};

/// Bytes of bodies, uncompressed, that are decoded before: of any batch that holds the lock for a few milliseconds all. Of the
/// largest groups one body after the other is.
const AHEAD_BYTES_MAX: usize = 1 << 20;

/// The bodies of a group in their order, decoded before or when they are taken.
pub(super) struct Bodies<'b> {
    ahead: std::vec::IntoIter<Result<Body, DecodeError>>,
    rest: std::slice::Iter<'b, ReceivedBody>,
}

impl<'b> Bodies<'b> {
    /// None of them decoded yet.
    pub(super) fn of(bodies: &'b [ReceivedBody]) -> Self {
        Self { ahead: Vec::new().into_iter(), rest: bodies.iter() }
    }
}

impl Iterator for Bodies<'_> {
    type Item = Result<Body, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.ahead.next().or_else(|| self.rest.next().map(decode))
    }
}

fn decode(body: &ReceivedBody) -> Result<Body, DecodeError> {
    decode_body(&body.bytes, body.compressed, body.raw_size)
}

/// The bodies of each group, the first ones decoded.
pub(super) fn decode_ahead(groups: &[Arc<ReceivedGroup>]) -> Vec<Bodies<'_>> {
    let mut bytes = 0;
    let mut is_ahead = |body: &ReceivedBody| {
        bytes += body.raw_size as usize;
        bytes <= AHEAD_BYTES_MAX
    };
    let bodies = |group| {
        let group: &Arc<ReceivedGroup> = group;
        let (bodies, count) = (&group.bodies, group.bodies.iter().take_while(|body| is_ahead(body)).count());
        let ahead: Vec<_> = bodies[..count].iter().map(decode).collect();
        Bodies { ahead: ahead.into_iter(), rest: bodies[count..].iter() }
    };
    groups.iter().map(bodies).collect()
}
