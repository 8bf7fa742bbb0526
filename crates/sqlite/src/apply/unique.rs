//! Incoming rows of tables with further UNIQUE indexes (R1, R13): two rows may want one value, and rows of one set may
//! swap values. Tables with mirrored triggers take this way, too: it writes as an application would, where an upsert
//! fires BEFORE INSERT triggers for rows that are there.
//!
//! Deletes first, then the others from the greatest version down. A row of the set that still stands in the way with
//! its old values is taken out; it will be written in its turn. Whoever else has the value is a rival: the greater
//! version keeps it, the other becomes a displaced tombstone.

use std::collections::{BTreeMap, HashMap};

use harmonylite_core::conflict::{RowVersion, Version};
use harmonylite_core::model::{CanonicalKey, SourceId, Value};

use super::Work;
use super::displace::Displacer;
use super::halt::{Halt, is_row_error, is_unique_error};
use super::mirrored::{FailedRows, Outcome, Trial};
use super::rivals::Rivals;
use super::rows::{Incoming, Tally, Winning};
use crate::catalog::Table;
use crate::conflict_log::mark_restored;
use crate::row_version::{Lazy, TableRows};
use crate::table_sql;
use crate::value::bind;

/// The rows of one group, by table.
#[derive(Default)]
pub(crate) struct UniqueSets<'t> {
    by_table: BTreeMap<&'t str, (&'t Table, Vec<Incoming>)>,
}

impl<'t> UniqueSets<'t> {
    pub(crate) fn add(&mut self, table: &'t Table, incoming: Vec<Incoming>) {
        let (_, rows) = self.by_table.entry(&table.schema.name).or_insert_with(|| (table, Vec::new()));
        rows.extend(incoming);
    }
}

/// Applies the rows of a group that belong to tables with UNIQUE indexes.
pub(crate) fn apply_sets(
    work: &mut Work<'_, '_>,
    source: &SourceId,
    sets: UniqueSets<'_>,
    tally: &mut Tally,
) -> Result<(), Halt> {
    for (_, (table, rows)) in sets.by_table {
        apply_set(work, source, table, rows, tally)?;
    }
    Ok(())
}

/// Rows that cannot be written at all are found by trying; then the set is applied again without them, so that nobody
/// makes way for a row that does not come.
fn apply_set(
    work: &mut Work<'_, '_>,
    source: &SourceId,
    table: &Table,
    incoming: Vec<Incoming>,
    tally: &mut Tally,
) -> Result<(), Halt> {
    let connection = work.session.connection;
    // Numbers given within the savepoint would be forgotten by a rollback to it.
    for row in &incoming {
        work.session.origins.number(row.version.version.origin)?;
        work.session.origins.number(row.version.base.origin)?;
    }
    let mut dead: BTreeMap<usize, String> = BTreeMap::new();
    let mut trial = Trial::new(work, table);
    let counted = loop {
        connection.prepare_cached("SAVEPOINT harmonylite_set")?.execute([])?;
        let mut attempt = Attempt::new(work, source, table)?;
        let failed = attempt.run(&incoming, &dead);
        let counted = attempt.tally;
        match trial.judge(failed)? {
            Outcome::Done => break counted,
            Outcome::Repeat(failed) => dead.extend(failed),
        }
        connection.prepare_cached("ROLLBACK TO harmonylite_set")?.execute([])?;
        connection.prepare_cached("RELEASE harmonylite_set")?.execute([])?;
        trial.prepare(connection)?;
    };
    connection.prepare_cached("RELEASE harmonylite_set")?.execute([])?;
    if let Some(error) = trial.failure() {
        work.failed_mirrors.insert(table.schema.name.clone(), error);
    }
    tally.add(&counted);
    tally.dead_letters += dead.len() as u64;
    for (index, row) in incoming.into_iter().enumerate() {
        if let Some(error) = dead.remove(&index) {
            work.bury(source, table, row, error)?;
        }
    }
    Ok(())
}

/// A row of the set that beats what is stored.
struct Winner<'i> {
    index: usize,
    incoming: &'i Incoming,
    winning: Winning,
}

/// One attempt to write a set.
struct Attempt<'a, 'w, 's> {
    work: &'a mut Work<'w, 's>,
    source: &'a SourceId,
    table: &'a Table,
    rows: TableRows<'a>,
    rivals: Rivals<'a>,
    displacer: Displacer<'a>,
    update: Option<Lazy<'a>>,
    insert: Lazy<'a>,
    tally: Tally,
}

impl<'a, 'w: 'a, 's> Attempt<'a, 'w, 's> {
    fn new(work: &'a mut Work<'w, 's>, source: &'a SourceId, table: &'a Table) -> Result<Self, Halt> {
        let session = work.session;
        Ok(Self {
            rows: session.rows(table),
            rivals: Rivals::new(session.connection, table)?,
            displacer: Displacer::new(session, table, work.now_ms),
            update: table_sql::update(table).map(Lazy::new),
            insert: Lazy::new(table_sql::insert(table)),
            tally: Tally::default(),
            work,
            source,
            table,
        })
    }

    /// Writes the set but for the rows known as `dead`; gives those that could not be written.
    fn run(&mut self, incoming: &[Incoming], dead: &BTreeMap<usize, String>) -> Result<FailedRows, Halt> {
        let mut waiting: HashMap<CanonicalKey, Winner<'_>> = HashMap::new();
        for (index, incoming) in incoming.iter().enumerate().filter(|(index, _)| !dead.contains_key(index)) {
            if let Some(winning) = self.work.compare(&mut self.rows, incoming, &mut self.tally)? {
                let winner = Winner { index, incoming, winning };
                self.keep_greater(&mut waiting, winner);
            }
        }
        let mut order: Vec<(CanonicalKey, Version, bool)> = waiting
            .iter()
            .map(|(key, winner)| {
                (key.clone(), winner.incoming.version.version, winner.incoming.values.is_none())
            })
            .collect();
        // Deletes first, then from the greatest version down.
        order.sort_unstable_by(|a, b| (b.2, b.1, &b.0).cmp(&(a.2, a.1, &a.0)));
        let mut failed = Vec::new();
        for (key, _, _) in order {
            let Some(winner) = waiting.remove(&key) else { continue };
            if let Some(error) = self.write(&key, &winner, &waiting)? {
                failed.push((winner.index, error));
            }
        }
        Ok(failed)
    }

    /// A group names each key once; should one name it twice, the greater version counts.
    fn keep_greater<'i>(&mut self, waiting: &mut HashMap<CanonicalKey, Winner<'i>>, winner: Winner<'i>) {
        let key = CanonicalKey::of(&self.table.schema, &winner.incoming.key);
        let less = |known: &Winner<'_>| known.incoming.version.version < winner.incoming.version.version;
        let known = waiting.get(&key);
        self.tally.skipped += u64::from(known.is_some());
        if known.is_none_or(less) {
            waiting.insert(key, winner);
        }
    }

    /// Writes one row; `Some` is why it cannot be written.
    fn write(
        &mut self,
        key: &CanonicalKey,
        winner: &Winner<'_>,
        waiting: &HashMap<CanonicalKey, Winner<'_>>,
    ) -> Result<Option<String>, Halt> {
        let incoming = winner.incoming;
        if let Some(lost) = &winner.winning.lost {
            self.work.log_overwritten(self.table, incoming, lost)?;
            self.tally.conflicts += 1;
        }
        self.tally.applied += 1;
        let Some(values) = &incoming.values else {
            self.rows.delete(&incoming.key)?;
            self.rows.set_version(&incoming.key, &incoming.version, None)?;
            return Ok(None);
        };
        let found = match self.rivals.find(values) {
            Ok(found) => found,
            Err(error) => return self.fault(error).map(Some),
        };
        let rivals = self.sift(key, found, waiting)?;
        let ours = incoming.version.version;
        if let Some(winner) = rivals.iter().map(Rival::version).filter(|rival| *rival > ours).max() {
            self.displacer.refuse(&mut self.rows, incoming, values, winner, &mut self.tally)?;
            return Ok(None);
        }
        for rival in &rivals {
            self.displacer.displace(&mut self.rows, &rival.key, rival.version(), ours, &mut self.tally)?;
        }
        if let Err(error) = self.put(&incoming.key, values) {
            return self.fault(error).map(Some);
        }
        let digest = incoming.digest(&mut self.rows)?;
        self.rows.set_version(&incoming.key, &incoming.version, digest)?;
        if winner.winning.returns {
            mark_restored(self.work.session, self.table, &incoming.key, ours.hlc)?;
        }
        Ok(None)
    }

    /// Why the row itself cannot be written, if it is the row's fault.
    fn fault(&self, error: rusqlite::Error) -> Result<String, Halt> {
        if is_row_error(&error) {
            return Ok(error.to_string());
        }
        if is_unique_error(&error) {
            let table = &self.table.schema.name;
            let reason = format!("table {table:?}: the row that stands in the way was not found: {error}");
            return Err(Halt::source(self.source, reason));
        }
        Err(error.into())
    }

    /// Of the rows with an equal value in a UNIQUE index: the rivals. The row itself is none; those that are waiting
    /// for their turn are taken out.
    fn sift(
        &mut self,
        key: &CanonicalKey,
        found: Vec<Vec<Value>>,
        waiting: &HashMap<CanonicalKey, Winner<'_>>,
    ) -> Result<Vec<Rival>, Halt> {
        let mut rivals = BTreeMap::new();
        for found in found {
            let canonical = CanonicalKey::of(&self.table.schema, &found);
            if waiting.contains_key(&canonical) {
                self.rows.delete(&found)?;
            } else if canonical != *key {
                let stored = self.rows.version(&found)?;
                rivals.insert(canonical, Rival { key: found, stored });
            }
        }
        Ok(rivals.into_values().collect())
    }

    /// Writes a row without naming a conflict target: with several UNIQUE indexes it could be the wrong one.
    fn put(&mut self, key: &[Value], values: &[Value]) -> rusqlite::Result<()> {
        let connection = self.work.session.connection;
        let there = match &mut self.update {
            Some(update) => {
                let update = update.get(connection)?;
                bind(update, 1, values.iter().chain(key))?;
                update.raw_execute()? > 0
            }
            None => self.rows.exists(key)?,
        };
        if there {
            return Ok(());
        }
        let insert = self.insert.get(connection)?;
        bind(insert, 1, values)?;
        insert.raw_execute().map(|_| ())
    }
}

struct Rival {
    key: Vec<Value>,
    stored: Option<RowVersion>,
}

impl Rival {
    fn version(&self) -> Version {
        self.stored.map_or(Version::NONE, |stored| stored.version)
    }
}
