//! Bytes on the wire: `docs/format.md`, byte by byte.
//!
//! A *group* is a change set for one shard. It is encoded as bodies (rows of one or more tables, self-contained, about
//! [`BODY_SIZE_TARGET`](crate::limits::BODY_SIZE_TARGET) each), and sent as *frames*: one message each, with an
//! envelope, a header and a body or a piece of one.

mod body_v1;
mod cbor;
mod compression;
mod error;
mod frame;

pub use body_v1::{Body, BodyWriter, EncodedBody, TableChanges, decode_body};
pub use error::{DecodeError, EncodeError};
pub use frame::{FrameHeader, GroupPlace, Message, decode_frame, encode_group, peek_mark};
