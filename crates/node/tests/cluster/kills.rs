//! Sidecars, servers and both are killed at random moments of a load: afterwards all is equal and nothing is lost.

use std::time::Duration;

use harmonylite_testkit::{Cluster, Context, Node, Result, Rng, Writer, ensure, wait, wait_for};

use crate::load;
use crate::support::{BINARY, DEADLINE, no_panics};

/// Kills of each kind and node; `HARMONYLITE_TEST_KILLS` says otherwise.
const KILLS: usize = 20;

/// Writes a second, on every node.
const LOAD: u32 = 200;

/// Writes of the load between two kills of a node, at most: a second and a half.
const WRITES_BETWEEN: u64 = 300;

#[derive(Clone, Copy, Debug)]
enum Kind {
    Sidecar,
    Server,
    Both,
}

#[test]
fn kills_of_sidecars_and_servers_at_random_moments_of_a_load_lose_nothing() -> Result<()> {
    let mut rng = Rng::from_environment();
    let mut cluster = Cluster::start(BINARY, 3, load::SCHEMA)?;
    let writers: Vec<Writer> =
        cluster.nodes.iter().map(|node| load::start(node, LOAD)).collect::<Result<_>>()?;
    std::thread::scope(|scope| {
        let killers: Vec<_> = cluster
            .nodes
            .iter_mut()
            .zip(&writers)
            .map(|(node, writer)| {
                let rng = Rng::new(rng.next_u64());
                scope.spawn(move || kill_again_and_again(node, writer, rng))
            })
            .collect();
        killers.into_iter().try_for_each(|killer| killer.join().expect("a killer panicked"))
    })?;
    let written: Vec<u64> = writers.into_iter().map(Writer::stop).collect::<Result<_>>()?;
    check(&mut cluster, &written)
}

/// All run by themselves, all are equal, and every committed write is everywhere.
fn check(cluster: &mut Cluster, written: &[u64]) -> Result<()> {
    for node in &mut cluster.nodes {
        ensure!(node.is_running(), "node {} has ended\n{}", node.id(), node.log());
    }
    let complete = wait_for("all writes everywhere", DEADLINE * 2, || {
        for (of, written) in (1..).zip(written) {
            cluster.nodes.iter().try_for_each(|node| load::check_complete(node, of, *written))?;
        }
        cluster.equal_contents(load::TABLES)
    });
    complete.with_context(|| cluster.logs())?;
    cluster.wait_published(DEADLINE)?;
    cluster.equal_contents(load::TABLES)?;
    no_panics(cluster)
}

fn kill_again_and_again(node: &mut Node, writer: &Writer, mut rng: Rng) -> Result<()> {
    let mut kinds: Vec<Kind> =
        [Kind::Sidecar, Kind::Server, Kind::Both].into_iter().flat_map(|kind| vec![kind; kills()]).collect();
    rng.shuffle(&mut kinds);
    for kind in kinds {
        let moment = writer.written() + rng.below(WRITES_BETWEEN);
        // A failed write ends the writer: the test is over then, and tells at its end.
        wait("the moment to kill", DEADLINE, || writer.written() >= moment)?;
        kill(node, kind).with_context(|| format!("killing {kind:?} of node {}", node.id()))?;
    }
    node.wait_ready()
}

fn kill(node: &mut Node, kind: Kind) -> Result<()> {
    match kind {
        Kind::Server => return node.kill9_server(),
        Kind::Both => {
            let server = wait_for("a server", DEADLINE, || node.server())?;
            server.kill9();
        }
        Kind::Sidecar => {}
    }
    node.kill9()?;
    wait("the end of the server with its parent", Duration::from_secs(10), || node.left_behind().is_empty())?;
    node.start()
}

fn kills() -> usize {
    std::env::var("HARMONYLITE_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS)
}
