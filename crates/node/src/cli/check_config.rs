//! `harmonylite check-config`: everything that is wrong with a configuration, for people or for programs.

use serde::Serialize;

use super::arguments::ReportArguments;
use super::{print, print_error, to_json};
use crate::config::{Environment, Listen, Loaded, Problem, Settings};
use crate::exit::{ExitCode, ExitError};

#[derive(Serialize)]
struct Report<'a> {
    valid: bool,
    problems: &'a [Problem],
}

pub(super) fn check_config(
    arguments: &ReportArguments,
    environment: &Environment,
) -> Result<ExitCode, ExitError> {
    let (settings, problems) = match arguments.config.load(environment) {
        Ok(Loaded { settings, warnings, .. }) => (Some(settings), warnings),
        Err(invalid) => (None, invalid.problems),
    };
    if arguments.json {
        print(&to_json(&Report { valid: settings.is_some(), problems: &problems })?)?;
    } else {
        print(&text(settings.as_ref(), &problems))?;
    }
    if settings.is_some() {
        return Ok(ExitCode::Ok);
    }
    if !arguments.json {
        print_error("error: the configuration cannot be used");
    }
    Ok(ExitCode::Configuration)
}

fn text(settings: Option<&Settings>, problems: &[Problem]) -> String {
    let mut text: String = problems.iter().map(|problem| format!("{problem}\n")).collect();
    match settings {
        Some(settings) => text.push_str(&format!("the configuration is good\n{}", summary(settings))),
        None => {
            let errors = problems.iter().filter(|problem| problem.is_error()).count();
            text.push_str(&format!("{errors} error{}\n", if errors == 1 { "" } else { "s" }));
        }
    }
    text
}

/// What a configuration comes down to. No secrets.
pub(super) fn summary(settings: &Settings) -> String {
    let derived = if settings.node_id_derived { " (from the machine id)" } else { "" };
    let cluster = &settings.cluster;
    let peers: Vec<String> = cluster.peers.iter().map(ToString::to_string).collect();
    let reached = cluster.advertise.as_ref().map_or("not from other nodes".to_owned(), ToString::to_string);
    let rows = [
        ("database", settings.db_path.display().to_string()),
        ("node id", format!("{}{derived}", settings.node_id)),
        ("cluster", cluster.name.clone()),
        ("mode", settings.nats.mode.to_string()),
    ];
    let server = if settings.keeps_streams() {
        vec![
            ("listens on", listens_on(&cluster.listen)),
            ("reached at", reached),
            ("peers", if peers.is_empty() { "none".to_owned() } else { peers.join(", ") }),
        ]
    } else {
        let urls = settings.nats.urls.iter().map(ToString::to_string);
        let leaf_servers = settings.cluster.leaf_servers.iter().map(crate::config::ServerUrl::as_leaf);
        vec![("nats", urls.chain(leaf_servers).collect::<Vec<_>>().join(", "))]
    };
    super::table::pairs(&[rows.as_slice(), server.as_slice()].concat())
}

fn listens_on(listen: &Listen) -> String {
    match listen.port {
        Some(_) => listen.to_string(),
        None => format!("{}, on a port that the system chooses", listen.host),
    }
}
