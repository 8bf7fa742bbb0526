//! The short local numbers that our tables use for origins (R9).

use std::cell::RefCell;
use std::collections::HashMap;

use harmonylite_core::model::Origin;
use rusqlite::{Connection, OptionalExtension as _};

use crate::error::{StoreError, StoreErrorKind};
use crate::meta::ORIGIN;

/// Both directions, read when first asked for. Valid within one transaction: a rollback takes new numbers back.
pub(crate) struct Origins<'c> {
    connection: &'c Connection,
    known: RefCell<Known>,
}

#[derive(Default)]
struct Known {
    by_number: HashMap<i64, Origin>,
    by_origin: HashMap<Origin, i64>,
}

impl<'c> Origins<'c> {
    /// Nothing known yet but that 0 is no origin.
    pub(crate) fn new(connection: &'c Connection) -> Self {
        let origins = Self { connection, known: RefCell::default() };
        origins.learn(0, Origin::NONE);
        origins
    }

    /// The origin with that number.
    pub(crate) fn origin(&self, number: i64) -> Result<Origin, StoreError> {
        if let Some(origin) = self.known.borrow().by_number.get(&number) {
            return Ok(*origin);
        }
        let sql = format!("SELECT node_id, incarnation FROM main.{ORIGIN} WHERE id = ?1");
        let found = self
            .connection
            .prepare_cached(&sql)?
            .query_row([number], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))
            .optional()?;
        let origin = found.and_then(|(node, incarnation)| Origin::from_raw(node as u64, incarnation as u64));
        let origin = origin.ok_or_else(|| {
            StoreError::new(StoreErrorKind::Damaged, format!("origin {number} is not in {ORIGIN}"))
        })?;
        self.learn(number, origin);
        Ok(origin)
    }

    /// The number of `origin`, given to it now when it has none.
    pub(crate) fn number(&self, origin: Origin) -> Result<i64, StoreError> {
        if let Some(number) = self.known.borrow().by_origin.get(&origin) {
            return Ok(*number);
        }
        let number = match self.find(origin)? {
            Some(number) => number,
            None => self.add(origin)?,
        };
        self.learn(number, origin);
        Ok(number)
    }

    fn find(&self, origin: Origin) -> Result<Option<i64>, StoreError> {
        let sql = format!("SELECT id FROM main.{ORIGIN} WHERE node_id = ?1 AND incarnation = ?2");
        let mut statement = self.connection.prepare_cached(&sql)?;
        Ok(statement.query_row(raw(origin), |row| row.get(0)).optional()?)
    }

    fn add(&self, origin: Origin) -> Result<i64, StoreError> {
        let sql = format!("INSERT INTO main.{ORIGIN}(node_id, incarnation) VALUES(?1, ?2) RETURNING id");
        Ok(self.connection.prepare_cached(&sql)?.query_row(raw(origin), |row| row.get(0))?)
    }

    fn learn(&self, number: i64, origin: Origin) {
        let mut known = self.known.borrow_mut();
        known.by_number.insert(number, origin);
        known.by_origin.insert(origin, number);
    }
}

fn raw(origin: Origin) -> [i64; 2] {
    [origin.raw_node() as i64, origin.raw_incarnation() as i64]
}
