//! What holds for all frames and bodies: they come back as they were, and nothing else is taken for one.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod body;
mod frame;
mod rows;
