//! `harmonylite version`: ours, that of the SQLite inside, and that of the nats-server that would run.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::arguments::ReportArguments;
use super::table::pairs;
use super::{print, print_error, to_json};
use crate::config::Environment;
use crate::exit::{ExitCode, ExitError};
use crate::nats::{SERVER_VERSION_MIN, find_server_binary};

#[derive(Serialize)]
struct Versions {
    harmonylite: &'static str,
    sqlite: &'static str,
    nats_server: ServerVersion,
}

#[derive(Serialize)]
struct ServerVersion {
    usable: bool,
    path: Option<PathBuf>,
    version: Option<String>,
    minimum: String,
    error: Option<String>,
}

/// Succeeds without a usable nats-server, too: to say so is what it is for.
pub(super) fn version(arguments: &ReportArguments, environment: &Environment) -> Result<ExitCode, ExitError> {
    let versions = Versions {
        harmonylite: env!("CARGO_PKG_VERSION"),
        sqlite: harmonylite_sqlite::Store::sqlite_version(),
        nats_server: server(configured(arguments, environment).as_deref()),
    };
    print(&if arguments.json { to_json(&versions)? } else { text(&versions) })?;
    Ok(ExitCode::Ok)
}

/// A configuration is not needed here; one that is named and cannot be used may name another server than what is found.
fn configured(arguments: &ReportArguments, environment: &Environment) -> Option<PathBuf> {
    let binary = match arguments.config.load(environment) {
        Ok(loaded) => loaded.settings.nats.server_binary,
        Err(invalid) => {
            if arguments.config.names_file(environment) {
                print_error(&format!(
                    "{invalid}\nwarning: nats.server_binary of that configuration is not looked at"
                ));
            }
            None
        }
    };
    binary.or_else(|| environment.variable("HARMONYLITE_NATS_SERVER_BINARY").map(PathBuf::from))
}

fn server(configured: Option<&Path>) -> ServerVersion {
    let minimum = SERVER_VERSION_MIN.to_string();
    match find_server_binary(configured) {
        Ok((path, version)) => ServerVersion {
            usable: true,
            path: Some(path),
            version: Some(version.to_string()),
            minimum,
            error: None,
        },
        Err(error) => ServerVersion {
            usable: false,
            path: None,
            version: None,
            minimum,
            error: Some(error.to_string()),
        },
    }
}

fn text(versions: &Versions) -> String {
    let server = &versions.nats_server;
    let found = match (&server.version, &server.path) {
        (Some(version), Some(path)) => format!("{version} at {}", path.display()),
        _ => format!("none: {}", server.error.clone().unwrap_or_default()),
    };
    let rows = [
        ("sqlite", versions.sqlite.to_owned()),
        ("nats-server", format!("{found} (at least {} is needed)", server.minimum)),
    ];
    format!("harmonylite {}\n{}", versions.harmonylite, pairs(&rows))
}
