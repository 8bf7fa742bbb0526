//! The body of a frame, format version 1: rows as CBOR.

use std::collections::BTreeMap;

use super::cbor::{self, Reader};
use super::compression;
use super::{DecodeError, EncodeError};
use crate::conflict::{RowVersion, Version};
use crate::limits::{BODY_ITEMS_MAX, BODY_RAW_SIZE_MAX, COLUMNS_MAX, ROW_SIZE_MAX};
use crate::model::{Hlc, Origin, RowChange, RowContent, TableSchema, Value};
use crate::schema::TableFingerprint;

/// The row is gone: its values are the key's.
const FLAG_DELETE: u64 = 1;
/// Its version is displaced (R1).
const FLAG_DISPLACED: u64 = 2;
/// The version that its writer saw was displaced.
const FLAG_BASE_DISPLACED: u64 = 4;
const FLAGS_ALL: u64 = FLAG_DELETE | FLAG_DISPLACED | FLAG_BASE_DISPLACED;
/// Items of a row before its values: flags, clock, origin, clock and origin of the base.
const ROW_HEAD_ITEMS: usize = 5;
/// Items of a body: origins, sections.
const BODY_ITEMS: usize = 2;
/// Items of a section: table, fingerprint, columns, rows.
const SECTION_ITEMS: usize = 4;
/// Items of an origin: node, incarnation.
const ORIGIN_ITEMS: usize = 2;

/// A body as it travels.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EncodedBody {
    /// The bytes, compressed or not.
    pub bytes: Vec<u8>,
    /// Are they?
    pub compressed: bool,
    /// Bytes before compression.
    pub raw_size: u32,
    /// Rows.
    pub rows: u32,
}

/// Rows of one table in a body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TableChanges {
    /// The table's name.
    pub table: String,
    /// Its fingerprint at the origin.
    pub fingerprint: TableFingerprint,
    /// The columns of an upsert's values, in their order.
    pub columns: Vec<String>,
    /// The rows; each key occurs once in a group.
    pub rows: Vec<RowChange>,
}

/// A decoded body.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Body {
    /// By table.
    pub tables: Vec<TableChanges>,
}

/// Writes one body, row by row.
#[derive(Debug)]
pub struct BodyWriter {
    compress: bool,
    rows: usize,
    /// Index in the origin table, from 1; 0 is [`Origin::NONE`] and not written.
    origin_indexes: BTreeMap<Origin, u64>,
    /// The origin table's items.
    origins: Vec<u8>,
    /// The sections, the last one still open.
    sections: Vec<u8>,
    /// The table of the open section.
    open: Option<(String, TableFingerprint)>,
}

impl BodyWriter {
    /// An empty body.
    #[must_use]
    pub fn new(compress: bool) -> Self {
        Self {
            compress,
            rows: 0,
            origin_indexes: BTreeMap::new(),
            origins: Vec::new(),
            sections: Vec::new(),
            open: None,
        }
    }

    /// Adds a row. Rows of one table should come one after another: each change of table starts a new section.
    /// The table's values are those of `table.columns`, in that order; the order may not change within a body.
    ///
    /// # Errors
    ///
    /// [`EncodeError::RowTooLarge`]: the row was not added, and others still can be.
    pub fn push(
        &mut self,
        table: &TableSchema,
        fingerprint: TableFingerprint,
        change: &RowChange,
    ) -> Result<(), EncodeError> {
        let (deleted, values) = match &change.content {
            RowContent::Upsert(values) => (false, values),
            RowContent::Delete(key) => (true, key),
        };
        debug_assert_eq!(deleted, change.version.tombstone, "delete exactly when the version is a tombstone");
        debug_assert_eq!(values.len(), if deleted { table.key.len() } else { table.columns.len() });
        let size = values.iter().map(Value::size).sum();
        if size > ROW_SIZE_MAX {
            return Err(EncodeError::RowTooLarge { size, limit: ROW_SIZE_MAX });
        }
        self.open_section(table, fingerprint);
        self.write_row(&change.version, deleted, values);
        self.rows += 1;
        Ok(())
    }

    /// Bytes so far, before compression: exactly what [`BodyWriter::finish`] gives.
    #[must_use]
    pub fn raw_size(&self) -> usize {
        if self.rows == 0 {
            return 0;
        }
        let heads = cbor::array_head_size(BODY_ITEMS) + cbor::array_head_size(self.origin_indexes.len());
        let open_and_breaks = 3;
        heads + self.origins.len() + self.sections.len() + open_and_breaks
    }

    /// Rows so far.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The finished body; one without rows has no bytes at all.
    ///
    /// # Errors
    ///
    /// [`EncodeError::Compression`], never on well-formed memory.
    pub fn finish(self) -> Result<EncodedBody, EncodeError> {
        let (compress, rows) = (self.compress, clamp(self.rows));
        let raw = self.into_raw();
        let raw_size = clamp(raw.len());
        let compressed = if compress { compression::compress(&raw)? } else { None };
        Ok(match compressed {
            Some(bytes) => EncodedBody { bytes, compressed: true, raw_size, rows },
            None => EncodedBody { bytes: raw, compressed: false, raw_size, rows },
        })
    }

    /// Origins first, so that a reader knows them when it comes to the rows.
    fn into_raw(self) -> Vec<u8> {
        let mut raw = Vec::with_capacity(self.raw_size());
        if self.rows > 0 {
            cbor::write_array(&mut raw, BODY_ITEMS);
            cbor::write_array(&mut raw, self.origin_indexes.len());
            raw.extend_from_slice(&self.origins);
            raw.push(cbor::OPEN_ARRAY);
            raw.extend_from_slice(&self.sections);
            raw.extend_from_slice(&[cbor::BREAK, cbor::BREAK]);
        }
        raw
    }

    fn open_section(&mut self, table: &TableSchema, fingerprint: TableFingerprint) {
        if let Some((name, open)) = &self.open {
            if *open == fingerprint && *name == table.name {
                return;
            }
            self.sections.push(cbor::BREAK);
        }
        cbor::write_array(&mut self.sections, SECTION_ITEMS);
        cbor::write_text(&mut self.sections, &table.name);
        cbor::write_uint(&mut self.sections, fingerprint.0);
        cbor::write_array(&mut self.sections, table.columns.len());
        for column in &table.columns {
            cbor::write_text(&mut self.sections, &column.name);
        }
        self.sections.push(cbor::OPEN_ARRAY);
        self.open = Some((table.name.clone(), fingerprint));
    }

    fn write_row(&mut self, row: &RowVersion, deleted: bool, values: &[Value]) {
        let flag = |set: bool, flag: u64| if set { flag } else { 0 };
        let flags = flag(deleted, FLAG_DELETE)
            | flag(row.version.displaced, FLAG_DISPLACED)
            | flag(row.base.displaced, FLAG_BASE_DISPLACED);
        cbor::write_array(&mut self.sections, ROW_HEAD_ITEMS + values.len());
        cbor::write_uint(&mut self.sections, flags);
        self.write_version(&row.version);
        self.write_version(&row.base);
        for value in values {
            cbor::write_value(&mut self.sections, value);
        }
    }

    fn write_version(&mut self, version: &Version) {
        let origin = self.origin_index(version.origin);
        cbor::write_uint(&mut self.sections, version.hlc.get().unsigned_abs());
        cbor::write_uint(&mut self.sections, origin);
    }

    fn origin_index(&mut self, origin: Origin) -> u64 {
        if origin == Origin::NONE {
            return 0;
        }
        if let Some(index) = self.origin_indexes.get(&origin) {
            return *index;
        }
        let index = self.origin_indexes.len() as u64 + 1;
        self.origin_indexes.insert(origin, index);
        cbor::write_array(&mut self.origins, ORIGIN_ITEMS);
        cbor::write_uint(&mut self.origins, origin.raw_node());
        cbor::write_uint(&mut self.origins, origin.raw_incarnation());
        index
    }
}

/// Decodes a body: `bytes` are all its pieces joined. Bounded: never allocates more than
/// [`BODY_RAW_SIZE_MAX`](crate::limits::BODY_RAW_SIZE_MAX) and a constant factor for the values.
///
/// # Errors
///
/// [`DecodeError::TooLarge`] or [`DecodeError::Invalid`], on whatever bytes.
pub fn decode_body(bytes: &[u8], compressed: bool, raw_size: u32) -> Result<Body, DecodeError> {
    let size = raw_size as usize;
    check_raw_size(raw_size)?;
    if bytes.len() > size || (!compressed && bytes.len() < size) {
        return Err(DecodeError::Invalid(format!("body: {} bytes for {raw_size}", bytes.len())));
    }
    match (size, compressed) {
        (0, _) => Ok(Body::default()),
        (_, true) => read_body(&compression::expand(bytes, size)?),
        (_, false) => read_body(bytes),
    }
}

/// Is a body of that many bytes one that we expand?
pub(super) fn check_raw_size(raw_size: u32) -> Result<(), DecodeError> {
    if raw_size as usize <= BODY_RAW_SIZE_MAX {
        return Ok(());
    }
    let limit = BODY_RAW_SIZE_MAX as u64;
    Err(DecodeError::TooLarge { what: "body size", found: raw_size.into(), limit })
}

fn read_body(raw: &[u8]) -> Result<Body, DecodeError> {
    let mut reader = Reader::new("body", raw);
    reader.array_of("body", BODY_ITEMS as u64)?;
    let origins = read_origins(&mut reader)?;
    reader.open_array("sections")?;
    let (mut tables, mut items) = (Vec::new(), 0);
    while !reader.at_break() {
        tables.push(read_section(&mut reader, &origins, &mut items)?);
    }
    if reader.remaining() > 0 {
        return Err(reader.invalid("bytes after the end"));
    }
    Ok(Body { tables })
}

/// The origin table, with [`Origin::NONE`] at index 0.
fn read_origins(reader: &mut Reader<'_>) -> Result<Vec<Origin>, DecodeError> {
    let mut origins = vec![Origin::NONE];
    for _ in 0..reader.array("origins")? {
        reader.array_of("origin", ORIGIN_ITEMS as u64)?;
        let (node, incarnation) = (reader.uint("node")?, reader.uint("incarnation")?);
        let origin = Origin::from_raw(node, incarnation).filter(|origin| *origin != Origin::NONE);
        origins.push(origin.ok_or_else(|| reader.invalid("origin out of range"))?);
    }
    Ok(origins)
}

/// `items` counts those of all rows of the body.
fn read_section(
    reader: &mut Reader<'_>,
    origins: &[Origin],
    items: &mut usize,
) -> Result<TableChanges, DecodeError> {
    reader.array_of("section", SECTION_ITEMS as u64)?;
    let table = reader.text("table")?.to_owned();
    let fingerprint = TableFingerprint(reader.uint("fingerprint")?);
    let columns = read_columns(reader)?;
    reader.open_array("rows")?;
    let mut rows = Vec::new();
    while !reader.at_break() {
        rows.push(read_row(reader, origins, columns.len(), items)?);
    }
    Ok(TableChanges { table, fingerprint, columns, rows })
}

fn read_columns(reader: &mut Reader<'_>) -> Result<Vec<String>, DecodeError> {
    let count = reader.array("columns")?;
    if count == 0 || count > COLUMNS_MAX as u64 {
        return Err(reader.invalid(&format!("{count} columns")));
    }
    let mut columns = Vec::with_capacity(reader.remaining().min(count as usize));
    for _ in 0..count {
        columns.push(reader.text("column")?.to_owned());
    }
    if has_duplicate(&columns) {
        return Err(reader.invalid("a column twice"));
    }
    Ok(columns)
}

/// SQLite's column names differ in more than the case of ASCII letters.
fn has_duplicate(columns: &[String]) -> bool {
    let mut folded: Vec<_> = columns.iter().map(|column| column.to_ascii_lowercase()).collect();
    folded.sort_unstable();
    folded.windows(2).any(|pair| pair[0] == pair[1])
}

fn read_row(
    reader: &mut Reader<'_>,
    origins: &[Origin],
    columns: usize,
    items_so_far: &mut usize,
) -> Result<RowChange, DecodeError> {
    let items = reader.array("row")?;
    let flags = reader.uint("flags")?;
    if flags & !FLAGS_ALL != 0 {
        return Err(reader.invalid("unknown flags of a row"));
    }
    let tombstone = flags & FLAG_DELETE != 0;
    let version = read_version(reader, origins, flags & FLAG_DISPLACED != 0)?;
    let base = read_version(reader, origins, flags & FLAG_BASE_DISPLACED != 0)?;
    let count = value_count(reader, items, tombstone, columns)?;
    *items_so_far += ROW_HEAD_ITEMS + count;
    if *items_so_far > BODY_ITEMS_MAX {
        let (found, limit) = (*items_so_far as u64, BODY_ITEMS_MAX as u64);
        return Err(DecodeError::TooLarge { what: "items of a body", found, limit });
    }
    let values = read_values(reader, count)?;
    let content = if tombstone { RowContent::Delete(values) } else { RowContent::Upsert(values) };
    Ok(RowChange { version: RowVersion { version, tombstone, base }, content })
}

/// All columns of a row that is there; of one that is gone, those of the key: at least one.
fn value_count(
    reader: &Reader<'_>,
    items: u64,
    tombstone: bool,
    columns: usize,
) -> Result<usize, DecodeError> {
    let count = usize::try_from(items).unwrap_or(usize::MAX).saturating_sub(ROW_HEAD_ITEMS);
    let fits = if tombstone { (1..=columns).contains(&count) } else { count == columns };
    if fits { Ok(count) } else { Err(reader.invalid(&format!("{count} values for {columns} columns"))) }
}

fn read_values(reader: &mut Reader<'_>, count: usize) -> Result<Vec<Value>, DecodeError> {
    let mut values = Vec::with_capacity(reader.remaining().min(count));
    for _ in 0..count {
        values.push(reader.value()?);
    }
    Ok(values)
}

fn read_version(
    reader: &mut Reader<'_>,
    origins: &[Origin],
    displaced: bool,
) -> Result<Version, DecodeError> {
    let clock = i64::try_from(reader.uint("clock")?).ok().and_then(Hlc::new);
    let hlc = clock
        .filter(|clock| *clock < Hlc::FOREIGN_END)
        .ok_or_else(|| reader.invalid("clock out of range"))?;
    let index = usize::try_from(reader.uint("origin index")?).unwrap_or(usize::MAX);
    let origin = *origins.get(index).ok_or_else(|| reader.invalid("origin index out of range"))?;
    Ok(Version { hlc, origin, displaced })
}

/// Sizes here are bounded far below 4 GiB by `limits`.
fn clamp(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
