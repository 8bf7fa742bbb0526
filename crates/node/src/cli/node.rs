//! `harmonylite node`: lists the members that a running node knows, and removes one.

use super::arguments::{ForgetArguments, NodeCommand, ReportArguments};
use super::cluster::{refused, show, state};
use super::node_socket::order;
use super::table::columns;
use super::{print, print_warnings, to_json};
use crate::cluster_status::ClusterStatus;
use crate::config::Environment;
use crate::exit::{ExitCode, ExitError};
use crate::orders::{Forgotten, Order};

pub(super) fn run(command: &NodeCommand, environment: &Environment) -> Result<ExitCode, ExitError> {
    match command {
        NodeCommand::List(arguments) => list(arguments, environment),
        NodeCommand::Forget(arguments) => forget(arguments, environment),
    }
}

fn list(arguments: &ReportArguments, environment: &Environment) -> Result<ExitCode, ExitError> {
    let (database, warnings) = arguments.config.database(environment)?;
    if !arguments.json {
        print_warnings(&warnings);
    }
    show(&database, arguments.json, render)
}

fn forget(arguments: &ForgetArguments, environment: &Environment) -> Result<ExitCode, ExitError> {
    let ForgetArguments { id, report: arguments } = arguments;
    let (database, warnings) = arguments.config.database(environment)?;
    if !arguments.json {
        print_warnings(&warnings);
    }
    let forgotten: Forgotten = order(&database, &Order::Forget { node_id: *id })?;
    if arguments.json {
        print(&to_json(&forgotten)?)?;
    } else {
        let id = forgotten.node_id;
        print(&format!("node {id} is no member any more; the others learn of it within seconds\n"))?;
    }
    Ok(ExitCode::Ok)
}

fn render(status: &ClusterStatus) -> String {
    let mut rows = vec![["NODE", "ADDRESS", "STATE", "HEARD"].map(str::to_owned).to_vec()];
    for member in &status.members {
        let unknown = || "-".to_owned();
        rows.push(vec![
            member.node_id.to_string(),
            member.address.clone().unwrap_or_else(unknown),
            state(member),
            member.heard.clone().unwrap_or_else(unknown),
        ]);
    }
    columns(&rows, 0) + &refused(&status.refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster_status::MemberStatus;

    #[test]
    fn a_list_has_one_line_per_member() {
        let members = vec![
            MemberStatus { node_id: 1, this_node: true, state: "alive".into(), ..MemberStatus::default() },
            MemberStatus {
                node_id: 2,
                state: "stopped".into(),
                since: Some("2026-01-01T00:00:00Z".into()),
                address: Some("db2:4221".into()),
                ..MemberStatus::default()
            },
        ];
        let expected = "
NODE  ADDRESS   STATE                               HEARD
1     -         alive, this node                    -
2     db2:4221  stopped since 2026-01-01T00:00:00Z  -
";
        let status = ClusterStatus { members, ..ClusterStatus::default() };
        assert_eq!(format!("\n{}", render(&status)), expected);
    }
}
