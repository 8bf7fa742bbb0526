//! The scan: writes that no trigger saw are found, and logged as if they were made now.
//!
//! Rows are compared with their versions and with the digests kept beside these, in bounded steps: each reads one page in a
//! snapshot; what differs there is looked at again, and logged, in a short transaction that writes. With nothing to log
//! there is no commit. From the log on such a write is one like any other.
//!
//! A table is *enrolled* when every row that was there before its triggers has a place among the versions (the version that
//! is below any other, and a digest): from then on a row without one is a write that nobody saw.

mod finding;
pub(crate) mod marks;
mod page;

use std::collections::VecDeque;

use harmonylite_core::conflict::{RowVersion, Version};
use harmonylite_core::effect::{PublishedPositions, Scan};
use harmonylite_core::input::{Found, Scanned};
use harmonylite_core::model::{CanonicalKey, Value};

use self::finding::{Finding, judge};
use self::page::{Half, Place};
use crate::Store;
use crate::capture::log_keys;
use crate::catalog::Table;
use crate::checkpoint::{count_log_rows, mark};
use crate::error::StoreError;
use crate::meta::{key, log_type};
use crate::session::Session;
use crate::stamp::stamp;

/// A pass over tables, between two steps.
#[derive(Debug)]
pub(crate) struct Pass {
    /// Over all tables, or those that are marked.
    whole: bool,
    /// Of the catalog that it began with.
    schema_version: i64,
    /// What is left, the current one first.
    tables: VecDeque<String>,
    /// What was in the log when it began has its versions.
    stamped: bool,
    /// In the first of the tables.
    place: Place,
}

/// Not now: ask again.
fn later() -> Scanned {
    Scanned { more: true, ..Scanned::default() }
}

impl Store {
    /// Takes the pass that is under way (or a new one) one step further. A change of the schema begins it anew.
    ///
    /// With `publish = false` there is nothing to scan for: local rows are not published, remote ones always win.
    pub fn scan(&mut self, request: &Scan) -> Result<Scanned, StoreError> {
        if !self.options.publish {
            return Ok(Scanned::default());
        }
        if self.schema_differs()? {
            return Ok(later());
        }
        let schema_version = self.catalog.schema_version;
        let under_way = self
            .scan
            .take()
            .filter(|pass| pass.whole == request.whole && pass.schema_version == schema_version);
        let mut pass = match under_way {
            Some(pass) => pass,
            None => self.plan_pass(request.whole)?,
        };
        let scanned = self.go_on(&mut pass, &request.published);
        // Also after an error: the step is taken again.
        self.scan = Some(pass).filter(|pass| !pass.tables.is_empty());
        scanned
    }

    fn plan_pass(&self, whole: bool) -> Result<Pass, StoreError> {
        let tables = if whole {
            self.catalog.tables.keys().cloned().collect()
        } else {
            marks::wanted(&self.connection, &self.catalog)?.into()
        };
        let schema_version = self.catalog.schema_version;
        Ok(Pass { whole, schema_version, tables, stamped: false, place: Place::START })
    }

    fn go_on(&self, pass: &mut Pass, published: &PublishedPositions) -> Result<Scanned, StoreError> {
        let current = pass.tables.front().and_then(|name| self.catalog.tables.get(name));
        let Some(table) = current else { return Ok(Scanned::default()) };
        if !self.stamp_before_step(!pass.stamped, published)? {
            return Ok(later());
        }
        pass.stamped = true;
        self.step(pass, table)
    }

    /// A pass begins with everything stamped: what is in the log then is compared as it was published. Later on only a
    /// long unstamped log is in the way. False: try again.
    fn stamp_before_step(&self, begins: bool, published: &PublishedPositions) -> Result<bool, StoreError> {
        let limit = self.limits.housekeeping_rows;
        let stamped = mark(&self.connection, key::STAMPED)?;
        let unstamped = count_log_rows(&self.connection, stamped + 1, i64::MAX)?;
        let long = unstamped > limit as u64;
        if long || (begins && unstamped > 0) {
            let transaction = self.begin_write()?;
            self.require_schema()?;
            stamp(&Session::new(self), published, limit)?;
            transaction.commit()?;
        }
        Ok(!long)
    }

    /// One page: read, compared, and what differs written.
    fn step(&self, pass: &mut Pass, table: &Table) -> Result<Scanned, StoreError> {
        let (page, enrolled) = {
            let snapshot = self.begin_read()?;
            if self.schema_differs()? {
                return Ok(later());
            }
            let enrolled = marks::is_enrolled(&snapshot, &table.schema.name)?;
            let session = Session::new(self);
            (page::read(&session, table, &pass.place, enrolled, self.limits.scan_rows)?, enrolled)
        };
        let mut scanned = Scanned { table: table.schema.name.clone(), ..later() };
        if !page.suspects.is_empty() {
            match self.write(table, &page.suspects, enrolled)? {
                Some(found) => scanned.found = found,
                None => return Ok(later()),
            }
        }
        match (page.last, pass.place.half) {
            (Some(last), half) => pass.place = Place { half, after: Some(last) },
            (None, Half::Rows) => pass.place = Place { half: Half::Versions, after: None },
            (None, Half::Versions) => {
                self.settle(&table.schema.name)?;
                pass.tables.pop_front();
                pass.place = Place::START;
                scanned.table_done = true;
                scanned.more = !pass.tables.is_empty();
            }
        }
        Ok(scanned)
    }

    /// Looks at the suspects again while nobody else can write, and logs those that still differ. `None`: the schema
    /// changed meanwhile.
    fn write(
        &self,
        table: &Table,
        suspects: &[Vec<Value>],
        enrolled: bool,
    ) -> Result<Option<Found>, StoreError> {
        let transaction = self.begin_write()?;
        if self.schema_differs()? {
            return Ok(None);
        }
        let session = Session::new(self);
        let pending = page::pending(&session, table, suspects)?;
        let mut rows = session.rows(table);
        let (mut found, mut entries, mut remembered) = (Found::default(), Vec::new(), false);
        for key in suspects {
            if pending.contains(&CanonicalKey::of(&table.schema, key)) {
                continue;
            }
            let stored = rows.stored(key)?;
            let (count, kind) = match judge(stored.as_ref(), rows.digest(key)?, enrolled) {
                Finding::Nothing => continue,
                Finding::Remember(digest) => {
                    rows.set_version(key, &stored.map_or(UNSEEN, |stored| stored.version), Some(digest))?;
                    remembered = true;
                    continue;
                }
                Finding::New => (&mut found.new, log_type::INSERT),
                Finding::Changed => (&mut found.changed, log_type::UPDATE),
                Finding::Deleted => (&mut found.deleted, log_type::DELETE),
            };
            *count += 1;
            entries.push((key.as_slice(), kind));
        }
        log_keys(session.connection, table, &self.options.clock.0, &entries)?;
        drop(rows);
        drop(session);
        if remembered || !entries.is_empty() {
            transaction.commit()?;
        }
        Ok(Some(found))
    }

    fn settle(&self, table: &str) -> Result<(), StoreError> {
        if marks::is_settled(&self.connection, table)? {
            return Ok(());
        }
        let transaction = self.begin_write()?;
        self.require_schema()?;
        marks::settle(&transaction, table)?;
        transaction.commit().map_err(StoreError::from)
    }
}

/// The place of a row that was there before the triggers: below any version.
const UNSEEN: RowVersion = RowVersion { version: Version::NONE, tombstone: false, base: Version::NONE };
