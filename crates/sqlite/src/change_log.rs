//! The change log: which keys changed since when, and what of that is published (R2, R3).

use std::collections::{BTreeSet, HashMap, HashSet};

use harmonylite_core::conflict::{RowVersion, Version};
use harmonylite_core::limits::ROW_SIZE_MAX;
use harmonylite_core::model::{CanonicalKey, Hlc, Origin, RowChange, RowContent, Shard, Value};
use harmonylite_core::planted::{Bug, is_planted};

use crate::catalog::Table;
use crate::checkpoint::mark;
use crate::cuts::Cut;
use crate::error::StoreError;
use crate::meta::{CHANGE_LOG_GLOBAL, key, log_type};
use crate::row_version::TableRows;
use crate::session::Session;
use crate::table_sql;
use crate::value::values_of;

/// A stretch of the log: ids above `after` up to `through`.
pub(crate) struct Stretch {
    pub(crate) after: i64,
    pub(crate) through: i64,
    pub(crate) log_rows: usize,
    pub(crate) tables: BTreeSet<String>,
    /// Which of the places that were asked for are ends of log rows in it.
    pub(crate) ends: Vec<Cut>,
}

impl Stretch {
    /// The first `limit` log rows above `after`.
    pub(crate) fn read(session: &Session<'_>, after: i64, limit: usize) -> Result<Self, StoreError> {
        Self::read_ends(session, after, limit, &[])
    }

    /// The same, and which of `ends` are in it.
    pub(crate) fn read_ends(
        session: &Session<'_>,
        after: i64,
        limit: usize,
        ends: &[i64],
    ) -> Result<Self, StoreError> {
        Self::select(session, after, i64::MAX, limit, ends)
    }

    /// The log rows above `after` up to `through`.
    pub(crate) fn between(session: &Session<'_>, after: i64, through: i64) -> Result<Self, StoreError> {
        let stretch = Self::select(session, after, through, usize::MAX, &[])?;
        Ok(Self { through, ..stretch })
    }

    fn select(
        session: &Session<'_>,
        after: i64,
        through: i64,
        limit: usize,
        mut ends: &[i64],
    ) -> Result<Self, StoreError> {
        let sql = format!(
            "SELECT id, table_name FROM main.{CHANGE_LOG_GLOBAL} WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT ?3"
        );
        let mut statement = session.connection.prepare_cached(&sql)?;
        let mut rows = statement.query([after, through, i64::try_from(limit).unwrap_or(i64::MAX)])?;
        let mut stretch =
            Self { after, through: after, log_rows: 0, tables: BTreeSet::new(), ends: Vec::new() };
        while let Some(row) = rows.next()? {
            stretch.through = row.get(0)?;
            stretch.log_rows += 1;
            while let Some((end, others)) = ends.split_first().filter(|(end, _)| **end <= stretch.through) {
                if *end == stretch.through {
                    stretch.ends.push(Cut { through: *end, log_rows: stretch.log_rows });
                }
                ends = others;
            }
            let table = row.get_ref(1)?.as_str().unwrap_or_default();
            if !stretch.tables.contains(table) {
                stretch.tables.insert(table.to_owned());
            }
        }
        Ok(stretch)
    }

    /// Its replicated tables. Log rows of others are passed over: there is nobody who could read them.
    pub(crate) fn tables<'s>(&self, session: &Session<'s>) -> Vec<&'s Table> {
        self.tables.iter().filter_map(|name| session.catalog.tables.get(name)).map(AsRef::as_ref).collect()
    }
}

/// What a stretch of the log says of one key.
#[derive(Default)]
pub(crate) struct KeyEntries {
    /// As it was last written.
    pub(crate) key: Vec<Value>,
    /// The smallest id of any type.
    pub(crate) first: i64,
    /// The greatest id of any type.
    pub(crate) last: i64,
    /// The greatest id above `stamped` that is neither `maybe` nor `displaced`; 0 is none.
    pub(crate) fresh: i64,
    /// The greatest `maybe` above `stamped`; 0 is none.
    pub(crate) fresh_maybe: i64,
    /// There is a `displaced` one.
    pub(crate) displaced: bool,
}

impl KeyEntries {
    /// The clock of our own newest write that is not stamped yet (R2): a `maybe` is one only when the row is gone.
    pub(crate) fn own_clock(&self, present: bool) -> Option<Hlc> {
        let certain = present && !is_planted(Bug::MaybeAsTouch);
        let clock = if certain { self.fresh } else { self.fresh.max(self.fresh_maybe) };
        Hlc::new(clock).filter(|clock| *clock > Hlc::ZERO)
    }
}

/// The keys of `table` in `stretch` that have ids above `floor` of their shard, in the order of their last ids.
pub(crate) fn entries(
    session: &Session<'_>,
    table: &Table,
    stretch: &Stretch,
    stamped: i64,
    floor: impl Fn(Shard) -> i64,
) -> Result<Vec<(CanonicalKey, Shard, KeyEntries)>, StoreError> {
    let mut found: HashMap<CanonicalKey, (Shard, KeyEntries)> = HashMap::new();
    let each = |id, kind: &str, key: Vec<Value>| {
        let (canonical, shard) = session.place(table, &key);
        if id > floor(shard) {
            let (_, entries) = found.entry(canonical).or_insert_with(|| (shard, KeyEntries::default()));
            entries.add(id, kind, key, stamped);
        }
    };
    each_log_row(session, table, stretch.after, stretch.through, each)?;
    let mut ordered: Vec<_> =
        found.into_iter().map(|(key, (shard, entries))| (key, shard, entries)).collect();
    ordered.sort_unstable_by_key(|(_, _, entries)| entries.last);
    Ok(ordered)
}

impl KeyEntries {
    fn add(&mut self, id: i64, kind: &str, key: Vec<Value>, stamped: i64) {
        self.key = key;
        if self.first == 0 {
            self.first = id;
        }
        self.last = id;
        match kind {
            log_type::DISPLACED => self.displaced = true,
            _ if id <= stamped && !is_planted(Bug::ImageUnderOtherVersion) => {}
            log_type::MAYBE => self.fresh_maybe = id,
            _ => self.fresh = id,
        }
    }
}

/// Calls `each` with id, type and key of the log rows of `table` above `after` up to `through`, in order.
pub(crate) fn each_log_row(
    session: &Session<'_>,
    table: &Table,
    after: i64,
    through: i64,
    mut each: impl FnMut(i64, &str, Vec<Value>),
) -> Result<(), StoreError> {
    let mut statement = session.connection.prepare_cached(&table_sql::select_log(table))?;
    let mut rows = statement.query([after, through])?;
    while let Some(row) = rows.next()? {
        let kind = row.get_ref(1)?.as_str().unwrap_or_default();
        each(row.get(0)?, kind, values_of(row, 2, table.schema.key.len())?);
    }
    Ok(())
}

/// The versions under which R3 sends, as things stand, the rows of `table` on `shard` whose newest log rows are in
/// `stretch`.
pub(crate) fn to_publish(
    session: &Session<'_>,
    table: &Table,
    stretch: &Stretch,
    shard: Shard,
) -> Result<Vec<Version>, StoreError> {
    let stamped = mark(session.connection, key::STAMPED)?;
    let floor = |of: Shard| if of == shard { stretch.after } else { i64::MAX };
    let mut found = Vec::new();
    let mut rows = session.rows(table);
    let entries = entries(session, table, stretch, stamped, floor)?;
    let keys: HashSet<&CanonicalKey> = entries.iter().map(|(key, _, _)| key).collect();
    let beyond = beyond(session, table, stretch.through, &keys)?;
    for (canonical, _, entries) in &entries {
        let beyond = beyond.get(canonical).copied();
        if let Some(change) = decide(&mut rows, session.own, entries, stretch.after, beyond)?.change
            && size_of(&change) <= ROW_SIZE_MAX
        {
            found.push(change.version.version);
        }
    }
    Ok(found)
}

/// Which of `keys` have log rows above `through`.
pub(crate) fn beyond(
    session: &Session<'_>,
    table: &Table,
    through: i64,
    keys: &HashSet<&CanonicalKey>,
) -> Result<HashMap<CanonicalKey, Beyond>, StoreError> {
    let mut beyond = HashMap::new();
    each_log_row(session, table, through, i64::MAX, |_, kind, key| {
        let canonical = CanonicalKey::of(&table.schema, &key);
        if keys.contains(&canonical) {
            let found = if kind == log_type::MAYBE { Beyond::Maybe } else { Beyond::Change };
            let known = beyond.entry(canonical).or_insert(found);
            *known = (*known).max(found);
        }
    })?;
    Ok(beyond)
}

/// The version that a write of ours with `clock` has. Its base is what was there before our first write that is not
/// published yet (R5).
pub(crate) fn own_version(
    clock: Hlc,
    own: Origin,
    present: bool,
    stored: Option<&RowVersion>,
    floor: i64,
) -> RowVersion {
    let base = match stored {
        Some(stored) if is_pending(stored, own, floor) => stored.base,
        Some(stored) => stored.version,
        None => Version::NONE,
    };
    let version = Version { hlc: clock, origin: own, displaced: false };
    RowVersion { version, tombstone: !present, base }
}

/// Is the stored version a write of ours that is not published yet? Its clock is then an id of the log above `floor`.
fn is_pending(stored: &RowVersion, own: Origin, floor: i64) -> bool {
    stored.version.origin == own && stored.version.hlc.get() > floor
}

/// What stands in the log beyond the end of a cut, for a key within it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Beyond {
    Maybe,
    Change,
}

impl Beyond {
    /// Is the key left to the next change set? A `maybe` alone says nothing of a row that is there.
    fn leaves_out(self, present: bool) -> bool {
        self == Self::Change || !present
    }
}

/// What becomes of a key in a change set.
#[derive(Default)]
pub(crate) struct Decided {
    /// What is published.
    pub(crate) change: Option<RowChange>,
    /// Its newest `maybe` is no delete: the row is there.
    pub(crate) spared: bool,
}

/// R3: what of a key is published, if anything. Never an image with a version that is not the key's newest in this
/// snapshot.
pub(crate) fn decide(
    rows: &mut TableRows<'_>,
    own: Origin,
    entries: &KeyEntries,
    floor: i64,
    beyond: Option<Beyond>,
) -> Result<Decided, StoreError> {
    let image = rows.row(&entries.key)?;
    let present = image.is_some();
    if beyond.is_some_and(|beyond| beyond.leaves_out(present)) {
        return Ok(Decided::default());
    }
    let stored = rows.version(&entries.key)?;
    let fresh =
        entries.own_clock(present).map(|clock| own_version(clock, own, present, stored.as_ref(), floor));
    let newer = |fresh: &RowVersion| {
        stored.is_none_or(|stored| fresh.version > stored.version) || is_planted(Bug::ImageUnderOtherVersion)
    };
    let published = match fresh.filter(newer) {
        Some(fresh) => Some(fresh),
        // Everything of ours on this key is stamped: the stored version alone decides.
        None => stored.filter(|stored| {
            is_pending(stored, own, floor) || (entries.displaced && stored.version.displaced)
        }),
    };
    let change = published.and_then(|version| change(version, image, &entries.key));
    Ok(Decided { change, spared: present && entries.fresh_maybe > 0 })
}

fn change(version: RowVersion, image: Option<Vec<Value>>, key: &[Value]) -> Option<RowChange> {
    let content = match image {
        _ if version.tombstone => RowContent::Delete(key.to_vec()),
        Some(values) => RowContent::Upsert(values),
        // The row went without a log row: there is no image that this version could have.
        None => return None,
    };
    Some(RowChange { version, content })
}

pub(crate) fn size_of(change: &RowChange) -> usize {
    match &change.content {
        RowContent::Upsert(values) | RowContent::Delete(values) => values.iter().map(Value::size).sum(),
    }
}
