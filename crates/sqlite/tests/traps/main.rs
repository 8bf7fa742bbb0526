//! Traps: what SQLite and its applications do that a replicator can trip over, one test each, on real files. The table
//! in `docs/testing.md` says which trap is guarded by which test, here and elsewhere.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its support too")]

#[path = "../applications/mod.rs"]
mod applications;
mod cost;
mod kinds;
mod libraries;
mod migrations;
#[allow(dead_code, reason = "shared with the tests of replication, which use more of it")]
#[path = "../replication/support.rs"]
mod nodes;
mod sharing;
mod statements;
mod values;
