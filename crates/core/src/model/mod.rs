//! The nouns of the protocol: who wrote, when, where in which log, which row, which values.

pub mod change;
pub mod hlc;
pub mod key;
pub mod node_id;
pub mod position;
pub mod table;
pub mod value;

pub use change::{BaseVersion, RowChange, RowContent};
pub use hlc::Hlc;
pub use key::CanonicalKey;
pub use node_id::{Incarnation, NodeId, Origin};
pub use position::{Checkpoint, FrameMark, LogPosition, Shard, SourceId, StreamSequence};
pub use table::{Collation, Column, TableSchema, UniqueIndex, UniqueIndexKind};
pub use value::Value;
