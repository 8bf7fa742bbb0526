//! Real nats-servers, clusters of nodes, a cutting proxy, stores without a network: for HarmonyLite's tests only.
//!
//! Everything here is blocking, owns what it starts (a process, a port, a folder) and takes it away when dropped.
//! Failures are [`Result`]s, so a test reads as a list of steps with `?` behind them. Nothing sleeps for a fixed
//! time: [`wait`] and [`wait_for`] look until a deadline, and a timeout says what was last seen. What a process
//! logged is printed when its owner is dropped; the test harness shows that for failed tests only.

mod cluster;
mod contents;
pub mod exchange;
mod image;
mod nats_cluster;
mod nats_server;
mod node;
mod ports;
mod process;
mod proxy;
mod rng;
mod waiting;
mod writer;

pub use anyhow::{self, Context, Result, bail, ensure};
pub use cluster::Cluster;
pub use contents::{Contents, difference};
pub use image::Image;
pub use nats_cluster::NatsCluster;
pub use nats_server::NatsServer;
pub use node::Node;
pub use ports::Port;
pub use process::ProcessId;
pub use proxy::Proxy;
pub use rng::Rng;
pub use waiting::{wait, wait_for};
pub use writer::Writer;
