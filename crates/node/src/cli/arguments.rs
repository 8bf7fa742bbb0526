//! The command line, as clap reads it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::bench::BenchArguments;
use super::certs::CertsCommand;
use crate::config::address::{HostPort, Listen};
use crate::config::environment::CONFIG_VARIABLE;
use crate::config::{Environment, Invalid, Loaded, Override, Problem, load};

/// Replicates an application's SQLite database between nodes; every node may write.
#[derive(Parser, Debug)]
#[command(
    name = "harmonylite",
    version,
    arg_required_else_help = true,
    after_help = "\
Examples:
  harmonylite demo                                three nodes in a temporary folder, to try it out
  harmonylite check-config --config node.toml     what is wrong with a configuration
  harmonylite run --config node.toml --dry-run    what would be replicated, and what not
  harmonylite run --config node.toml              beside the application, for as long as it lives
  harmonylite status --config node.toml           how the running node is
  harmonylite conflicts list --config node.toml   which writes lost to which
  harmonylite bench --quick                       what replication costs on this machine

The options of the original HarmonyLite (-config FILE, -node-id N, -cleanup, ...) are understood, too.
Exit codes are listed in docs/exit-codes.md, configuration keys in docs/configuration.md."
)]
pub(crate) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Replicate a database, until SIGTERM or SIGINT.
    #[command(after_help = "\
Examples:
  harmonylite run --config node.toml
  harmonylite run --config node.toml --dry-run
  harmonylite run --db app.db --node-id 1 --cluster-addr 127.0.0.1:4221 \\
      --cluster-peers nats://127.0.0.1:4222,nats://127.0.0.1:4223

It ends with 0 when it was asked to end and everything is saved; any other end has a code of its own.")]
    Run(RunArguments),
    /// Say how the node of a database is: tables, peers, what is pending, what stands still and why.
    #[command(after_help = "\
Examples:
  harmonylite status --config node.toml
  harmonylite status --db app.db --json | jq .publisher.pending_rows
  harmonylite status --cluster --config node.toml     all members, as this node knows them

Without a running node it says what the database tells, and ends with 8.")]
    Status(StatusArguments),
    /// Show the members of the cluster, or remove one that is gone for good.
    #[command(after_help = "\
Examples:
  harmonylite node list --config node.toml
  harmonylite node forget 3 --config node.toml

Members are found by themselves: one that is named in cluster.peers tells all others.")]
    Node {
        /// What to do.
        #[command(subcommand)]
        command: NodeCommand,
    },
    /// Show writes that lost to later ones, with the rows that they wrote.
    #[command(after_help = "\
Examples:
  harmonylite conflicts list --config node.toml
  harmonylite conflicts list --db app.db --table note --json
  harmonylite conflicts show 17 --db app.db

Each node logs what it had and lost, so look at all of them. It reads the database only, beside the node and the
application, or without them. Values are written as SQL does; what they mean stands in docs/conflicts.md.")]
    Conflicts {
        /// What to do.
        #[command(subcommand)]
        command: ConflictsCommand,
    },
    /// Show rows of other nodes that could not be written here; try them again, or drop them.
    #[command(after_help = "\
Examples:
  harmonylite dead-letters list --config node.toml
  harmonylite dead-letters show 3 --config node.toml
  harmonylite dead-letters retry --all --config node.toml
  harmonylite dead-letters drop 3 --config node.toml

A dead letter is missing on this node only. What became of one that was tried again stands in docs/conflicts.md.")]
    DeadLetters {
        /// What to do.
        #[command(subcommand)]
        command: DeadLettersCommand,
    },
    /// Show the tables as replication sees them: fingerprints, and the hash that the original HarmonyLite compares.
    Schema {
        /// What to do.
        #[command(subcommand)]
        command: SchemaCommand,
    },
    /// Have the running node read its configuration again, as SIGHUP does, and say what came of it.
    #[command(after_help = "\
Examples:
  harmonylite reload --config node.toml
  harmonylite reload --db app.db --json | jq .needs_restart

The node reads the file and the options that it was started with. Which keys change without a restart stands in
docs/configuration.md. It ends with 0 when everything is in effect, with 11 when something needs a restart, and with 3
when the configuration is wrong: then nothing has changed.")]
    Reload(ReportArguments),
    /// Log more or less at the running node, until its configuration is read again; without a level, say what is logged.
    #[command(after_help = "\
Examples:
  harmonylite log-level debug --config node.toml
  harmonylite log-level trace harmonylite::nats --config node.toml
  harmonylite log-level --config node.toml")]
    LogLevel(LogLevelArguments),
    /// Make a private authority and the certificates of its nodes, for TLS between nodes; say what certificates hold.
    #[command(after_help = "\
Examples:
  harmonylite certs init --cluster shop
  harmonylite certs node --name db1 --host db1.example.net
  harmonylite certs show

Certificates of any other authority do as well. What nodes do with them stands in docs/configuration.md.")]
    Certs {
        /// What to do.
        #[command(subcommand)]
        command: CertsCommand,
    },
    /// Report everything that is wrong with a configuration; change nothing.
    #[command(after_help = "\
Examples:
  harmonylite check-config --config node.toml
  HARMONYLITE_DB_PATH=app.db harmonylite check-config --json")]
    CheckConfig(ReportArguments),
    /// Remove everything of HarmonyLite from a database: triggers and tables. The application's rows stay.
    #[command(after_help = "\
Example:
  harmonylite cleanup --db app.db

Changes that were not sent yet are not sent any more. The node must not be running.")]
    Cleanup(ConfigArguments),
    /// Remove the triggers only, for a migration that they stand in the way of; the next run makes them again.
    #[command(after_help = "\
Example:
  harmonylite detach --db app.db && ./migrate app.db && harmonylite run --config node.toml

What is written in between is not captured. The node must not be running.")]
    Detach(ConfigArguments),
    /// Run three nodes with a sample database in a temporary folder, and say what to try.
    #[command(after_help = "\
Examples:
  harmonylite demo
  harmonylite demo --once      write on all three, compare, end: 0 when they are equal")]
    Demo(DemoArguments),
    /// Measure what replication costs on this machine, each figure beside a reference of the same run.
    #[command(after_help = "\
Examples:
  harmonylite bench                                everything, five rounds
  harmonylite bench --quick                        a first impression
  harmonylite bench --only throughput,latency --rounds 9
  harmonylite bench --dir /var/lib/app --json      on the disk of the application, for programs

Three nodes with servers of their own are started in a temporary folder, on loopback; it is removed in the end, by Ctrl-C, too.
All of them share this machine's processors, with the application. Where its writes are measured, its node has half of them
and the disk, and the others have the rest and a folder in memory, removed as well: as if they had a machine of their own.
A ratio says how many times as slow as its reference a figure is, or as large. Progress goes to stderr.

When a node ends, or the nodes do not hold the same rows in the end, nothing is printed and it ends with 12. What the figures
mean and how they are measured stands in docs/performance.md.")]
    Bench(BenchArguments),
    /// Print the versions of HarmonyLite, of the SQLite inside, and of the nats-server that would run.
    Version(ReportArguments),
}

#[derive(Subcommand, Debug)]
pub(crate) enum SchemaCommand {
    /// Show tables, columns, fingerprints and the schema's hash of one database, whether a node runs or not.
    #[command(after_help = "\
Examples:
  harmonylite schema status --config node.toml
  harmonylite schema status --db app.db --json | jq -r .hash

Run it on every node: equal fingerprints mean that rows of the one fit the other. The hash leaves out what the fingerprints
have more (the order of the key, collations, UNIQUE); it is the one of the original HarmonyLite.")]
    Status(ReportArguments),
}

#[derive(Args, Debug)]
pub(crate) struct LogLevelArguments {
    /// From which level on: off, error, warn, info, debug or trace.
    #[arg(value_name = "LEVEL")]
    pub(crate) level: Option<String>,
    /// Whom: a module such as harmonylite::nats, or another library; all of ours when it is left out.
    #[arg(value_name = "TARGET")]
    pub(crate) target: Option<String>,
    #[command(flatten)]
    pub(crate) report: ReportArguments,
}

#[derive(Subcommand, Debug)]
pub(crate) enum ConflictsCommand {
    /// List the newest conflicts, newest first.
    #[command(after_help = "\
Examples:
  harmonylite conflicts list --config node.toml --limit 5
  harmonylite conflicts list --db app.db --table note --json | jq .conflicts[].row")]
    List(ConflictsListArguments),
    /// Show one conflict: both versions, and the whole row that lost.
    #[command(after_help = "\
Example:
  harmonylite conflicts show 17 --config node.toml")]
    Show(ShowArguments),
}

#[derive(Subcommand, Debug)]
pub(crate) enum DeadLettersCommand {
    /// List all dead letters, oldest first.
    #[command(after_help = "\
Example:
  harmonylite dead-letters list --config node.toml --json | jq .dead_letters[].error")]
    List(ReportArguments),
    /// Show one dead letter: why it could not be written, and the whole row.
    #[command(after_help = "\
Example:
  harmonylite dead-letters show 3 --config node.toml")]
    Show(ShowArguments),
    /// Try to write dead letters again, after what was in their way is gone.
    #[command(after_help = "\
Examples:
  harmonylite dead-letters retry 3 4 --config node.toml
  harmonylite dead-letters retry --all --config node.toml

A row that has a later version by now is left as it is. Ends with 0 when none of the letters is left.")]
    Retry(LettersArguments),
    /// Give dead letters up: their rows stay on this node as they are, until somebody writes them again.
    #[command(after_help = "\
Examples:
  harmonylite dead-letters drop 3 --config node.toml
  harmonylite dead-letters drop --all --config node.toml

Until then this node differs from the others in these rows.")]
    Drop(LettersArguments),
}

#[derive(Subcommand, Debug)]
pub(crate) enum NodeCommand {
    /// List the members that the running node of this database knows: where they are, and whether they are alive.
    #[command(after_help = "\
Examples:
  harmonylite node list --config node.toml
  harmonylite node list --config node.toml --json | jq '.members[] | select(.state != \"alive\").node_id'

`harmonylite status --cluster` says how far each of them is, too.")]
    List(ReportArguments),
    /// Remove a member for good from the lists of all members.
    #[command(after_help = "\
Example:
  harmonylite node forget 3 --config node.toml

Stop the member first: one that is alive is not removed, and one that comes back is a member again. Take its address out
of cluster.peers, too, where it is named. The others learn of it within seconds, those that are away when they are back.

What it published and nobody has read is given up with it. Its rows stay, as versions of a node that writes no more: from
then on nobody waits for it. Should it come back, it goes on from where it was; bring it back only while the streams of the
others still hold what it has missed.")]
    Forget(ForgetArguments),
}

#[derive(Args, Debug)]
pub(crate) struct ForgetArguments {
    /// The node id.
    #[arg(value_name = "ID")]
    pub(crate) id: u64,
    #[command(flatten)]
    pub(crate) report: ReportArguments,
}

#[derive(Args, Debug)]
pub(crate) struct StatusArguments {
    #[command(flatten)]
    pub(crate) report: ReportArguments,
    /// All members of the cluster: alive or since when not, how far each is behind the others.
    #[arg(long)]
    pub(crate) cluster: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ConflictsListArguments {
    #[command(flatten)]
    pub(crate) report: ReportArguments,
    /// Only those of this table.
    #[arg(long, value_name = "TABLE")]
    pub(crate) table: Option<String>,
    /// At most so many.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) limit: u64,
}

#[derive(Args, Debug)]
pub(crate) struct ShowArguments {
    /// Its number, from the list.
    #[arg(value_name = "ID")]
    pub(crate) id: i64,
    #[command(flatten)]
    pub(crate) report: ReportArguments,
}

#[derive(Args, Debug)]
pub(crate) struct LettersArguments {
    /// Their numbers, from the list.
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    pub(crate) ids: Vec<i64>,
    /// All of them.
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) report: ReportArguments,
}

#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ConfigArguments {
    /// The configuration file; also HARMONYLITE_CONFIG.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The application's database; wins over db_path.
    #[arg(long, value_name = "PATH")]
    pub(crate) db: Option<String>,
    /// Who this node is; wins over node_id.
    #[arg(long, value_name = "N")]
    pub(crate) node_id: Option<String>,
    /// The address at which peers reach this node; wins over cluster.listen and cluster.advertise.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) cluster_addr: Option<String>,
    /// The other nodes, separated by commas; wins over cluster.peers.
    #[arg(long, value_name = "URL,URL")]
    pub(crate) cluster_peers: Option<String>,
    /// A NATS cluster that this node's server joins as a leaf node, separated by commas; wins over cluster.leaf_servers.
    #[arg(long, value_name = "URL,URL")]
    pub(crate) leaf_servers: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct RunArguments {
    #[command(flatten)]
    pub(crate) config: ConfigArguments,
    /// Print what would be replicated and what not; change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ReportArguments {
    #[command(flatten)]
    pub(crate) config: ConfigArguments,
    /// Print JSON, for programs.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `harmonylite demo` is asked for.
#[derive(Args, Clone, Debug, Default)]
pub struct DemoArguments {
    /// Write on all three nodes, compare, and end.
    #[arg(long)]
    pub once: bool,
    /// Where the nodes live; a temporary folder that goes away afterwards when it is not given.
    #[arg(long, value_name = "FOLDER")]
    pub folder: Option<PathBuf>,
}

impl ConfigArguments {
    /// Reads the configuration that these options and the environment describe.
    pub(crate) fn load(&self, environment: &Environment) -> Result<Loaded, Invalid> {
        load(self.file(environment).as_deref(), environment, &self.overrides())
    }

    fn file(&self, environment: &Environment) -> Option<PathBuf> {
        self.config.clone().or_else(|| environment.variable(CONFIG_VARIABLE).map(PathBuf::from))
    }

    /// Is there a file to be read?
    pub(crate) fn names_file(&self, environment: &Environment) -> bool {
        self.file(environment).is_some()
    }

    /// The database and warnings, for commands that need nothing else: `--db` is enough, no other key is looked at. What is
    /// wrong with other keys is no reason not to look at a database: a file with a secret may be there for the service only.
    pub(crate) fn database(&self, environment: &Environment) -> Result<(PathBuf, Vec<Problem>), Invalid> {
        if let Some(db) = self.db.as_deref().filter(|db| !db.is_empty()) {
            return Ok((std::path::absolute(db).unwrap_or_else(|_| PathBuf::from(db)), Vec::new()));
        }
        match self.load(environment) {
            Ok(loaded) => Ok((loaded.settings.db_path, loaded.warnings)),
            Err(Invalid { problems, db_path: Some(db_path) }) => {
                Ok((db_path, problems.into_iter().map(Problem::as_warning).collect()))
            }
            Err(invalid) => Err(invalid),
        }
    }

    fn overrides(&self) -> Vec<Override> {
        let mut overrides = Vec::new();
        let mut add = |key, option, value: &Option<String>| {
            if let Some(value) = value.clone().filter(|value| !value.is_empty()) {
                overrides.push(Override { key, option, value });
            }
        };
        add("db_path", "--db", &self.db);
        add("node_id", "--node-id", &self.node_id);
        add("cluster.peers", "--cluster-peers", &self.cluster_peers);
        add("cluster.leaf_servers", "--leaf-servers", &self.leaf_servers);
        let (listen, advertise) = self.cluster_addr.as_deref().map_or((None, None), split_cluster_addr);
        add("cluster.listen", "--cluster-addr", &listen);
        add("cluster.advertise", "--cluster-addr", &advertise);
        overrides
    }
}

/// Where to listen and what to advertise for a `--cluster-addr`: an address of this machine is both; a name is
/// advertised, and listened for on all interfaces; a wildcard or a free port is only listened on.
fn split_cluster_addr(text: &str) -> (Option<String>, Option<String>) {
    match (Listen::parse(text), HostPort::parse(text)) {
        (Ok(listen), _) if listen.is_wildcard() || listen.port.is_none() => (Some(text.to_owned()), None),
        (Ok(listen), _) => (Some(text.to_owned()), Some(listen.to_string())),
        (Err(_), Ok(name)) => (Some(format!("0.0.0.0:{}", name.port)), Some(name.to_string())),
        (Err(_), Err(_)) => (Some(text.to_owned()), None),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn clap_finds_nothing_wrong_with_the_definitions() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_cluster_address_says_where_to_listen_and_what_to_advertise() {
        for (text, listen, advertise) in [
            ("10.0.0.1:4221", "10.0.0.1:4221", Some("10.0.0.1:4221")),
            (":4221", ":4221", Some("127.0.0.1:4221")),
            ("db1:4221", "0.0.0.0:4221", Some("db1:4221")),
            ("0.0.0.0:4221", "0.0.0.0:4221", None),
            ("127.0.0.1:-1", "127.0.0.1:-1", None),
            ("nonsense:", "nonsense:", None),
        ] {
            let expected = (Some(listen.to_owned()), advertise.map(str::to_owned));
            assert_eq!(split_cluster_addr(text), expected, "{text}");
        }
    }
}
