//! The only SQL of HarmonyLite: capture by triggers, the change log, apply.
//!
//! Blocking, and the one owner of the connection that writes. Knows nothing of networks or tasks: requests and answers
//! are the plain data of `harmonylite-core`.

mod apply;
mod baseline;
mod capture;
mod catalog;
mod change_log;
mod checkpoint;
mod cleanup;
mod conflict_log;
mod connection;
mod cuts;
mod dead_letter;
mod error;
mod hold;
mod housekeeping;
mod identifier;
mod incarnation;
mod introspect;
mod limits;
mod lock;
mod log_ends;
mod log_reading;
mod members;
mod meta;
mod mirror;
mod origin;
mod row_digest;
mod row_version;
pub mod sample;
mod scan;
mod schema_listing;
mod sent;
mod session;
mod stamp;
mod store;
mod table_sql;
mod value;
mod views;
mod wal;
mod wal_commits;
mod wal_file;
pub mod workload;

pub use apply::{LetterOutcome, drop_dead_letters, retry_dead_letters};
pub use cleanup::{Removed, cleanup, detach};
pub use error::{StoreError, StoreErrorKind};
pub use limits::{ConflictRetention, Limits};
pub use lock::LockFile;
pub use log_ends::LogEndsWatch;
pub use log_reading::LogReadOutcome;
pub use members::saved_members;
pub use schema_listing::{ListedColumn, ListedTable, schema};
pub use store::{ClockSql, OpenOptions, Store, has_run, plan};
pub use views::{Conflict, Conflicts, DeadLetter, Fields, conflict, conflicts, dead_letter, dead_letters};
pub use wal::WalSize;
