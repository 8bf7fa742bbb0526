//! HarmonyLite: a sidecar that replicates an application's SQLite database between nodes.
//!
//! This crate is everything that meets the world: configuration, command line, the runtime, NATS. Decisions are in
//! `harmonylite-core`, SQL is in `harmonylite-sqlite`.

pub mod cli;
pub mod cluster_status;
pub mod config;
pub mod exit;
pub mod letters;
pub mod nats;
pub mod orders;
mod orphan;
mod private_files;
pub mod runtime;
pub mod secret;
pub mod status;
pub mod telemetry;
pub mod tls;
