//! The three nodes that are measured, a database without us beside them, and whether all of them hold the same rows.

use std::ops::Range;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use harmonylite_sqlite::workload::{Application, Contents, Durability};
use tempfile::TempDir;

use super::Bench;
use super::machines::{Machines, Side};
use super::node::Node;
use super::pace::at_full_speed;
use crate::cli::loopback::free_addresses;
use crate::exit::{ExitCode, ExitError};

const NODES: usize = 3;
const PLAIN: &str = "plain.db";
/// Rows that are written and compared before anything is measured.
const WARM_UP: i64 = 2000;
/// The first row that is free then.
pub(super) const FIRST_ROW: i64 = WARM_UP + 1;
/// Rows of a transaction of many.
pub(super) const BATCH: i64 = 1000;
/// How long anything may take that is waited for. Long enough for a million rows on a machine that does something else.
const PATIENCE: Duration = Duration::from_secs(600);
/// How often it is looked whether the nodes still run and nobody wants to end this.
const CHECK_EVERY: Duration = Duration::from_millis(50);
/// Between two looks at what takes no part in a figure.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Between two looks at rows that arrive by the thousand.
const ROWS_LOOK_EVERY: Duration = Duration::from_millis(2);

/// Three nodes that follow one another, gone with their folder when dropped.
pub(super) struct Cluster<'a> {
    /// The nodes; index 0 is node 1.
    pub(super) nodes: Vec<Node>,
    bench: &'a Bench,
    folder: TempDir,
}

/// Looks after the nodes while somebody is busy, without costing anything that could be measured.
pub(super) struct Guard<'a> {
    cluster: &'a Cluster<'a>,
    looked: Instant,
}

impl<'a> Cluster<'a> {
    /// Starts them, waits until each follows both others, and writes a little.
    pub(super) fn start(bench: &'a Bench) -> Result<Self, ExitError> {
        Self::start_on(bench, &Machines::split(None)?, |_| Side::Others)
    }

    /// The same, each node, from 1, on its side.
    pub(super) fn start_on(
        bench: &'a Bench,
        machines: &Machines,
        side: impl Fn(usize) -> Side,
    ) -> Result<Self, ExitError> {
        let folder = bench.subfolder()?;
        let addresses = free_addresses(NODES)?;
        let parent = |id| machines.folder(side(id)).unwrap_or(folder.path());
        let nodes = (1..=NODES).map(|id| Node::new(parent(id), id, &addresses));
        let nodes = nodes.collect::<Result<_, _>>()?;
        Application::create(&folder.path().join(PLAIN))?;
        let cluster = Self { nodes, bench, folder };
        let start = |node: &Node| machines.on(side(node.id()), || node.start(bench));
        cluster.nodes.iter().try_for_each(start)?;
        cluster.wait("nodes that follow one another", LOOK_EVERY, || Ok(cluster.all_follow()))?;
        cluster.write(&cluster.plain()?, 1..FIRST_ROW, BATCH)?;
        cluster.write(&cluster.nodes[0].application(Durability::Normal)?, 1..FIRST_ROW, BATCH)?;
        cluster.settle()?;
        Ok(cluster)
    }

    fn all_follow(&self) -> bool {
        let follows = |node: &Node| {
            let sources = node.status().map(|status| status.replication.sources).unwrap_or_default();
            sources.iter().filter(|source| source.state == "following").count() == NODES - 1
        };
        self.nodes.iter().all(follows)
    }

    /// A connection to the reference: a database of the same application that no node knows.
    pub(super) fn plain(&self) -> Result<Application, ExitError> {
        Ok(Application::open(&self.folder.path().join(PLAIN), Durability::Normal)?)
    }

    /// Writes the new rows `ids`, `batch` of them in a transaction: how long that took.
    pub(super) fn write(
        &self,
        application: &Application,
        ids: Range<i64>,
        batch: i64,
    ) -> Result<Duration, ExitError> {
        let mut guard = self.guard();
        at_full_speed(application, ids, batch, || guard.look())
    }

    /// Waits until the row `id`, and with it every row that was written before on the same node, is there.
    pub(super) fn wait_visible(&self, replica: &Application, id: i64) -> Result<(), ExitError> {
        self.wait(&format!("row {id}"), ROWS_LOOK_EVERY, || Ok(replica.has(id)?))
    }

    /// Waits until all nodes hold the same and have nothing left to send, and expects that it is what the reference holds.
    ///
    /// # Errors
    /// When it is not so: then no figure of them means anything.
    pub(super) fn settle(&self) -> Result<(), ExitError> {
        let (found, expected) = (self.settle_equal()?, self.plain()?.contents()?);
        if found == expected {
            return Ok(());
        }
        Err(unequal(&format!("all nodes have {found}, and {expected} were written")))
    }

    /// The same where the reference takes no part. Whoever calls has no writes under way: equal nodes stay so.
    ///
    /// # Errors
    /// When they never hold the same.
    pub(super) fn settle_equal(&self) -> Result<Contents, ExitError> {
        let published =
            |node: &Node| node.status().is_some_and(|status| status.replication.publisher.pending_rows == 0);
        let sent = || Ok(self.nodes.iter().all(published));
        self.wait("nodes that have sent everything", LOOK_EVERY, sent)?;
        let mut found = Vec::new();
        let equal = self.wait("equal nodes", LOOK_EVERY, || {
            found = self.contents()?;
            Ok(found.windows(2).all(|pair| pair[0] == pair[1]))
        });
        match (equal, found.first()) {
            (Ok(()), Some(contents)) => Ok(*contents),
            (Ok(()), None) => Err(unequal("there are none")),
            (Err(error), _) => Err(tell_difference(error, &found)),
        }
    }

    fn contents(&self) -> Result<Vec<Contents>, ExitError> {
        let contents = |node: &Node| Ok(node.application(Durability::Normal)?.contents()?);
        self.nodes.iter().map(contents).collect()
    }

    /// Waits until `look` says that it is so, looking `every` so often.
    ///
    /// # Errors
    /// When it never is, a node ends, or somebody wants to end this.
    pub(super) fn wait(
        &self,
        what: &str,
        every: Duration,
        mut look: impl FnMut() -> Result<bool, ExitError>,
    ) -> Result<(), ExitError> {
        let (deadline, mut guard) = (Instant::now() + PATIENCE, self.guard());
        while !look()? {
            guard.look()?;
            if Instant::now() > deadline {
                return Err(unequal(&format!("waited {} s for {what}", PATIENCE.as_secs())));
            }
            std::thread::sleep(every);
        }
        Ok(())
    }

    /// What goes wrong in one thread ends what the others wait for.
    pub(super) fn or_end_all<T>(&self, result: Result<T, ExitError>) -> Result<T, ExitError> {
        result.inspect_err(|_| self.bench.stop.cancel())
    }

    /// For whoever does not wait but works.
    pub(super) fn guard(&self) -> Guard<'_> {
        Guard { cluster: self, looked: Instant::now() }
    }

    fn check(&self) -> Result<(), ExitError> {
        self.bench.check()?;
        match self.nodes.iter().find_map(|node| Some((node, node.ended()?))) {
            Some((node, status)) => Err(broken(node, status)),
            None => Ok(()),
        }
    }
}

impl Guard<'_> {
    /// Is everything well? Looks now and then only, so it may be asked all the time.
    pub(super) fn look(&mut self) -> Result<(), ExitError> {
        if self.looked.elapsed() < CHECK_EVERY {
            return Ok(());
        }
        self.looked = Instant::now();
        self.cluster.check()
    }
}

impl Drop for Cluster<'_> {
    fn drop(&mut self) {
        self.nodes.iter().for_each(Node::ask_to_end);
        self.nodes.iter().for_each(Node::stop);
    }
}

/// Why nothing is printed.
fn unequal(why: &str) -> ExitError {
    let message = format!("no figures: the nodes did not come to hold the same rows: {why}");
    ExitError::new(ExitCode::Unequal, message)
}

/// A node that said why by its exit code is quoted with that.
fn broken(node: &Node, status: ExitStatus) -> ExitError {
    let mut error = unequal(&format!("node {} ended with {status}; its last lines:", node.id()));
    error.message = format!("{}\n{}", error.message, node.last_lines());
    let code = status.code().and_then(|code| u8::try_from(code).ok()).and_then(ExitCode::of_number);
    error.code = code.filter(|code| *code != ExitCode::Ok).unwrap_or(error.code);
    error
}

fn tell_difference(mut error: ExitError, found: &[Contents]) -> ExitError {
    let found = (1..).zip(found).map(|(id, contents)| format!("; node {id} has {contents}"));
    error.message.extend(found);
    error
}
