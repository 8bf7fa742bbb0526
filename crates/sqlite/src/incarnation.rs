//! Lives of a database (R9): recognising that it is an older copy of itself, and starting a new life.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use harmonylite_core::codec::decode_body;
use harmonylite_core::conflict::RowVersion;
use harmonylite_core::effect::{PublishedPositions, ReceivedGroup};
use harmonylite_core::input::StoreState;
use harmonylite_core::model::{CanonicalKey, Hlc, Incarnation, NodeId, Origin, RowChange, Value};
use harmonylite_core::planted::{Bug, is_planted};
use rusqlite::params;

use crate::Store;
use crate::apply::Incoming;
use crate::catalog::Table;
use crate::change_log::{Stretch, each_log_row, to_publish};
use crate::checkpoint::{Floors, log_end, mark, observed, published, raise_observed, set_position};
use crate::error::{StoreError, StoreErrorKind};
use crate::meta::{self, CHANGE_LOG_GLOBAL, PUBLISHED, key};
use crate::session::Session;
use crate::stamp::stamp;
use crate::table_sql;

impl Store {
    /// Compares own frames found in an own stream with the database. `Some` is why the database must be an older copy
    /// of itself: the stream has what it does not.
    ///
    /// Frames of other origins do not matter here; a row that cannot be read is an error.
    pub fn inspect_own_frames(
        &mut self,
        groups: &[Arc<ReceivedGroup>],
    ) -> Result<Option<String>, StoreError> {
        if is_planted(Bug::OriginReused) {
            return Ok(None);
        }
        let snapshot = self.begin_read()?;
        self.require_schema()?;
        let session = Session::new(self);
        let own: Vec<_> =
            groups.iter().map(Arc::as_ref).filter(|group| group.origin == self.origin).collect();
        if let Some(reason) = beyond_the_log(&session, &own)? {
            return Ok(Some(reason));
        }
        let rows = own_rows(&session, &own)?;
        let stamped = mark(&snapshot, key::STAMPED)?;
        for id in rows.by_id.iter().copied().filter(|id| *id > stamped) {
            if !is_log_row(&session, id)? {
                return Ok(Some(format!("an own frame has a row at {id} that is not in the change log")));
            }
        }
        for (name, rows) in &rows.by_table {
            let Some(table) = session.catalog.tables.get(name.as_str()) else { continue };
            let (fresh, old): (Vec<_>, Vec<_>) =
                rows.iter().partition(|row| row.version.version.hlc.get() > stamped);
            if let Some(reason) = rows_that_differ(&session, table, &fresh)? {
                return Ok(Some(reason));
            }
            if let Some(reason) = never_written(&session, table, &old)? {
                return Ok(Some(reason));
            }
        }
        passed_over(&session, &own, &rows)
    }

    /// Starts a new life: from now on we write under a new origin. The old one is a dead node whose frames peers and its
    /// own stream serve, also to us. What of it was not sent keeps its clock, gets the new origin, and is published
    /// by us.
    pub fn mint_incarnation(&mut self, incarnation: Incarnation) -> Result<StoreState, StoreError> {
        let node = NodeId::new(self.origin.raw_node())
            .ok_or_else(|| StoreError::new(StoreErrorKind::Damaged, "the database has no node id"))?;
        let origin = Origin::new(node, incarnation);
        let transaction = self.begin_write()?;
        self.require_schema()?;
        let session = Session::new(self);
        let number = session.origins.number(origin)?;
        begin_life(&session, self.origin_index, origin)?;
        let own = [(key::ORIGIN, number), (key::INCARNATION, incarnation.get().cast_signed())];
        for (name, value) in own {
            meta::write_integer(&transaction, name, value)?;
        }
        drop(session);
        transaction.commit()?;
        (self.origin, self.origin_index) = (origin, number);
        self.forget_log_ends();
        self.state()
    }
}

/// (2) of R9: a group that reaches beyond everything that we know to have written.
fn beyond_the_log(session: &Session<'_>, own: &[&ReceivedGroup]) -> Result<Option<String>, StoreError> {
    let published = published(session.connection)?;
    let known = observed(session.connection)?;
    for group in own {
        let through = group.through.get();
        let saved = Floors(&published).of(group.shard);
        if through > known.max(saved) && !is_log_row(session, through)? {
            return Ok(Some(format!(
                "an own frame on shard {} reaches to {through}, which is not in the change log",
                group.shard
            )));
        }
    }
    Ok(None)
}

fn is_log_row(session: &Session<'_>, id: i64) -> Result<bool, StoreError> {
    let sql = format!("SELECT 1 FROM main.{CHANGE_LOG_GLOBAL} WHERE id = ?1");
    Ok(session.connection.prepare_cached(&sql)?.exists([id])?)
}

/// A third sign, which the rule does not name: own frames reach beyond a write of ours without bringing it, and nothing
/// here says why. Then there was a later write of that row, which was to bring it (R3), or a newer one of somebody
/// else: it is lost, and this one would never be sent.
fn passed_over(
    session: &Session<'_>,
    own: &[&ReceivedGroup],
    rows: &OwnRows,
) -> Result<Option<String>, StoreError> {
    for group in own {
        let stretch = Stretch::between(session, group.prev.get(), group.through.get())?;
        for table in stretch.tables(session) {
            for version in to_publish(session, table, &stretch, group.shard)? {
                let ours = version.origin == session.own && !version.displaced;
                if ours && !rows.all.contains(&version.hlc) {
                    return Ok(Some(format!(
                        "own frames reach beyond a row of table {:?} at {} and do not have it",
                        table.schema.name, version.hlc
                    )));
                }
            }
        }
    }
    Ok(None)
}

/// Rows of our origin in own frames.
#[derive(Default)]
struct OwnRows {
    /// Those that can be compared with the log and the row.
    by_table: BTreeMap<String, Vec<Incoming>>,
    /// Those of tables that have changed since: only their ids can be looked for.
    by_id: Vec<i64>,
    /// The clocks of all of them, whatever became of their tables. No two log rows have the same.
    all: HashSet<Hlc>,
}

/// Rows of tables that are not replicated any more are left out: their log is gone, and proves nothing.
fn own_rows(session: &Session<'_>, own: &[&ReceivedGroup]) -> Result<OwnRows, StoreError> {
    let ours = |version: &RowVersion| {
        let version = version.version;
        version.origin == session.own && !version.displaced
    };
    let mut found = OwnRows::default();
    for body in own.iter().flat_map(|group| &group.bodies) {
        let body = decode_body(&body.bytes, body.compressed, body.raw_size)
            .map_err(|error| unreadable(&error.to_string()))?;
        for changes in body.tables {
            found.all.extend(changes.rows.iter().filter(|row| ours(&row.version)).map(RowChange::hlc));
            let Some(table) = session.catalog.tables.get(&changes.table) else { continue };
            if changes.fingerprint == table.fingerprint {
                let rows = found.by_table.entry(changes.table.clone()).or_default();
                let incoming = Incoming::of_section(table, changes).map_err(|reason| unreadable(&reason))?;
                rows.extend(incoming.into_iter().filter(|row| ours(&row.version)));
            } else {
                let rows = changes.rows.iter().filter(|row| ours(&row.version));
                found.by_id.extend(rows.map(|row| row.hlc().get()));
            }
        }
    }
    Ok(found)
}

fn unreadable(reason: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Sqlite, format!("an own frame cannot be read: {reason}"))
}

/// What the log has of the keys of some rows, from the oldest of them on.
struct Logged(HashMap<CanonicalKey, Vec<i64>>);

impl Logged {
    fn read(session: &Session<'_>, table: &Table, rows: &[&Incoming]) -> Result<Self, StoreError> {
        let canonical = |key: &[Value]| CanonicalKey::of(&table.schema, key);
        let mut logged: HashMap<CanonicalKey, Vec<i64>> =
            rows.iter().map(|row| (canonical(&row.key), Vec::new())).collect();
        let oldest = rows.iter().map(|row| row.version.version.hlc.get()).min().unwrap_or(i64::MAX);
        each_log_row(session, table, oldest - 1, i64::MAX, |id, _, key| {
            if let Some(ids) = logged.get_mut(&canonical(&key)) {
                ids.push(id);
            }
        })?;
        Ok(Self(logged))
    }

    /// The ids of its key, in order.
    fn of(&self, table: &Table, row: &Incoming) -> &[i64] {
        self.0.get(&CanonicalKey::of(&table.schema, &row.key)).map_or(&[], Vec::as_slice)
    }
}

/// (1) of R9: a row whose id is not in our log under its key, or is the key's last one there and yet has another image.
fn rows_that_differ(
    session: &Session<'_>,
    table: &Table,
    rows: &[&Incoming],
) -> Result<Option<String>, StoreError> {
    let logged = Logged::read(session, table, rows)?;
    let mut stored = session.rows(table);
    for row in rows {
        let id = row.version.version.hlc.get();
        let ids = logged.of(table, row);
        let name = &table.schema.name;
        if !ids.contains(&id) {
            return Ok(Some(format!(
                "an own frame has a row of table {name:?} at {id} that is not in the log"
            )));
        }
        if ids.last() == Some(&id) && stored.row(&row.key)? != row.values {
            return Ok(Some(format!("an own frame has another image of a row of table {name:?} at {id}")));
        }
    }
    Ok(None)
}

/// The same for rows up to `stamped`, whose log rows may be trimmed: a write of ours left its version, or a greater one.
/// A late frame of a shared stream may come when we have stamped far beyond what it has. When the row was written again
/// since, and that is not stamped yet, the stamp may have taken the later content.
fn never_written(
    session: &Session<'_>,
    table: &Table,
    rows: &[&Incoming],
) -> Result<Option<String>, StoreError> {
    let mut here = session.rows(table);
    let mut logged = None;
    for row in rows {
        let (stored, sent) = (here.stored(&row.key)?, row.version);
        let known = match stored {
            Some(stored) if stored.version.version == sent.version => {
                let other = match (stored.digest, row.digest(&mut here)?) {
                    (Some(ours), Some(theirs)) => ours.comparable(theirs) && ours != theirs,
                    _ => false,
                };
                if other || stored.version.tombstone != sent.tombstone {
                    let logged = match &mut logged {
                        Some(logged) => logged,
                        none => none.insert(Logged::read(session, table, rows)?),
                    };
                    logged.of(table, row).last().is_some_and(|last| *last > sent.version.hlc.get())
                } else {
                    true
                }
            }
            Some(stored) => stored.version.version > sent.version,
            None => false,
        };
        if !known {
            let (name, id) = (&table.schema.name, sent.version.hlc);
            return Ok(Some(format!(
                "an own frame has a row of table {name:?} at {id} that was not written here"
            )));
        }
    }
    Ok(None)
}

/// Hands what is not sent to `origin`, and leaves the old origin where its frames end.
fn begin_life(session: &Session<'_>, old: i64, origin: Origin) -> Result<(), StoreError> {
    let connection = session.connection;
    let sent = published(connection)?;
    if session.publish {
        stamp(session, &sent, usize::MAX)?;
    }
    // A later id must be above those of the log rows that go now.
    raise_observed(connection, log_end(connection)?)?;
    let stretch = Stretch::read(session, 0, usize::MAX)?;
    for table in stretch.tables(session) {
        hand_over(session, table, &sent, origin)?;
    }
    for (shard, through) in &sent.by_shard {
        set_position(connection, old, *shard, *through)?;
    }
    connection.execute(&format!("DELETE FROM main.{PUBLISHED}"), [])?;
    Ok(())
}

/// The log rows of `table` that are sent go, the versions that are not change hands.
fn hand_over(
    session: &Session<'_>,
    table: &Table,
    sent: &PublishedPositions,
    origin: Origin,
) -> Result<(), StoreError> {
    let mut unsent: BTreeMap<CanonicalKey, Vec<Value>> = BTreeMap::new();
    let mut gone = Vec::new();
    each_log_row(session, table, 0, i64::MAX, |id, _, key| {
        let (canonical, shard) = session.place(table, &key);
        if id > Floors(sent).of(shard) {
            unsent.insert(canonical, key);
        } else {
            gone.push(id);
        }
    })?;
    let mut rows = session.rows(table);
    for (canonical, key) in unsent {
        let floor = Floors(sent).of(canonical.shard(&table.schema.name, session.shards));
        let Some(mut stored) = rows.stored(&key)? else { continue };
        let version = &mut stored.version.version;
        if version.origin == session.own && !version.displaced && version.hlc.get() > floor {
            version.origin = origin;
            rows.set_version(&key, &stored.version, stored.digest)?;
        }
    }
    for id in gone {
        forget(session, table, id)?;
    }
    Ok(())
}

fn forget(session: &Session<'_>, table: &Table, id: i64) -> Result<(), StoreError> {
    let sql = format!("DELETE FROM main.{CHANGE_LOG_GLOBAL} WHERE id = ?1");
    session.connection.prepare_cached(&sql)?.execute(params![id])?;
    session.connection.prepare_cached(&table_sql::forget_log_row(table))?.execute(params![id])?;
    Ok(())
}
