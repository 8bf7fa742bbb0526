//! `harmonylite demo`: three nodes with a sample database, to try it out.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::try_join_all;
use harmonylite_core::model::NodeId;
use harmonylite_sqlite::sample;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::arguments::DemoArguments;
use super::loopback::free_addresses;
use super::{print, run::block_on};
use crate::config::environment::LOG_VARIABLE;
use crate::config::{Environment, Listen, Logging, Settings};
use crate::exit::{ExitCode, ExitError};
use crate::runtime::{self, Surroundings, signals};
use crate::telemetry;

const NODES: u64 = 3;
/// How long three nodes on one machine may take to agree on a handful of rows, even on a busy one.
const AGREE_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub(super) fn demo(arguments: &DemoArguments, environment: &Environment) -> Result<ExitCode, ExitError> {
    // Three nodes would drown what is to be read: only errors, unless somebody asks for more.
    telemetry::init(Logging::default(), environment.variable(LOG_VARIABLE).or(Some("error")))?;
    let temporary = tempfile::tempdir().map_err(|error| failed("cannot make a temporary folder", &error))?;
    let folder = arguments.folder.clone().unwrap_or_else(|| temporary.path().to_owned());
    let nodes = nodes(&folder)?;
    block_on(async {
        let stop = signals::stop().map_err(|error| failed("cannot listen for signals", &error))?;
        run_all(&nodes, arguments.once, stop).await
    })?;
    Ok(ExitCode::Ok)
}

/// Three nodes that know one another, each with its own copy of the sample database.
fn nodes(folder: &Path) -> Result<Vec<Settings>, ExitError> {
    let addresses = free_addresses(NODES as usize)?;
    let mut nodes = Vec::new();
    for (number, address) in (1..=NODES).zip(&addresses) {
        let home = folder.join(format!("node{number}"));
        std::fs::create_dir_all(&home).map_err(|error| failed("cannot make a folder for a node", &error))?;
        let database = home.join("app.db");
        sample::create(&database)?;
        let node_id = NodeId::new(number).ok_or_else(|| ExitError::new(ExitCode::Unexpected, "node id"))?;
        let mut settings = Settings::new(database, node_id);
        settings.cluster.listen = Listen { host: Ipv4Addr::LOCALHOST.into(), port: Some(address.port) };
        settings.cluster.advertise = Some(address.clone());
        settings.cluster.peers = addresses.iter().filter(|peer| *peer != address).cloned().collect();
        nodes.push(settings);
    }
    Ok(nodes)
}

async fn run_all(nodes: &[Settings], once: bool, stop: CancellationToken) -> Result<(), ExitError> {
    let (started, mut starts) = mpsc::channel(NODES as usize);
    let run = |settings: &Settings| {
        let started = started.clone();
        let surroundings = Surroundings { stop: stop.clone(), ..Surroundings::default() };
        runtime::run(settings.clone(), surroundings, move |summary| {
            summary.log();
            // There is room for every node.
            let _full = started.try_send(());
        })
    };
    let mut runs = std::pin::pin!(try_join_all(nodes.iter().map(run)));
    let script = async {
        for _ in 0..nodes.len() {
            starts.recv().await;
        }
        if once { try_once(nodes).await } else { print(&what_to_try(nodes)) }
    };
    let told = tokio::select! {
        // A node that cannot start, or Ctrl-C before all of them have.
        ended = &mut runs => return ended.map(drop),
        told = script => told,
    };
    if once || told.is_err() {
        stop.cancel();
    }
    runs.await.map(drop).and(told)
}

/// Writes on each node, shows that the others agree.
async fn try_once(nodes: &[Settings]) -> Result<(), ExitError> {
    for (number, node) in (1..).zip(nodes) {
        let author = format!("node{number}");
        sample::write(&node.db_path, number, &author, "written here")?;
        print(&format!("wrote note {number} on node {number}\n"))?;
    }
    let rows = agree(nodes, nodes.len()).await?;
    let last = nodes.last().map_or(Path::new(""), |node| &node.db_path);
    sample::write(last, 1, "node3", "changed on node 3")?;
    print("changed note 1 on node 3\n")?;
    let changed =
        agree_on(nodes, |now| *now != rows && now.iter().any(|row| row.contains("changed"))).await?;
    print(&format!("all {} nodes agree:\n", nodes.len()))?;
    changed.iter().try_for_each(|row| print(&format!("  {row}\n")))
}

async fn agree(nodes: &[Settings], notes: usize) -> Result<Vec<String>, ExitError> {
    agree_on(nodes, |rows| rows.len() == notes).await
}

/// Waits until all nodes have the same rows, and these are the expected ones.
async fn agree_on(
    nodes: &[Settings],
    expected: impl Fn(&Vec<String>) -> bool,
) -> Result<Vec<String>, ExitError> {
    let deadline = Instant::now() + AGREE_WITHIN;
    loop {
        let all = nodes.iter().map(|node| sample::rows(&node.db_path)).collect::<Result<Vec<_>, _>>()?;
        let equal = all.windows(2).all(|pair| pair[0] == pair[1]);
        if let Some(rows) = all.first().filter(|rows| equal && expected(rows)) {
            return Ok(rows.clone());
        }
        if Instant::now() > deadline {
            let message = format!("the nodes do not agree after {} s: {all:?}", AGREE_WITHIN.as_secs());
            return Err(ExitError::new(ExitCode::Unexpected, message));
        }
        sleep(LOOK_EVERY).await;
    }
}

fn what_to_try(nodes: &[Settings]) -> String {
    let path = |number: usize| nodes[number].db_path.display().to_string();
    let (one, two, three) = (path(0), path(1), path(2));
    let mut text = String::from("Three nodes run, each beside its own database:\n\n");
    for (number, node) in (1..).zip(nodes) {
        let listen = &node.cluster.listen;
        text.push_str(&format!("  node {number}   {}   nats-server at {listen}\n", node.db_path.display()));
    }
    text.push_str(&format!(
        "\nIn another terminal, write on one node and read on another:\n\n  \
         sqlite3 {one} \".timeout 5000\" \"INSERT INTO notes VALUES(10, 'me', 'hello')\"\n  \
         sqlite3 {two} \"SELECT * FROM notes\"\n  \
         sqlite3 {two} \".timeout 5000\" \"UPDATE notes SET text = 'hello back' WHERE id = 10\"\n  \
         sqlite3 {three} \"SELECT * FROM notes\"\n\n\
         Ask a node how it is:\n\n  {} status --db {one}\n\nCtrl-C ends all three.\n",
        program().display()
    ));
    text
}

fn program() -> PathBuf {
    std::fs::read_link("/proc/self/exe").unwrap_or_else(|_| PathBuf::from("harmonylite"))
}

fn failed(what: &str, error: &std::io::Error) -> ExitError {
    ExitError::new(ExitCode::Unexpected, format!("{what}: {error}"))
}
