//! The NATS module against a real nats-server.

// The helpers of tests, too, are tests: there a broken expectation ends them.
#![allow(clippy::panic, clippy::unwrap_used)]

mod both;
mod model;
mod peer_rights;
mod publish;
mod server;
mod source;
mod stream;
mod support;
mod tls;
