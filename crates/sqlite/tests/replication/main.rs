//! Stores that exchange groups directly, on real database files: what one application writes, all tables hold.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its support too")]
#![allow(clippy::print_stdout, reason = "the seed of a failed run")]

mod conflicts;
mod convergence;
mod cuts;
mod dead_letters;
mod incarnation;
mod kindness;
mod log;
mod mirror;
mod scan;
mod scan_steps;
mod statements;
mod support;
mod unique;
mod values;
mod versions;
