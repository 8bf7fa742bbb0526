//! `harmonylite bench`: figures of nodes that end equal, and not a word about any others.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use harmonylite_testkit::{Context, NatsServer, ProcessId, Result, ensure, wait, wait_for};
use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{BINARY, DEADLINE};

const SUBJECTS: [&str; 5] = ["throughput", "latency", "application", "catch-up", "capture"];
/// Less than a test has time for.
const SMALL: [&str; 9] =
    ["--quick", "--rows", "3000", "--single-rows", "200", "--seconds", "1", "--backlog", "5000"];

/// A bench that runs, with folders for its databases and for what it says. Killed when dropped.
struct Bench {
    process: Child,
    dir: TempDir,
    said: TempDir,
}

impl Bench {
    fn start(arguments: &[&str]) -> Result<Bench> {
        let (dir, said) = (tempfile::tempdir()?, tempfile::tempdir()?);
        let mut command = Command::new(BINARY);
        command.arg("bench").args(arguments).arg("--dir").arg(dir.path());
        command.env("HARMONYLITE_NATS_SERVER_BINARY", NatsServer::binary()?);
        // A configuration of this shell has nothing to do with what is measured.
        command.env("HARMONYLITE_DB_PATH", "/nowhere/app.db");
        command.stdin(Stdio::null()).stdout(File::create(said.path().join("stdout"))?);
        let process = command.stderr(File::create(said.path().join("stderr"))?).spawn()?;
        Ok(Bench { process, dir, said })
    }

    fn stdout(&self) -> Result<String> {
        Ok(fs::read_to_string(self.said.path().join("stdout"))?)
    }

    fn stderr(&self) -> Result<String> {
        Ok(fs::read_to_string(self.said.path().join("stderr"))?)
    }

    /// Waits until it measures `round`: the nodes and their servers.
    fn wait_round(&mut self, round: &str) -> Result<Vec<ProcessId>> {
        wait_for(round, DEADLINE, || {
            let stderr = self.stderr()?;
            ensure!(stderr.contains(round), "it said {stderr:?}");
            Ok(())
        })?;
        let bench = ProcessId::of(self.process.id()).context("it has ended")?;
        let nodes = bench.children();
        let servers = nodes.iter().flat_map(|node| node.children()).collect::<Vec<_>>();
        ensure!((nodes.len(), servers.len()) == (3, 3), "{nodes:?} and {servers:?}");
        Ok(nodes.into_iter().chain(servers).collect())
    }

    fn wait_exit(&mut self) -> Result<ExitStatus> {
        wait_for("the end of the bench", DEADLINE * 5, || self.process.try_wait()?.context(self.stderr()?))
    }

    /// It has said nothing of figures, ended with `code`, and left nothing behind.
    fn refuses(&mut self, code: i32, processes: &[ProcessId]) -> Result<String> {
        let status = self.wait_exit()?;
        let stderr = self.stderr()?;
        ensure!(status.code() == Some(code), "it ended with {status}: {stderr}");
        ensure!(self.stdout()?.is_empty(), "it printed {}", self.stdout()?);
        ensure!(stderr.contains("error: no figures"), "{stderr}");
        self.leaves_nothing(processes)?;
        Ok(stderr)
    }

    fn leaves_nothing(&self, processes: &[ProcessId]) -> Result<()> {
        ensure!(processes.iter().all(|process| !process.is_running()), "processes are left behind");
        let left: Vec<_> = fs::read_dir(self.dir.path())?.collect();
        ensure!(left.is_empty(), "left behind: {left:?}");
        Ok(())
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The database of node `id` of the bench that runs in `dir`.
fn database(dir: &Path, id: u32) -> Result<PathBuf> {
    let name = format!("node{id}");
    for level in [dir.to_owned(), only_folder(dir)?, only_folder(&only_folder(dir)?)?] {
        if level.join(&name).is_dir() {
            return Ok(level.join(name).join("app.db"));
        }
    }
    harmonylite_testkit::bail!("no {name} below {}", dir.display())
}

fn only_folder(parent: &Path) -> Result<PathBuf> {
    let entry = fs::read_dir(parent)?.next().context("an empty folder")?;
    Ok(entry?.path())
}

fn check_spread(spread: &Value) -> Result<()> {
    let samples = spread["samples"].as_array().context("no samples")?;
    let number = |name: &str| spread[name].as_f64().with_context(|| format!("no {name} in {spread}"));
    let (least, median, most) = (number("least")?, number("median")?, number("most")?);
    ensure!(samples.len() == 2, "one sample a round in {spread}");
    ensure!(least >= 0.0 && least <= median && median <= most, "{spread}");
    Ok(())
}

#[test]
fn a_bench_prints_every_figure_with_its_spread_its_reference_and_their_ratio() -> Result<()> {
    let mut bench = Bench::start(&[&["--json"], &SMALL[..]].concat())?;
    let status = bench.wait_exit()?;
    ensure!(status.success(), "{status}: {}", bench.stderr()?);
    bench.leaves_nothing(&[])?;
    let document: Value = serde_json::from_str(&bench.stdout()?)?;
    let figures = document["figures"].as_array().context("no figures")?;
    for subject in SUBJECTS {
        assert!(figures.iter().any(|figure| figure["subject"] == subject), "{subject}");
        assert!(bench.stderr()?.contains(&format!("{subject}, ")), "no progress of {subject}");
    }
    for figure in figures {
        for spread in [figure, &figure["reference"], &figure["ratio"]] {
            check_spread(spread).with_context(|| format!("in {figure}"))?;
        }
        assert!(figure["reference"]["what"].as_str().is_some_and(|what| !what.is_empty()), "{figure}");
    }
    for fact in ["processor", "kernel", "file_system", "load_at_start", "sqlite", "nats_server"] {
        assert!(document["machine"][fact].as_str().is_some_and(|text| !text.is_empty()), "{fact}");
    }
    Ok(())
}

#[test]
fn a_bench_one_of_whose_nodes_is_killed_prints_no_figures() -> Result<()> {
    let mut bench = Bench::start(&["--only", "latency", "--rounds", "100"])?;
    let processes = bench.wait_round("latency, 100 writes a second: round 1 ")?;
    processes[1].kill9();
    let stderr = bench.refuses(12, &processes)?;
    ensure!(stderr.contains("ended with signal: 9"), "{stderr}");
    Ok(())
}

#[test]
fn a_bench_whose_nodes_hold_other_rows_than_were_written_prints_no_figures() -> Result<()> {
    let mut bench = Bench::start(&["--only", "throughput", "--rounds", "100", "--rows", "3000"])?;
    let processes = bench.wait_round("throughput, 1000 at a time: round 1 ")?;
    // Somebody else writes: replicated like any other row, and expected by nobody.
    let connection = Connection::open(database(bench.dir.path(), 2)?)?;
    connection.busy_timeout(DEADLINE)?;
    connection.execute("INSERT INTO item VALUES(-1, 'a', 1, NULL)", [])?;
    let stderr = bench.refuses(12, &processes)?;
    ensure!(stderr.contains("all nodes have") && stderr.contains("were written"), "{stderr}");
    Ok(())
}

#[test]
fn an_interrupted_bench_ends_its_nodes_and_removes_its_folder() -> Result<()> {
    let mut bench = Bench::start(&["--only", "throughput", "--rounds", "100", "--markdown"])?;
    let processes = bench.wait_round("throughput, 1000 at a time: round 1 ")?;
    let pid = rustix::process::Pid::from_raw(bench.process.id().cast_signed()).context("no process")?;
    rustix::process::kill_process(pid, rustix::process::Signal::INT)?;
    let stderr = bench.refuses(1, &processes)?;
    ensure!(stderr.contains("interrupted"), "{stderr}");
    Ok(())
}

#[test]
fn the_nodes_of_a_bench_that_is_killed_die_with_it() -> Result<()> {
    let mut bench = Bench::start(&["--only", "latency", "--rounds", "100"])?;
    let processes = bench.wait_round("latency, 100 writes a second: round 1 ")?;
    bench.process.kill()?;
    wait("the end of all processes", DEADLINE, || processes.iter().all(|process| !process.is_running()))
}
