//! The judges, one law each, named after the promises. Safety is judged all the time, the rest when the world has come
//! to rest: first no law may break under faults, then the healed world must make progress.

mod contents;
mod laws;
mod rest;

use harmonylite_core::codec::{Message, decode_body, decode_frame};
use harmonylite_core::input::Input;
use rusqlite::{Connection, OptionalExtension as _};

use self::contents::Contents;
pub(crate) use self::rest::at_rest;
use crate::Failure;
use crate::application::Schema;
use crate::journal::RowKey;
use crate::world::World;

/// Everything that must hold when the world has come to rest.
pub(crate) fn judge(world: &mut World<'_>) -> Result<(), Failure> {
    let contents = contents(world)?;
    laws::one_version_one_row(&contents)?;
    laws::written_by_somebody(world, &contents)?;
    laws::positions_are_true(world, &contents)?;
    laws::exactly_once(world)?;
    if world.lost_messages {
        return laws::losses_are_noticed(world);
    }
    at_rest(world)?;
    laws::converged(&contents)?;
    let Some(first) = contents.first() else { return Ok(()) };
    laws::nothing_lost(world, first)?;
    laws::losers_are_readable(world, first)?;
    laws::indexes_are_in_step(world)?;
    laws::nothing_is_left_over(world)
}

/// What all nodes hold.
pub(crate) fn contents(world: &World<'_>) -> Result<Vec<Contents>, Failure> {
    let schema = world.plan.profile.schema;
    world.nodes.iter().map(|node| contents::read(node, schema)).collect()
}

/// G5, after everything was delivered once more: no row was written, and all is as it was.
pub(crate) fn nothing_changed(world: &World<'_>, before: &[Contents]) -> Result<(), Failure> {
    for (node, before) in world.nodes.iter().zip(before) {
        let written: u64 = node.rows_applied.values().sum();
        if written > 0 {
            return Err(Failure::new(format!("G5: node {} wrote {written} rows once more", node.id)));
        }
        if contents::read(node, world.plan.profile.schema)? != *before {
            return Err(Failure::new(format!("G5: node {} is another after everything came again", node.id)));
        }
    }
    Ok(())
}

/// What must hold after every piece of work of a store.
pub(crate) fn after_store(world: &World<'_>, node: usize, input: &Input) -> Result<(), Failure> {
    if matches!(input, Input::Applied(_)) && world.nodes[node].open.is_none() {
        let node = &world.nodes[node];
        if world.plan.profile.keeps_groups_whole() {
            laws::pairs_are_whole(node)?;
        }
        laws::nothing_comes_back(node)?;
    }
    Ok(())
}

/// No echo: a node sends what it wrote itself, under whatever incarnation, and displacements.
pub(crate) fn published(world: &World<'_>, node: usize, messages: &[Message]) -> Result<(), Failure> {
    let own = world.nodes[node].number();
    for message in messages {
        let (header, _, start) = decode_frame(&message.bytes)?;
        // A body in several pieces is large; its rows are seen when they are applied.
        if header.continued || header.raw_size == 0 {
            continue;
        }
        let Ok(body) = decode_body(&message.bytes[start..], header.compressed, header.raw_size) else {
            continue;
        };
        for change in body.tables.iter().flat_map(|table| &table.rows) {
            let version = change.version.version;
            if version.origin.raw_node() != own && !version.displaced {
                return Err(Failure::new(format!("echo: node {own} sends a row of {}", version.origin)));
            }
        }
    }
    Ok(())
}

/// The version of a row that is not there, as (clock, node); `None` when it was never deleted.
pub(crate) fn tombstone(
    app: &Connection,
    schema: Schema,
    row: &RowKey,
) -> Result<Option<(i64, u64)>, Failure> {
    let Some(table) = schema.table(row.0) else { return Ok(None) };
    let sql = format!(
        "SELECT v.hlc, o.node_id FROM __harmonylite__{}_row_version AS v
         JOIN __harmonylite___origin AS o ON o.id = v.origin WHERE {} = ?1 AND v.flags & 3 = 2",
        table.name,
        table.key_text("v.val_"),
    );
    let mut statement = app.prepare_cached(&sql)?;
    let found = statement.query_row([&row.1], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.cast_unsigned())));
    Ok(found.optional()?)
}
