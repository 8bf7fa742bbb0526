//! The laws themselves.

use std::collections::{BTreeMap, BTreeSet};

use harmonylite_core::codec::decode_frame;

use super::contents::Contents;
use crate::Failure;
use crate::journal::{Entry, Write};
use crate::node::Node;
use crate::world::World;

/// G4: the two rows of a pair are written in one transaction, so no reader ever sees them differ.
pub(super) fn pairs_are_whole(node: &Node) -> Result<(), Failure> {
    let sql = "SELECT count(*) FROM (SELECT n FROM q GROUP BY n HAVING count(*) <> 2 OR min(v) <> max(v))";
    let broken: i64 = node.app().prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    if broken == 0 {
        Ok(())
    } else {
        Err(Failure::new(format!("G4: node {} shows half a transaction", node.id)))
    }
}

/// No echo: nothing of a node's own present life is applied to it, so there is no position of it.
pub(super) fn nothing_comes_back(node: &Node) -> Result<(), Failure> {
    let sql = "SELECT count(*) FROM __harmonylite___position
               WHERE origin = (SELECT value FROM __harmonylite___meta WHERE name = 'origin')";
    let positions: i64 = node.app().prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    if positions == 0 {
        Ok(())
    } else {
        Err(Failure::new(format!("echo: node {} applied frames of its own", node.id)))
    }
}

/// G2, at any time: under one version all nodes have the same row.
pub(super) fn one_version_one_row(contents: &[Contents]) -> Result<(), Failure> {
    let mut known = BTreeMap::new();
    for (number, contents) in (1..).zip(contents) {
        for (row, held) in contents {
            let Some(version) = held.version else { continue };
            let (first, image) = known.entry((row, version)).or_insert((number, &held.image));
            if *image != &held.image {
                return Err(Failure::new(format!(
                    "G2: {row:?} at {version:?} is {image:?} on node {first}, {:?} on node {number}",
                    held.image
                )));
            }
        }
    }
    Ok(())
}

/// G2: same keys, same bytes, same versions.
pub(super) fn converged(contents: &[Contents]) -> Result<(), Failure> {
    let Some((first, others)) = contents.split_first() else { return Ok(()) };
    for (number, other) in (2..).zip(others) {
        for row in first.keys().chain(other.keys()) {
            let (ours, theirs) = (first.get(row), other.get(row));
            if ours != theirs {
                let text = format!("G2: {row:?}: node 1 has {ours:?}, node {number} has {theirs:?}");
                return Err(Failure::new(text));
            }
        }
    }
    Ok(())
}

/// G3: the version that stands is one that somebody wrote, and the row is what they wrote.
pub(super) fn written_by_somebody(world: &World<'_>, contents: &[Contents]) -> Result<(), Failure> {
    for (number, contents) in (1..).zip(contents) {
        for (row, held) in contents {
            let Some(version) = held.version else {
                return Err(Failure::new(format!("G3: node {number}: {row:?} has no version: {held:?}")));
            };
            let (clock, by) = version.write();
            let writes = world.journal.with_version(row, clock, by);
            let fits = |entry: &Entry| version.displaced || entry.write.image == held.image;
            let written = writes.iter().filter_map(|index| world.journal.entry(*index)).any(fits);
            if !written || version.tombstone != held.image.is_none() {
                let text = format!("G3: node {number}: {row:?} is {held:?}, which nobody wrote");
                return Err(Failure::new(text));
            }
        }
    }
    Ok(())
}

/// G6 and G3: every write that was not lost with its machine has a version at least as great in its place.
pub(super) fn nothing_lost(world: &World<'_>, contents: &Contents) -> Result<(), Failure> {
    for entry in world.journal.entries().iter().filter(|entry| !entry.lost) {
        let write = &entry.write;
        let held = contents.get(&write.row);
        let version = held.and_then(|held| held.version);
        if version.is_none_or(|version| version.write() < (write.clock, write.node)) {
            return Err(Failure::new(format!("G6: {write:?} is lost: there is {held:?}")));
        }
    }
    Ok(())
}

/// R7, R8: where a node has a position, it has every write of that origin up to there, or something newer, or something
/// newer is on its way (a write that was superseded before it was sent never travels).
///
/// Told only of origins with one incarnation, and of the lowest position of all shards.
pub(super) fn positions_are_true(world: &World<'_>, contents_of_all: &[Contents]) -> Result<(), Failure> {
    for (node, contents) in world.nodes.iter().zip(contents_of_all) {
        let positions = lowest_positions(node, world.plan.profile.shards)?;
        let covered =
            |write: &Write| positions.get(&write.node).is_some_and(|position| *position >= write.clock);
        for entry in world.journal.entries().iter().filter(|entry| !entry.lost) {
            let write = &entry.write;
            let writer = usize::try_from(write.node - 1).ok().and_then(|index| world.nodes.get(index));
            let one_life = writer.is_some_and(|writer| !writer.went_back);
            // Displaced before it was sent (R1): the tombstone has a later place in the log, and may be on its way.
            let displaced = contents_of_all
                .iter()
                .filter_map(|contents| contents.get(&write.row)?.version)
                .any(|version| version.displaced && version.write() == (write.clock, write.node));
            if !one_life || !covered(write) || displaced {
                continue;
            }
            let held = contents.get(&write.row).and_then(|held| held.version);
            let there = held.is_some_and(|held| held.write() >= (write.clock, write.node));
            let newer =
                |other: &Write| (other.clock, other.node) > (write.clock, write.node) && !covered(other);
            if !there && !world.journal.writes_of(&write.row).any(newer) {
                let text =
                    format!("R7: node {} has a position beyond {write:?}, and holds {held:?}", node.id);
                return Err(Failure::new(text));
            }
        }
    }
    Ok(())
}

fn lowest_positions(node: &Node, shards: u16) -> Result<BTreeMap<u64, i64>, Failure> {
    let sql = "SELECT o.node_id, min(p.through) FROM __harmonylite___position AS p
               JOIN __harmonylite___origin AS o ON o.id = p.origin
               GROUP BY o.node_id HAVING count(*) = ?1 AND count(DISTINCT o.incarnation) = 1";
    let mut statement = node.app().prepare_cached(sql)?;
    let rows =
        statement.query_map([shards], |row| Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// G5: the checkpoints count exactly the rows that the applies changed.
pub(super) fn exactly_once(world: &World<'_>) -> Result<(), Failure> {
    for node in &world.nodes {
        let sql = "SELECT source, rows_applied FROM __harmonylite___checkpoint WHERE rows_applied > 0";
        let mut statement = node.app().prepare_cached(sql)?;
        let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
        let counted: BTreeMap<_, _> = rows.collect::<Result<_, _>>()?;
        let applied: BTreeMap<_, _> = node
            .rows_applied
            .iter()
            .filter(|(_, rows)| **rows > 0)
            .map(|(source, rows)| (source.0.clone(), rows.cast_signed()))
            .collect();
        if counted != applied {
            let text = format!("G5: node {} applied {applied:?} and counts {counted:?}", node.id);
            return Err(Failure::new(text));
        }
    }
    Ok(())
}

/// G6, R5: a row that lost to a write whose writer had not seen it is in somebody's conflict log.
///
/// Told only of writers that never went back: what their machines lost of the conflict log is lost.
pub(super) fn losers_are_readable(world: &World<'_>, contents: &Contents) -> Result<(), Failure> {
    let logged = logged_losers(world)?;
    for entry in world.journal.entries() {
        let write = &entry.write;
        let stands = contents
            .get(&write.row)
            .and_then(|held| held.version)
            .is_some_and(|version| version.write() == (write.clock, write.node) && !version.displaced);
        let anybody_went_back = world.nodes.iter().any(|node| node.went_back);
        let told = write.image.is_some() && !entry.succeeded && !entry.lost && !anybody_went_back;
        if told && !stands && !logged.contains(&(write.row.0, write.clock, write.node)) {
            return Err(Failure::new(format!("R5: {write:?} lost, and no conflict log has it")));
        }
    }
    Ok(())
}

/// (table, clock, node) of every loser in any conflict log.
fn logged_losers(world: &World<'_>) -> Result<BTreeSet<(&'static str, i64, u64)>, Failure> {
    let mut losers = BTreeSet::new();
    for node in &world.nodes {
        let sql = "SELECT table_name, loser_hlc, loser_node FROM __harmonylite___conflict_log WHERE row IS NOT NULL";
        let mut statement = node.app().prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let name: String = row.get(0)?;
            let table = world.plan.profile.schema.table(&name);
            let Some(table) = table else { continue };
            losers.insert((table.name, row.get(1)?, row.get::<_, i64>(2)?.cast_unsigned()));
        }
    }
    Ok(losers)
}

/// G2 for what triggers keep: the full-text index of every node says what its rows say.
pub(super) fn indexes_are_in_step(world: &World<'_>) -> Result<(), Failure> {
    if world.plan.profile.schema.table("d").is_none() {
        return Ok(());
    }
    for node in &world.nodes {
        let check = "INSERT INTO d_index(d_index, rank) VALUES('integrity-check', 1)";
        if let Err(error) = node.app().execute_batch(check) {
            return Err(Failure::new(format!("G2: the full-text index of node {}: {error}", node.id)));
        }
    }
    Ok(())
}

/// Bounded resources: what is sent and stamped leaves the log, a bounded number of rows with each housekeeping.
pub(super) fn nothing_is_left_over(world: &mut World<'_>) -> Result<(), Failure> {
    let mut before = log_rows(world)?;
    while before.iter().any(|rows| *rows > 0) {
        world.rest_ms(2 * world.plan.profile.housekeeping_ms + 500)?;
        let after = log_rows(world)?;
        let stuck = before.iter().zip(&after).position(|(before, after)| *after > 0 && after >= before);
        if let Some(node) = stuck {
            let text = format!("bounds: the log of node {} keeps {} rows", node + 1, after[node]);
            return Err(Failure::new(text));
        }
        before = after;
    }
    Ok(())
}

fn log_rows(world: &World<'_>) -> Result<Vec<i64>, Failure> {
    let sql = "SELECT count(*) FROM __harmonylite___change_log_global";
    let count = |node: &Node| Ok(node.app().prepare_cached(sql)?.query_row([], |row| row.get(0))?);
    world.nodes.iter().map(count).collect()
}

/// G8, as far as this stage goes: where a stream lost messages, nobody follows it over what is missing.
pub(super) fn losses_are_noticed(world: &World<'_>) -> Result<(), Failure> {
    for node in &world.nodes {
        let Some(process) = &node.process else {
            return Err(Failure::new(format!("liveness: node {} does not run", node.id)));
        };
        let status = process.replicator.status();
        for placed in &world.streams {
            let source = status.sources.get(&placed.id);
            let at_the_end = source.is_some_and(|source| {
                source.state == "following" && source.checkpoint.0 == placed.stream.last()
            });
            let Some(message) = placed.stream.message(placed.stream.last()).filter(|_| at_the_end) else {
                continue;
            };
            let (header, _, _) = decode_frame(&message.bytes)?;
            let (origin, through) = (header.place.origin, header.place.through);
            let position = status.positions.get(&(origin, placed.shard)).copied().unwrap_or_default();
            if origin != status.origin && position < through {
                return Err(Failure::new(format!(
                    "G8: node {} follows {} to its end, {through} of {origin}, and is at {position}",
                    node.id, placed.id
                )));
            }
        }
    }
    Ok(())
}
