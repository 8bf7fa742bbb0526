//! What a node holds of each row: the row, and its version, that of unstamped writes included.

use std::collections::BTreeMap;

use rusqlite::Connection;

use crate::Failure;
use crate::application::{Schema, Table, read_rows};
use crate::journal::RowKey;
use crate::node::Node;

/// A version as it is compared between nodes: the fields are in the order of versions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Version {
    pub(super) clock: i64,
    pub(super) node: i64,
    pub(super) incarnation: i64,
    pub(super) displaced: bool,
    pub(super) tombstone: bool,
}

impl Version {
    /// What decides between two writes.
    pub(super) const fn write(&self) -> (i64, u64) {
        (self.clock, self.node.cast_unsigned())
    }
}

/// What a node holds under one key.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Held {
    pub(super) image: Option<String>,
    pub(super) version: Option<Version>,
}

pub(crate) type Contents = BTreeMap<RowKey, Held>;

pub(super) fn read(node: &Node, schema: Schema) -> Result<Contents, Failure> {
    let app = node.app();
    let mut contents = Contents::new();
    for (row, image) in read_rows(app, schema)? {
        contents.insert(row, Held { image: Some(image), version: None });
    }
    for table in schema.tables() {
        read_versions(app, table, &mut contents)?;
    }
    Ok(contents)
}

fn read_versions(app: &Connection, table: &Table, contents: &mut Contents) -> Result<(), Failure> {
    let (name, key) = (table.name, table.key_text("v.val_"));
    let stored = format!(
        "SELECT {key}, v.hlc, coalesce(o.node_id, 0), coalesce(o.incarnation, 0), v.flags & 1, v.flags & 2
         FROM __harmonylite__{name}_row_version AS v LEFT JOIN __harmonylite___origin AS o ON o.id = v.origin"
    );
    let mut statement = app.prepare_cached(&stored)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let version = Version {
            clock: row.get(1)?,
            node: row.get(2)?,
            incarnation: row.get(3)?,
            displaced: row.get(4)?,
            tombstone: row.get(5)?,
        };
        contents.entry((name, row.get(0)?)).or_default().version = Some(version);
    }
    read_unstamped(app, table, contents)
}

/// Writes that wait for their stamp: the newest log row of a key that is above `stamped`. A `maybe` is one when the row
/// is gone (R2).
fn read_unstamped(app: &Connection, table: &Table, contents: &mut Contents) -> Result<(), Failure> {
    let (name, key) = (table.name, table.key_text("v.val_"));
    let sql = format!(
        "SELECT {key}, max(CASE WHEN v.type <> 'maybe' THEN v.id END), max(v.id), m.node, m.incarnation
         FROM __harmonylite__{name}_change_log AS v,
           (SELECT max(CASE name WHEN 'stamped' THEN value END) AS stamped,
                   max(CASE name WHEN 'node_id' THEN value END) AS node,
                   max(CASE name WHEN 'incarnation' THEN value END) AS incarnation FROM __harmonylite___meta) AS m
         WHERE v.id > m.stamped AND v.type <> 'displaced' GROUP BY 1"
    );
    let mut statement = app.prepare_cached(&sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let held = contents.entry((name, row.get(0)?)).or_default();
        let tombstone = held.image.is_none();
        let clock: Option<i64> = row.get(if tombstone { 2 } else { 1 })?;
        let (node, incarnation) = (row.get(3)?, row.get(4)?);
        let fresh = clock.map(|clock| Version { clock, node, incarnation, displaced: false, tombstone });
        held.version = held.version.max(fresh);
    }
    Ok(())
}
