//! Stores that exchange groups directly, on real database files: what one application writes, all tables hold.

mod convergence;
mod incarnation;
mod log;
mod statements;
mod support;
mod unique;
mod values;
mod versions;
