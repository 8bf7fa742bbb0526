//! `harmonylite status`: asks the running node of a database; when none runs, says what the database tells.

use std::path::Path;

use serde::Serialize;

use super::arguments::StatusArguments;
use super::node_socket::ask;
use super::table::{columns, pairs};
use super::{print, print_error, print_warnings, to_json};
use crate::config::Environment;
use crate::exit::{ExitCode, ExitError};
use crate::status::{CertificateStatus, NodeStatus, TableStatus, WalStatus};

/// What is printed when no node runs.
#[derive(Serialize)]
struct Offline {
    running: bool,
    database: String,
    tables: Vec<TableStatus>,
}

pub(super) fn status(arguments: &StatusArguments, environment: &Environment) -> Result<ExitCode, ExitError> {
    let StatusArguments { report: arguments, cluster } = arguments;
    let (database, warnings) = arguments.config.database(environment)?;
    if !arguments.json {
        print_warnings(&warnings);
    }
    let database = &database;
    if *cluster {
        return super::cluster::cluster(database, arguments.json);
    }
    match ask(database, "")? {
        Some(document) if arguments.json => print(&(document.trim_end().to_owned() + "\n"))?,
        Some(document) => print(&render(&parse(&document)?))?,
        None => return offline(database, arguments.json),
    }
    Ok(ExitCode::Ok)
}

fn parse(document: &str) -> Result<NodeStatus, ExitError> {
    serde_json::from_str(document).map_err(|error| {
        ExitError::new(ExitCode::Unexpected, format!("the node's answer is not understood: {error}"))
            .with_hint("the node may be of another version: compare `harmonylite version`, or use --json")
    })
}

fn offline(database: &Path, json: bool) -> Result<ExitCode, ExitError> {
    let plan = harmonylite_sqlite::plan(database)?;
    let tables: Vec<TableStatus> = plan.tables.iter().map(TableStatus::from).collect();
    let view = Offline { running: false, database: database.display().to_string(), tables };
    if json {
        print(&to_json(&view)?)?;
    } else {
        print(&format!("{}{}", pairs(&[("database", view.database)]), self::tables(&view.tables)))?;
        print_error("no harmonylite process runs for this database; start it with `harmonylite run`");
    }
    Ok(ExitCode::NotRunning)
}

/// The whole status, for people.
fn render(status: &NodeStatus) -> String {
    let replication = &status.replication;
    let mut rows = head(status);
    rows.extend(status.nats.certificate.as_ref().map(certificate));
    let mut text = pairs(&rows);
    text.push_str(&tables(&replication.tables));
    text.push_str(&peers(status));
    text.push_str(&sources(status));
    text.push_str(&super::cluster::refused(&status.refused));
    if replication.dead_letters > 0 {
        let rows = replication.dead_letters;
        text.push_str(&format!("\nDEAD LETTERS {rows}: `harmonylite dead-letters list` shows them\n"));
    }
    for clock in &replication.clocks_ahead {
        let (origin, ahead_s) = (&clock.origin, clock.ahead_ms.div_ceil(1000));
        text.push_str(&format!("\nCLOCK AHEAD {origin}: by {ahead_s} s, look at the time on its node\n"));
    }
    if let Some(trouble) = &status.nats.trouble {
        text.push_str(&format!("\nTROUBLE nats-server stores nothing: {trouble}\n"));
    }
    for trouble in &replication.troubles {
        text.push_str(&format!("\nTROUBLE {}, tried until it works: {}\n", trouble.what, trouble.error));
    }
    for stopped in &replication.stopped {
        text.push_str(&format!("\nSTOPPED {}: {}\n", stopped.source, stopped.reason));
    }
    text
}

fn head(status: &NodeStatus) -> Vec<(&'static str, String)> {
    let publisher = &status.replication.publisher;
    let counters = &status.replication.counters;
    let waiting = publisher.waiting_for.as_ref().map_or(String::new(), |reason| format!(" for {reason}"));
    let server = &status.nats;
    let version = server.server_version.as_deref().unwrap_or("of unknown version");
    let connected = if server.connected { "connected" } else { "NOT connected" };
    vec![
        ("database", status.database.clone()),
        (
            "node",
            format!("{} in cluster {}, incarnation {}", status.node_id, status.cluster, status.incarnation),
        ),
        (
            "process",
            format!("{}, harmonylite {}, running for {} s", status.pid, status.version, status.uptime_s),
        ),
        ("mode", status.mode.clone()),
        ("listens on", status.listen.clone().unwrap_or_else(|| "nothing: it runs no server".to_owned())),
        ("reached at", status.advertise.clone().unwrap_or_else(|| "not from other nodes".into())),
        ("write-ahead log", wal(status.wal)),
        ("nats-server", format!("{version} at {}, {connected}", server.url)),
        ("publishing", format!("{}{waiting}, {} rows pending", publisher.state, publisher.pending_rows)),
        ("applied", format!("{} rows changed, {} skipped", counters.rows_applied, counters.rows_skipped)),
        ("set aside", format!("{} conflicts, {} dead letters", counters.conflicts, counters.dead_letters)),
    ]
}

/// In KiB; what waits for long is held up by a reader.
fn wal(wal: WalStatus) -> String {
    let waiting = wal.bytes.saturating_sub(wal.checkpointed_bytes);
    format!("{} KiB, {} KiB to be written back", wal.bytes >> 10, waiting >> 10)
}

fn certificate(certificate: &CertificateStatus) -> (&'static str, String) {
    let CertificateStatus { file, state, not_after, days_left, .. } = certificate;
    let day = not_after.split('T').next().unwrap_or_default();
    let until = if day.is_empty() { String::new() } else { format!(", until {day} ({days_left} days left)") };
    ("certificate", format!("{state}{until}: {file}"))
}

/// The list of tables, with the reason for each that is left out.
pub(super) fn tables(tables: &[TableStatus]) -> String {
    if tables.is_empty() {
        return "\nno tables\n".to_owned();
    }
    let mut rows = vec![vec!["TABLE".to_owned(), "REPLICATED".into(), "WHY NOT, NOTES".into()]];
    for table in tables {
        let word = if table.replicated { "yes" } else { "no" };
        let notes = table.reason.iter().chain(&table.notes).cloned().collect::<Vec<_>>().join("; ");
        rows.push(vec![table.name.clone(), word.into(), notes]);
    }
    format!("\n{}", columns(&rows, 0))
}

fn peers(status: &NodeStatus) -> String {
    if status.peers.is_empty() {
        return "\nno peers\n".to_owned();
    }
    let mut rows = vec![vec!["PEER".to_owned(), "NODE".into(), "CONNECTED".into(), "WHY NOT".into()]];
    for peer in &status.peers {
        let node = peer.node_id.map_or("?".to_owned(), |id| id.to_string());
        let connected = if peer.connected { "yes" } else { "no" };
        rows.push(vec![peer.url.clone(), node, connected.into(), peer.error.clone().unwrap_or_default()]);
    }
    format!("\n{}", columns(&rows, 0))
}

fn sources(status: &NodeStatus) -> String {
    let sources = &status.replication.sources;
    if sources.is_empty() {
        return String::new();
    }
    let titles = ["SOURCE", "STATE", "CHECKPOINT", "BEHIND", "ROWS", "LAG", "WHY"];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    for source in sources {
        rows.push(vec![
            source.id.clone(),
            source.state.clone(),
            source.checkpoint.to_string(),
            source.behind.to_string(),
            source.rows_applied.to_string(),
            source.lag_ms.map_or("-".to_owned(), |ms| format!("{ms} ms")),
            source.reason.clone().unwrap_or_default(),
        ]);
    }
    format!("\n{}", columns(&rows, 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{ClockAhead, NatsStatus, PeerStatus, SourceStatus, Stopped, Trouble};

    fn table(name: &str, reason: Option<&str>, notes: &[&str]) -> TableStatus {
        TableStatus {
            name: name.into(),
            replicated: reason.is_none(),
            reason: reason.map(str::to_owned),
            notes: notes.iter().map(|note| (*note).to_owned()).collect(),
        }
    }

    fn sample() -> NodeStatus {
        let mut status = NodeStatus {
            node_id: 1,
            incarnation: "00000000000000ff".into(),
            version: "0.1.0".into(),
            mode: "mesh".into(),
            cluster: "shop".into(),
            pid: 42,
            uptime_s: 7,
            database: "/data/app.db".into(),
            listen: Some("127.0.0.1:4221".into()),
            nats: NatsStatus {
                url: "nats://127.0.0.1:4221".into(),
                connected: true,
                trouble: Some("no space left on device".into()),
                ..NatsStatus::default()
            },
            peers: vec![PeerStatus {
                url: "db2:4221".into(),
                error: Some("refused".into()),
                ..PeerStatus::default()
            }],
            ..NodeStatus::default()
        };
        let replication = &mut status.replication;
        replication.tables = vec![table("item", None, &["a note"]), table("log", Some("no key"), &[])];
        replication.publisher.state = "waiting".into();
        replication.publisher.waiting_for = Some("the server".into());
        replication.publisher.pending_rows = 3;
        replication.sources = vec![SourceStatus {
            id: "2/changes-1".into(),
            state: "stopped".into(),
            checkpoint: 10,
            last: 12,
            behind: 2,
            ..SourceStatus::default()
        }];
        replication.dead_letters = 3;
        replication.clocks_ahead = vec![ClockAhead { origin: "3/0000000000000001".into(), ahead_ms: 59_001 }];
        replication.troubles =
            vec![Trouble { what: "apply".into(), error: "database or disk is full".into() }];
        replication.stopped =
            vec![Stopped { source: "2/changes-1".into(), reason: "2 messages are gone".into() }];
        status
    }

    #[test]
    fn a_status_is_shown_in_aligned_columns_and_what_stands_still_comes_last() {
        let expected = "
  database:         /data/app.db
  node:             1 in cluster shop, incarnation 00000000000000ff
  process:          42, harmonylite 0.1.0, running for 7 s
  mode:             mesh
  listens on:       127.0.0.1:4221
  reached at:       not from other nodes
  write-ahead log:  0 KiB, 0 KiB to be written back
  nats-server:      of unknown version at nats://127.0.0.1:4221, connected
  publishing:       waiting for the server, 3 rows pending
  applied:          0 rows changed, 0 skipped
  set aside:        0 conflicts, 0 dead letters

TABLE  REPLICATED  WHY NOT, NOTES
item   yes         a note
log    no          no key

PEER      NODE  CONNECTED  WHY NOT
db2:4221  ?     no         refused

SOURCE       STATE    CHECKPOINT  BEHIND  ROWS  LAG  WHY
2/changes-1  stopped  10          2       0     -

DEAD LETTERS 3: `harmonylite dead-letters list` shows them

CLOCK AHEAD 3/0000000000000001: by 60 s, look at the time on its node

TROUBLE nats-server stores nothing: no space left on device

TROUBLE apply, tried until it works: database or disk is full

STOPPED 2/changes-1: 2 messages are gone
";
        assert_eq!(format!("\n{}", render(&sample())), expected);
    }
}
