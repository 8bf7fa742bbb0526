//! Liveness: once nothing is cut and nobody is killed, everything that was written gets everywhere, and then it is quiet.

use harmonylite_core::status::Status;

use crate::Failure;
use crate::node::{Node, Request};
use crate::world::World;

/// Every node runs, follows everybody to the end, has published everything; nothing is under way.
pub(crate) fn at_rest(world: &World<'_>) -> Result<(), Failure> {
    for node in &world.nodes {
        let Some(process) = &node.process else {
            return Err(Failure::new(format!("liveness: node {} does not run", node.id)));
        };
        let status = process.replicator.status();
        publishes(node, &status)?;
        consumes(world, node, &status)?;
        // Housekeeping comes with its timer, whatever there is to do.
        let work: Vec<_> =
            process.requests.iter().filter(|request| !matches!(request, Request::Housekeep(_))).collect();
        if !work.is_empty() {
            return Err(Failure::new(format!("liveness: the store of node {} has work: {work:?}", node.id)));
        }
        if status.counters.dead_letters > 0 || status.counters.messages_rejected > 0 {
            return Err(Failure::new(format!("G7: node {}: {:?}", node.id, status.counters)));
        }
    }
    Ok(())
}

fn publishes(node: &Node, status: &Status) -> Result<(), Failure> {
    if status.publisher.state != "idle" || status.publisher.pending_rows > 0 {
        return Err(Failure::new(format!("liveness: node {} publishes: {:?}", node.id, status.publisher)));
    }
    // What was read last may not be everything: the log says what is to be sent.
    let sql = "SELECT count(*) FROM __harmonylite___change_log_global WHERE id > ?1";
    let settled = status.publisher.settled.get();
    let unsent: i64 = node.app().prepare_cached(sql)?.query_row([settled], |row| row.get(0))?;
    if unsent > 0 {
        return Err(Failure::new(format!("liveness: node {} has {unsent} unsent log rows", node.id)));
    }
    Ok(())
}

fn consumes(world: &World<'_>, node: &Node, status: &Status) -> Result<(), Failure> {
    for placed in &world.streams {
        let own = placed.owner.is_some_and(|owner| world.nodes[owner].id == node.id);
        let Some(source) = status.sources.get(&placed.id) else {
            return Err(Failure::new(format!("liveness: node {} does not know {}", node.id, placed.id)));
        };
        let follows = source.state == "following" && source.checkpoint.0 == placed.stream.last();
        if !(follows || own && source.state == "own") {
            let (id, last) = (&placed.id, placed.stream.last());
            return Err(Failure::new(format!("liveness: node {} on {id} up to {last}: {source:?}", node.id)));
        }
    }
    Ok(())
}
