//! `harmonylite status --cluster`: asks a running node for all members, and shows how far each is.

use std::path::Path;

use super::node_socket::order;
use super::table::{columns, pairs};
use super::{print, to_json};
use crate::cluster_status::{ClusterStatus, LagStatus, MemberStatus, RefusedNode};
use crate::exit::{ExitCode, ExitError};
use crate::orders::Order;

/// Prints the members with everything that is known of them.
pub(super) fn cluster(database: &Path, json: bool) -> Result<ExitCode, ExitError> {
    show(database, json, render)
}

/// Asks the node of `database` for its cluster, and prints it with `render`.
pub(super) fn show(
    database: &Path,
    json: bool,
    render: impl Fn(&ClusterStatus) -> String,
) -> Result<ExitCode, ExitError> {
    let status: ClusterStatus = order(database, &Order::Cluster)?;
    print(&if json { to_json(&status)? } else { render(&status) })?;
    Ok(ExitCode::Ok)
}

/// Nodes that are no members, with the reasons.
pub(super) fn refused(nodes: &[RefusedNode]) -> String {
    let line = |node: &RefusedNode| {
        let at = node.address.as_ref().map_or(String::new(), |address| format!(" at {address}"));
        format!("\nREFUSED node {}{at}: {}\n", node.node_id, node.reason)
    };
    nodes.iter().map(line).collect()
}

/// The state with since when, for people.
pub(super) fn state(member: &MemberStatus) -> String {
    let since = member.since.as_ref().map_or(String::new(), |since| format!(" since {since}"));
    let this = if member.this_node { ", this node" } else { "" };
    format!("{}{since}{this}", member.state)
}

fn render(status: &ClusterStatus) -> String {
    let head = [
        ("cluster", status.cluster.clone()),
        ("as seen by", format!("node {}, at {}", status.node_id, status.at)),
    ];
    let titles = ["NODE", "ADDRESS", "STATE", "VERSION", "PENDING", "DEAD", "BEHIND", "WHY"];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    for member in &status.members {
        let number = |number: Option<u64>| number.map_or("?".to_owned(), |number| number.to_string());
        rows.push(vec![
            member.node_id.to_string(),
            member.address.clone().unwrap_or_else(|| "-".to_owned()),
            state(member),
            member.version.clone().unwrap_or_else(|| "?".to_owned()),
            number(member.pending_rows),
            number(member.dead_letters),
            behind(&member.lag),
            why(member),
        ]);
    }
    format!("{}\n{}{}", pairs(&head), columns(&rows, 0), refused(&status.refused))
}

fn why(member: &MemberStatus) -> String {
    let stopped = member.stopped_sources.filter(|sources| *sources > 0);
    let stopped = stopped.map(|sources| format!("sources that stand still there: {sources}"));
    member.reason.iter().cloned().chain(stopped).collect::<Vec<_>>().join("; ")
}

/// Whom it is behind, and how far; what is complete is not listed.
fn behind(lags: &[LagStatus]) -> String {
    let incomplete: Vec<String> =
        lags.iter().filter(|lag| (lag.rows, lag.ms) != (Some(0), Some(0))).map(lag).collect();
    match (lags.is_empty(), incomplete.is_empty()) {
        (true, _) => "?".to_owned(),
        (false, true) => "nothing".to_owned(),
        (false, false) => incomplete.join("; "),
    }
}

fn lag(lag: &LagStatus) -> String {
    let rows = lag.rows.map_or("unknown rows".to_owned(), |rows| format!("{rows} rows"));
    let time = lag.ms.map_or("unknown time".to_owned(), |ms| format!("{}.{} s", ms / 1000, ms % 1000 / 100));
    format!("node {}: {rows}, {time}", lag.node_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(node_id: u64, state: &str) -> MemberStatus {
        let address = Some(format!("10.0.0.{node_id}:4221"));
        MemberStatus { node_id, address, state: state.to_owned(), ..MemberStatus::default() }
    }

    #[test]
    fn members_are_shown_with_what_is_known_and_with_question_marks_for_what_is_not() {
        let known = MemberStatus {
            version: Some("0.1.0".into()),
            pending_rows: Some(0),
            dead_letters: Some(2),
            stopped_sources: Some(1),
            ..member(1, "alive")
        };
        let status = ClusterStatus {
            node_id: 1,
            cluster: "shop".into(),
            at: "2026-01-01T00:00:00Z".into(),
            members: vec![
                MemberStatus {
                    this_node: true,
                    lag: vec![LagStatus { node_id: 2, rows: Some(0), ms: Some(0) }],
                    ..known
                },
                MemberStatus {
                    since: Some("2026-01-01T00:00:00Z".into()),
                    reason: Some("no route".into()),
                    lag: vec![
                        LagStatus { node_id: 1, rows: Some(12), ms: Some(1250) },
                        LagStatus { node_id: 3, rows: None, ms: None },
                    ],
                    ..member(2, "unreachable")
                },
                member(3, "unreachable"),
            ],
            refused: vec![RefusedNode {
                node_id: 9,
                reason: "another cluster".into(),
                ..RefusedNode::default()
            }],
            ..ClusterStatus::default()
        };
        let expected = "
  cluster:     shop
  as seen by:  node 1, at 2026-01-01T00:00:00Z

NODE  ADDRESS        STATE                                   VERSION  PENDING  DEAD  BEHIND                                                      WHY
1     10.0.0.1:4221  alive, this node                        0.1.0    0        2     nothing                                                     sources that stand still there: 1
2     10.0.0.2:4221  unreachable since 2026-01-01T00:00:00Z  ?        ?        ?     node 1: 12 rows, 1.2 s; node 3: unknown rows, unknown time  no route
3     10.0.0.3:4221  unreachable                             ?        ?        ?     ?

REFUSED node 9: another cluster
";
        assert_eq!(format!("\n{}", render(&status)), expected);
    }
}
