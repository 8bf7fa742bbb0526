//! When a mirrored trigger fails (an FTS index that does not fit its rows, for one), the row is written all the same and
//! the virtual table is left behind: it can be made anew from the rows, never the rows from it.
//!
//! Which of both failed, SQLite does not tell. So a set that fails is tried without the triggers, which shows the rows
//! that fail by themselves; without those, it is tried with the triggers again.

use rusqlite::Connection;

use super::Work;
use super::halt::Halt;
use crate::catalog::Table;
use crate::error::{StoreError, StoreErrorKind};
use crate::mirror::{self, Mirror};

/// Rows that could not be written: their places in the set, with SQLite's words.
pub(crate) type FailedRows = Vec<(usize, String)>;

/// Attempts to write one set, with or without the mirrored triggers of its table.
pub(crate) struct Trial<'t> {
    mirrors: &'t [Mirror],
    stage: Stage,
    /// Do the triggers stand?
    on: bool,
    /// What the triggers failed with.
    error: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// With the triggers.
    First,
    /// Without them, to see which rows fail by themselves. `found`: some do.
    Without { found: bool },
    /// With them, and without those rows.
    Again,
    /// Without the triggers: there are none, or they have failed.
    Plain,
}

/// What becomes of an attempt.
pub(crate) enum Outcome {
    /// It stands.
    Done,
    /// It is to be rolled back and made again, without these rows.
    Repeat(FailedRows),
}

impl<'t> Trial<'t> {
    /// For a set of `table`. Triggers that failed earlier in this transaction stay away.
    pub(crate) fn new(work: &Work<'_, 't>, table: &Table) -> Self {
        let name = &table.schema.name;
        let mirrors = work.session.catalog.mirrors.get(name).map_or(&[][..], Vec::as_slice);
        let on = !mirrors.is_empty() && !work.failed_mirrors.contains_key(name);
        Self { mirrors, stage: if on { Stage::First } else { Stage::Plain }, on, error: None }
    }

    /// Judges an attempt. An error that has nothing to do with the triggers is handed on.
    pub(crate) fn judge(&mut self, attempt: Result<FailedRows, Halt>) -> Result<Outcome, Halt> {
        let with_triggers = matches!(self.stage, Stage::First | Stage::Again);
        let failed = match attempt {
            Ok(failed) => failed,
            Err(halt) if with_triggers && may_be_a_trigger(&halt) => return Ok(self.blame(words(halt))),
            Err(halt) => return Err(halt),
        };
        if let (true, Some((_, error))) = (with_triggers, failed.first()) {
            return Ok(self.blame(error.clone()));
        }
        Ok(match (self.stage, failed.is_empty()) {
            (Stage::Without { .. }, false) => {
                self.stage = Stage::Without { found: true };
                Outcome::Repeat(failed)
            }
            (Stage::Without { found: true }, true) => {
                self.stage = Stage::Again;
                Outcome::Repeat(failed)
            }
            (_, false) => Outcome::Repeat(failed),
            (_, true) => Outcome::Done,
        })
    }

    fn blame(&mut self, error: String) -> Outcome {
        self.stage = match self.stage {
            Stage::First => Stage::Without { found: false },
            _ => Stage::Plain,
        };
        self.error = Some(error);
        Outcome::Repeat(FailedRows::new())
    }

    /// Makes or drops the triggers as the next attempt needs them.
    pub(crate) fn prepare(&mut self, connection: &Connection) -> Result<(), StoreError> {
        let wanted = matches!(self.stage, Stage::First | Stage::Again);
        if wanted && !self.on {
            mirror::switch_on(connection, self.mirrors)?;
        } else if !wanted && self.on {
            mirror::switch_off(connection, self.mirrors)?;
        }
        self.on = wanted;
        Ok(())
    }

    /// What the triggers failed with, when the set stands without them.
    pub(crate) fn failure(self) -> Option<String> {
        self.error.filter(|_| !self.on)
    }
}

/// Errors of the file and of the moment are none of a trigger.
fn may_be_a_trigger(halt: &Halt) -> bool {
    match halt {
        Halt::Source(_) => true,
        Halt::Store(error) => error.kind == StoreErrorKind::Sqlite,
    }
}

fn words(halt: Halt) -> String {
    match halt {
        Halt::Source(harmonylite_core::input::ApplyFailure::Source { reason, .. }) => reason,
        Halt::Source(other) => format!("{other:?}"),
        Halt::Store(error) => error.message,
    }
}
