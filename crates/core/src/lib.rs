//! The pure core of HarmonyLite: every decision, no I/O.
//!
//! Nothing in this crate reads a clock, draws a random number, opens a file or spawns a task. The outside world
//! arrives as an [`Input`](input::Input), the core answers with [`Effect`](effect::Effect)s, and the same inputs
//! give the same effects. Whoever drives it (the runtime of the product, or a simulator with a seed) keeps this
//! contract:
//!
//! 1. `now` never decreases from one call of [`Replicator::handle`](replicator::Replicator::handle) to the next;
//! 2. the effects of a call are carried out (or queued in their order) before the next call;
//! 3. every effect that promises an answer gets exactly one, in its own time.
//!
//! The promises `G1` .. `G9` and the rules `R1` .. `R15` that comments name are those of `docs/guarantees.md` and
//! `docs/protocol.md`.

mod backoff;
mod clock_drift;
pub mod codec;
pub mod conflict;
mod consumer;
pub mod effect;
pub mod event;
pub mod input;
pub mod limits;
pub mod members;
pub mod model;
mod pace;
pub mod planted;
mod publisher;
pub mod replicator;
mod scan;
pub mod schema;
mod settings;
mod sleep;
pub mod status;
mod trouble;
