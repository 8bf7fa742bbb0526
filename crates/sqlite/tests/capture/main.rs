//! Capture on real database files: what the application does, and what stands in the log afterwards.

#![allow(clippy::unwrap_used, clippy::panic, reason = "clippy knows tests by #[test], not by their helpers")]

#[allow(dead_code, reason = "shared with the trap matrix, which uses more of it")]
#[path = "../applications/mod.rs"]
mod applications;
mod bad_input;
mod kinds;
mod laws;
mod opening;
mod schema_changes;
mod statements;
mod support;
mod writers;
