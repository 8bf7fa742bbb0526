//! Reading the log: in one snapshot, joined with the rows as they are there, cut into change sets and by shard (R3).

use std::collections::{BTreeMap, HashMap};
use std::vec;

use harmonylite_core::codec::{BodyWriter, EncodeError, EncodedBody};
use harmonylite_core::effect::{PublishedPositions, ReadLog};
use harmonylite_core::input::{ChangeSet, LogRead};
use harmonylite_core::limits::{GROUPS_UNDER_WAY_MAX, ROW_SIZE_MAX};
use harmonylite_core::model::{CanonicalKey, LogPosition, RowChange, RowContent, Shard};

use crate::Store;
use crate::catalog::Table;
use crate::change_log::{Beyond, KeyEntries, Stretch, beyond, decide, entries, size_of};
use crate::checkpoint::{Floors, count_log_rows, mark};
use crate::cuts::{Cut, Cuts, Span, cuts};
use crate::error::{StoreError, StoreErrorKind};
use crate::limits::Limits;
use crate::meta::key;
use crate::row_version::TableRows;
use crate::session::Session;

/// The answer to a request for what is new in the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogReadOutcome {
    /// The change sets; none when nothing is new.
    Read(LogRead),
    /// The schema is not the one that the triggers were made for: read it first.
    SchemaChanged,
}

impl Store {
    /// Reads the log above `request.settled` in one snapshot, joined with the rows as they are there, cut into change sets
    /// and by shard, and encoded. Writes nothing.
    pub fn read_log(&mut self, request: &ReadLog) -> Result<LogReadOutcome, StoreError> {
        let ends = self.log_ends_above(request.settled.get());
        let _snapshot = self.begin_read()?;
        if self.schema_differs()? {
            return Ok(LogReadOutcome::SchemaChanged);
        }
        let session = Session::new(self);
        let mut limit = self.limits.group_rows;
        loop {
            match Reading::new(&session, request, &self.limits)?.read(limit, &ends)? {
                Attempt::Read(read) => return Ok(LogReadOutcome::Read(read)),
                Attempt::TooLarge { log_rows } => limit = (log_rows / 2).max(1),
            }
        }
    }
}

enum Attempt {
    Read(LogRead),
    /// The rows are above the limit on bytes: try again with fewer.
    TooLarge {
        log_rows: usize,
    },
}

/// One attempt at reading the log.
struct Reading<'r, 's> {
    session: &'r Session<'s>,
    request: &'r ReadLog,
    limits: &'r Limits,
    published: PublishedPositions,
    stamped: i64,
    bytes: usize,
    writers: BTreeMap<Shard, BodyWriter>,
    /// Of the set that is being made.
    groups: BTreeMap<Shard, Vec<EncodedBody>>,
    read: LogRead,
}

/// What a stretch of the log says of one table.
struct TableLog<'r> {
    table: &'r Table,
    rows: TableRows<'r>,
    /// In the order of their last ids; those of the sets before are taken out.
    entries: vec::IntoIter<(CanonicalKey, Shard, KeyEntries)>,
    beyond: HashMap<CanonicalKey, Beyond>,
}

impl<'r, 's> Reading<'r, 's> {
    fn new(session: &'r Session<'s>, request: &'r ReadLog, limits: &'r Limits) -> Result<Self, StoreError> {
        let published = PublishedPositions { settled: request.settled, by_shard: request.published.clone() };
        Ok(Self {
            session,
            request,
            limits,
            published,
            stamped: mark(session.connection, key::STAMPED)?,
            bytes: 0,
            writers: BTreeMap::new(),
            groups: BTreeMap::new(),
            read: LogRead::default(),
        })
    }

    /// Reads at most `limit` log rows; a change set may end at `ends`.
    fn read(mut self, limit: usize, ends: &[i64]) -> Result<Attempt, StoreError> {
        let session = self.session;
        let stretch = Stretch::read_ends(session, self.request.settled.get(), limit, ends)?;
        if stretch.log_rows == 0 {
            return Ok(Attempt::Read(self.read));
        }
        let complete = stretch.log_rows < limit;
        if !complete {
            self.read.remaining_rows = count_log_rows(session.connection, stretch.through + 1, i64::MAX)?;
        }
        let mut tables = Vec::new();
        for table in stretch.tables(session) {
            tables.push(self.table_log(table, &stretch)?);
        }
        let Cuts { sets, closed_early } = self.cuts(&stretch, &tables);
        self.read.closed_early = closed_early;
        let mut before = 0;
        for cut in sets {
            let too_large = self.read.too_large.len();
            for table in &mut tables {
                self.read_table(table, cut.through)?;
            }
            if self.bytes > self.limits.group_bytes && stretch.log_rows > 1 {
                if self.read.sets.is_empty() {
                    return Ok(Attempt::TooLarge { log_rows: stretch.log_rows });
                }
                // What is finished goes; the rest is read again.
                self.read.too_large.truncate(too_large);
                break;
            }
            self.finish_set(cut, cut.log_rows - before)?;
            before = cut.log_rows;
        }
        self.read.remaining_rows += (stretch.log_rows - before) as u64;
        Ok(Attempt::Read(self.read))
    }

    fn table_log(&self, table: &'r Table, stretch: &Stretch) -> Result<TableLog<'r>, StoreError> {
        let floors = Floors(&self.published);
        let entries = entries(self.session, table, stretch, self.stamped, |shard| floors.of(shard))?;
        let beyond = self.beyond(table, stretch, &entries)?;
        let rows = self.session.rows(table);
        Ok(TableLog { table, rows, entries: entries.into_iter(), beyond })
    }

    fn cuts(&self, stretch: &Stretch, tables: &[TableLog<'_>]) -> Cuts {
        let end = Cut { through: stretch.through, log_rows: stretch.log_rows };
        let spans = tables.iter().flat_map(TableLog::spans);
        // The last set comes on top.
        let sets_max =
            (GROUPS_UNDER_WAY_MAX / usize::from(self.session.shards).max(1)).saturating_sub(1).max(1);
        let keys: usize = tables.iter().map(|table| table.entries.len()).sum();
        let rows = self.limits.set_rows.max(keys.div_ceil(sets_max));
        cuts(end, self.read.remaining_rows == 0, &stretch.ends, spans, rows)
    }

    /// The keys of one table whose last log row is at or before `through`.
    fn read_table(&mut self, log: &mut TableLog<'r>, through: i64) -> Result<(), StoreError> {
        let session = self.session;
        while let Some((canonical, shard, entries)) = log.next_through(through) {
            let floor = Floors(&self.published).of(shard);
            let beyond = log.beyond.get(&canonical).copied();
            let decided = decide(&mut log.rows, session.own, &entries, floor, beyond)?;
            if decided.spared {
                session.sent.spare(entries.fresh_maybe);
            }
            if let Some(change) = decided.change {
                self.note(log.table, &change);
                self.push(log.table, shard, &change)?;
            }
            if self.bytes > self.limits.group_bytes {
                break;
            }
        }
        Ok(())
    }

    /// The content that goes out under a clock that is not stamped yet.
    fn note(&self, table: &Table, change: &RowChange) {
        let version = change.version.version;
        if version.origin == self.session.own && !version.displaced && version.hlc.get() > self.stamped {
            let digest = match &change.content {
                RowContent::Upsert(values) => Some(table.shape.digest(values)),
                RowContent::Delete(_) => None,
            };
            self.session.sent.note(version.hlc, digest);
        }
    }

    /// Which of the keys have log rows beyond the end of the cut.
    fn beyond(
        &self,
        table: &Table,
        stretch: &Stretch,
        entries: &[(CanonicalKey, Shard, KeyEntries)],
    ) -> Result<HashMap<CanonicalKey, Beyond>, StoreError> {
        if self.read.remaining_rows == 0 {
            return Ok(HashMap::new());
        }
        let keys = entries.iter().map(|(key, _, _)| key).collect();
        beyond(self.session, table, stretch.through, &keys)
    }

    fn push(&mut self, table: &Table, shard: Shard, change: &RowChange) -> Result<(), StoreError> {
        let size = size_of(change);
        if size > ROW_SIZE_MAX {
            self.read.too_large.push((table.schema.name.clone(), size));
            return Ok(());
        }
        let compress = self.request.compress;
        let writer = self.writers.entry(shard).or_insert_with(|| BodyWriter::new(compress));
        match writer.push(&table.schema, table.fingerprint, change) {
            Ok(()) => self.bytes += size,
            Err(EncodeError::RowTooLarge { size, .. }) => {
                self.read.too_large.push((table.schema.name.clone(), size));
            }
            Err(error) => return Err(encoding(&error)),
        }
        if writer.raw_size() >= self.limits.body_size {
            self.close(shard)?;
        }
        Ok(())
    }

    fn close(&mut self, shard: Shard) -> Result<(), StoreError> {
        if let Some(writer) = self.writers.remove(&shard).filter(|writer| writer.rows() > 0) {
            let body: EncodedBody = writer.finish().map_err(|error| encoding(&error))?;
            self.groups.entry(shard).or_default().push(body);
        }
        Ok(())
    }

    fn finish_set(&mut self, cut: Cut, log_rows: usize) -> Result<(), StoreError> {
        let open: Vec<_> = self.writers.keys().copied().collect();
        for shard in open {
            self.close(shard)?;
        }
        self.read.sets.push(ChangeSet {
            through: LogPosition::new(cut.through).unwrap_or_default(),
            log_rows: log_rows as u64,
            groups: std::mem::take(&mut self.groups),
        });
        Ok(())
    }
}

impl TableLog<'_> {
    fn spans(&self) -> impl Iterator<Item = Span> {
        self.entries.as_slice().iter().map(|(canonical, _, entries)| Span {
            first: entries.first,
            last: entries.last,
            goes_on: self.beyond.contains_key(canonical),
        })
    }

    fn next_through(&mut self, through: i64) -> Option<(CanonicalKey, Shard, KeyEntries)> {
        let (_, _, entries) = self.entries.as_slice().first()?;
        if entries.last <= through { self.entries.next() } else { None }
    }
}

fn encoding(error: &EncodeError) -> StoreError {
    StoreError::new(StoreErrorKind::Sqlite, format!("a row cannot be encoded: {error}"))
}
