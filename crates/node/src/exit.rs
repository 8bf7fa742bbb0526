//! How the process ends: one table of exit codes, and the error that carries one.
//!
//! Scripts and supervisors rely on the numbers: a code is never given another meaning, and never used for two.

use std::fmt;

use harmonylite_sqlite::{StoreError, StoreErrorKind};

use crate::config::Invalid;
use crate::nats::NatsError;
use crate::tls::TlsError;

/// Why the process ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum ExitCode {
    /// All went well.
    Ok = 0,
    /// None of the others.
    Unexpected = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The configuration is wrong.
    Configuration = 3,
    /// The database cannot be used.
    Database = 4,
    /// Another sidecar has the database.
    Locked = 5,
    /// The database or the stream belongs to somebody else.
    Identity = 6,
    /// nats-server cannot be used.
    Server = 7,
    /// Nothing runs there (`status`, `reload` and others).
    NotRunning = 8,
    /// The address is taken.
    Address = 9,
    /// The database was busy or the disk full.
    Storage = 10,
    /// New settings wait for a restart (`reload`).
    NeedsRestart = 11,
    /// The nodes did not come to hold the same rows (`bench`).
    Unequal = 12,
    /// Another live node has this node id.
    Duplicate = 13,
}

/// One row of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Meaning {
    /// The code.
    pub code: ExitCode,
    /// What happened.
    pub meaning: &'static str,
    /// What to do.
    pub remedy: &'static str,
    /// The same command may work later without anybody doing anything: a supervisor should start it again.
    pub retryable: bool,
}

/// The table, by number.
pub const TABLE: &[Meaning] = &[
    Meaning {
        code: ExitCode::Ok,
        meaning: "All went well. `run` ends with it after SIGTERM or SIGINT, when everything is saved, and after \
                  `sleep_timeout`.",
        remedy: "Nothing.",
        retryable: false,
    },
    Meaning {
        code: ExitCode::Unexpected,
        meaning: "An error that none of the other codes describes.",
        remedy: "Read the message; if it names a bug, report it.",
        retryable: true,
    },
    Meaning {
        code: ExitCode::Usage,
        meaning: "The command line is wrong: an unknown command or option, a value that is missing, the number of a \
                  conflict, dead letter or member that is not there, or a file that is missing, or that would be overwritten.",
        remedy: "`harmonylite help`; the numbers are those of `conflicts list`, `dead-letters list` and `node list`; \
                 `--force` overwrites.",
        retryable: false,
    },
    Meaning {
        code: ExitCode::Configuration,
        meaning: "The configuration is wrong, or what it says is refused by a NATS server or by its streams: \
                  credentials, certificates, settings of a stream, the number of shards. Every error is listed with its \
                  place and a hint.",
        remedy: "Read the message; `harmonylite check-config --config FILE` finds what can be found without a \
                 connection, and `docs/configuration.md` explains it.",
        retryable: false,
    },
    Meaning {
        code: ExitCode::Database,
        meaning: "The database cannot be used: it is missing, unreadable, read-only, not an SQLite database, or its \
                  HarmonyLite tables are of a newer version.",
        remedy: "Correct the path, the permissions or the version. Nothing was changed.",
        retryable: false,
    },
    Meaning {
        code: ExitCode::Locked,
        meaning: "Another HarmonyLite process works on the same database. The message names its process id.",
        remedy: "Stop it first; a process that is just ending gives the database free by itself.",
        retryable: true,
    },
    Meaning {
        code: ExitCode::Identity,
        meaning: "The database or the stream belongs to another node id or another cluster.",
        remedy: "Set `node_id` and `cluster.name` as they were, or use the right database. Nothing was changed.",
        retryable: false,
    },
    Meaning {
        code: ExitCode::Server,
        meaning: "nats-server is missing, too old, or refuses its configuration.",
        remedy: "Install nats-server 2.12.8 or later, or name it in `nats.server_binary`; `harmonylite version` says \
                 what was found.",
        retryable: false,
    },
    Meaning {
        code: ExitCode::NotRunning,
        meaning: "`status`, `status --cluster`, `node`, `reload`, `log-level`: no HarmonyLite process answers for this \
                  database. `status` alone prints what the database says.",
        remedy: "Start it with `harmonylite run`.",
        retryable: true,
    },
    Meaning {
        code: ExitCode::Address,
        meaning: "The port is taken, the address is not of this machine, or another server uses the folder of the \
                  streams.",
        remedy: "Set another `cluster.listen`, or stop what is there.",
        retryable: true,
    },
    Meaning {
        code: ExitCode::Storage,
        meaning: "The database stayed locked for too long, the disk is full, or a file beside the database cannot be \
                  written.",
        remedy: "Free space, correct the permissions, or end the transaction that holds the database.",
        retryable: true,
    },
    Meaning {
        code: ExitCode::NeedsRestart,
        meaning: "`reload`: the configuration was read, but some of what has changed needs a restart; it is named.",
        remedy: "Start the node again when it suits.",
        retryable: false,
    },
    Meaning {
        code: ExitCode::Unequal,
        meaning: "`bench`: a node ended, or the nodes did not come to hold the same rows. No figures were printed.",
        remedy: "Read the message. Unless somebody killed a node it is a bug, please report it.",
        retryable: false,
    },
    Meaning {
        code: ExitCode::Duplicate,
        meaning: "Another live node has this node id; the message says where it is reached. The one that started first \
                  goes on.",
        remedy: "Give every node a `node_id` of its own. A node that moves to another machine starts when the one there \
                 was stopped, or has been silent for 10 s.",
        retryable: true,
    },
];

/// An error that ends the process: what is wrong, what to do about it, and with which code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExitError {
    /// The code.
    pub code: ExitCode,
    /// What is wrong, and where. May have several lines.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl ExitCode {
    /// The number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The code of that number.
    #[must_use]
    pub fn of_number(number: u8) -> Option<Self> {
        TABLE.iter().map(|row| row.code).find(|code| code.number() == number)
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.number())
    }
}

impl ExitError {
    /// An error without a hint.
    #[must_use]
    pub fn new(code: ExitCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    /// The same with a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for ExitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ExitError {}

impl From<StoreError> for ExitError {
    fn from(error: StoreError) -> Self {
        Self { code: code_of(error.kind), message: error.message, hint: error.hint }
    }
}

impl From<Invalid> for ExitError {
    fn from(invalid: Invalid) -> Self {
        Self::new(ExitCode::Configuration, format!("the configuration cannot be used\n{invalid}"))
    }
}

impl From<NatsError> for ExitError {
    /// These errors name what to do in their message.
    fn from(error: NatsError) -> Self {
        let code = match error {
            NatsError::BinaryMissing { .. }
            | NatsError::BinaryTooOld { .. }
            | NatsError::BinaryUnusable { .. }
            | NatsError::ServerTooOld { .. }
            | NatsError::ServerEnded { .. } => ExitCode::Server,
            NatsError::ListenerOpen { .. }
            | NatsError::Invalid { .. }
            | NatsError::WrongCredentials { .. }
            | NatsError::Untrusted { .. }
            | NatsError::StreamMismatch { .. }
            | NatsError::StreamRefused { .. } => ExitCode::Configuration,
            NatsError::PortTaken { .. } | NatsError::StoreLocked { .. } | NatsError::StaleServer { .. } => {
                ExitCode::Address
            }
            NatsError::ForeignStream { .. } => ExitCode::Identity,
            NatsError::File { .. } => ExitCode::Storage,
            _ => ExitCode::Unexpected,
        };
        Self::new(code, error.to_string())
    }
}

impl From<TlsError> for ExitError {
    /// These errors name what to do in their message.
    fn from(error: TlsError) -> Self {
        let code = match &error {
            TlsError::File { reason, .. } if reason.kind() != std::io::ErrorKind::NotFound => {
                ExitCode::Storage
            }
            TlsError::NotMade { .. } => ExitCode::Unexpected,
            _ => ExitCode::Usage,
        };
        Self::new(code, error.to_string())
    }
}

const fn code_of(kind: StoreErrorKind) -> ExitCode {
    match kind {
        StoreErrorKind::WrongNodeId => ExitCode::Identity,
        StoreErrorKind::OtherShards => ExitCode::Configuration,
        StoreErrorKind::Locked => ExitCode::Locked,
        StoreErrorKind::Busy | StoreErrorKind::Full | StoreErrorKind::SchemaChanged => ExitCode::Storage,
        StoreErrorKind::Missing
        | StoreErrorKind::Unreadable
        | StoreErrorKind::ReadOnly
        | StoreErrorKind::NotADatabase
        | StoreErrorKind::Exclusive
        | StoreErrorKind::NewerFormat
        | StoreErrorKind::OriginalTables
        | StoreErrorKind::NeverStarted
        | StoreErrorKind::Damaged
        | StoreErrorKind::InputOutput
        | StoreErrorKind::Sqlite => ExitCode::Database,
    }
}

/// The table as a page of the documentation: `docs/exit-codes.md`.
#[must_use]
pub fn markdown() -> String {
    let mut page = PAGE_HEAD.to_owned();
    for row in TABLE {
        let again = if row.retryable { "yes" } else { "no" };
        page.push_str(&format!("| {} | {} | {} | {again} |\n", row.code.number(), row.meaning, row.remedy));
    }
    page.push_str(&format!(
        "\n```ini\n[Service]\nRestart=on-failure\nRestartPreventExitStatus={}\n```\n",
        restart_prevented()
    ));
    page
}

/// The codes of `run` after which a supervisor should not start it again.
fn restart_prevented() -> String {
    let of_run =
        |row: &&Meaning| !matches!(row.code, ExitCode::Ok | ExitCode::NeedsRestart | ExitCode::Unequal);
    let final_codes = TABLE.iter().filter(|row| !row.retryable).filter(of_run);
    final_codes.map(|row| row.code.number().to_string()).collect::<Vec<_>>().join(" ")
}

const PAGE_HEAD: &str = "\
# Exit codes

A code never changes its meaning. The last column says whether the same command may succeed later without anybody doing
anything: a supervisor should start it again then. For systemd that is the line below the table. A process that is killed
ends by the signal, as usual; 101 is a bug in the program, please report it.

| code | meaning | what to do | try again |
|---|---|---|---|
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_lists_each_code_once_in_order() {
        let numbers: Vec<u8> = TABLE.iter().map(|row| row.code.number()).collect();
        assert_eq!(numbers, (0..=13).collect::<Vec<u8>>());
    }

    #[test]
    fn the_documentation_is_what_the_table_says() {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/exit-codes.md");
        if std::env::var_os("HARMONYLITE_BLESS").is_some() {
            std::fs::write(&file, markdown()).unwrap();
        }
        let found = std::fs::read_to_string(&file).unwrap();
        assert!(found == markdown(), "docs/exit-codes.md is stale: run this test with HARMONYLITE_BLESS=1");
    }

    #[test]
    fn the_unit_file_prevents_restarts_as_the_table_says_and_leaves_time_for_an_orderly_end() {
        let unit = include_str!("../../../packaging/systemd/harmonylite@.service");
        let value = |name: &str| unit.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        assert_eq!(value("RestartPreventExitStatus"), Some(restart_prevented().as_str()));
        assert_eq!((value("Restart"), value("Type")), (Some("on-failure"), Some("notify")));
        // Only the node may get SIGTERM, and 8 s and the server's 10 s must fit.
        assert_eq!((value("KillMode"), value("TimeoutStopSec")), (Some("mixed"), Some("30s")));
    }
}
