//! What the applications wrote, and what they saw when they did: the truth that the nodes are judged by.

use std::collections::BTreeMap;

/// A table and a key in it, as text.
pub(crate) type RowKey = (&'static str, String);

/// One committed write of one row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Write {
    /// From 1.
    pub(crate) node: u64,
    pub(crate) row: RowKey,
    /// The id that the trigger gave it.
    pub(crate) clock: i64,
    /// The whole row as `quote()` shows it; `None` is a delete.
    pub(crate) image: Option<String>,
}

/// A write, and what became of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(crate) write: Write,
    /// Its machine lost the commit: it need not be anywhere. It may be, when it was sent before.
    pub(crate) lost: bool,
    /// Somebody who saw it wrote after it: it is no conflict that it is gone.
    pub(crate) succeeded: bool,
}

/// All writes of a run, in the order of their commits.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    entries: Vec<Entry>,
    by_row: BTreeMap<RowKey, Vec<usize>>,
    by_node: BTreeMap<u64, Vec<usize>>,
}

impl Journal {
    /// The writes that put `image` into the row, the oldest first: a cascade may write the same row again.
    pub(crate) fn writers_of(&self, row: &RowKey, image: &str) -> Vec<usize> {
        let it = |entry: &Entry| entry.write.image.as_deref() == Some(image);
        self.of_row(row).filter(|(_, entry)| it(entry)).map(|(index, _)| index).collect()
    }

    /// The writes with that clock, by that node: after an older copy was put back, the id of a lost write may be given
    /// to another one.
    pub(crate) fn with_version(&self, row: &RowKey, clock: i64, node: u64) -> Vec<usize> {
        let it = |entry: &Entry| (entry.write.clock, entry.write.node) == (clock, node);
        self.of_row(row).filter(|(_, entry)| it(entry)).map(|(index, _)| index).collect()
    }

    pub(crate) fn entry(&self, index: usize) -> Option<&Entry> {
        self.entries.get(index)
    }

    /// A commit.
    pub(crate) fn record(&mut self, write: Write) {
        let index = self.entries.len();
        self.by_row.entry(write.row.clone()).or_default().push(index);
        self.by_node.entry(write.node).or_default().push(index);
        self.entries.push(Entry { write, lost: false, succeeded: false });
    }

    /// Somebody who saw this write wrote the row again.
    pub(crate) fn succeed(&mut self, index: usize) {
        if let Some(entry) = self.entries.get_mut(index) {
            entry.succeeded = true;
        }
    }

    /// How many commits of `node` there are.
    pub(crate) fn count(&self, node: u64) -> usize {
        self.by_node.get(&node).map_or(0, Vec::len)
    }

    /// All but the first `left` commits of `node` are lost; gives how many that are now.
    pub(crate) fn lose(&mut self, node: u64, left: usize) -> usize {
        let lost: Vec<usize> = self.by_node.get(&node).into_iter().flatten().skip(left).copied().collect();
        for index in &lost {
            if let Some(entry) = self.entries.get_mut(*index) {
                entry.lost = true;
            }
        }
        lost.len()
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// All writes of a row.
    pub(crate) fn writes_of(&self, row: &RowKey) -> impl Iterator<Item = &Write> {
        self.of_row(row).map(|(_, entry)| &entry.write)
    }

    fn of_row(&self, row: &RowKey) -> impl Iterator<Item = (usize, &Entry)> {
        let indexes = self.by_row.get(row).into_iter().flatten().copied();
        indexes.filter_map(|index| Some((index, self.entries.get(index)?)))
    }
}
