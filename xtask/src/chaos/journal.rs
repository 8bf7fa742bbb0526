//! What an application was told: every transaction that it began to commit, and every one that was acknowledged to it. A
//! file of lines for each writer and life of the application, outside of any disk that gets full.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// One line.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// Written before COMMIT: this may be in the database from now on.
    Began(Transaction),
    /// Written after it: this must be.
    Committed(String),
}

/// A transaction and what it did.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub(super) struct Transaction {
    /// Its name, which every row that it wrote carries.
    pub(super) tag: String,
    pub(super) writes: Vec<Write>,
}

/// What a transaction made of one row.
#[derive(Clone, PartialEq, Serialize, Deserialize, Debug)]
pub(super) struct Write {
    pub(super) table: String,
    /// The key as one text, equal for spellings that its collations call equal.
    pub(super) key: String,
    /// The clock of the write: the id of its log row.
    pub(super) clock: i64,
    /// The tag of the row that was there before.
    pub(super) saw: Option<String>,
    /// The tag of the row that is there after; nothing for a delete.
    pub(super) left: Option<String>,
}

/// The file that a writer appends to.
pub(super) struct Journal {
    file: File,
}

impl Journal {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        Ok(Self { file: file.with_context(|| format!("opening the journal {}", path.display()))? })
    }

    pub(super) fn began(&mut self, transaction: Transaction) -> Result<()> {
        self.append(&Line::Began(transaction))
    }

    pub(super) fn committed(&mut self, tag: &str) -> Result<()> {
        self.append(&Line::Committed(tag.to_owned()))
    }

    /// In one write: a kill leaves a line or none.
    fn append(&mut self, line: &Line) -> Result<()> {
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        self.file.write_all(text.as_bytes()).context("writing the journal")
    }
}

/// A transaction of the journals.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The node whose application wrote it.
    pub(super) node: i64,
    pub(super) transaction: Transaction,
    /// Was it acknowledged? Else nobody knows.
    pub(super) committed: bool,
}

/// Reads all journals of a folder: files named `<node>-...`.
pub(super) fn read_all(folder: &Path) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for file in fs::read_dir(folder).context("reading the journals")? {
        let path = file?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let node = name.split('-').next().and_then(|node| node.parse().ok()).context("a strange journal")?;
        let text = fs::read_to_string(&path)?;
        entries.extend(parse(node, &text).with_context(|| path.display().to_string())?);
    }
    Ok(entries)
}

fn parse(node: i64, text: &str) -> Result<Vec<Entry>> {
    let mut entries: Vec<Entry> = Vec::new();
    for line in text.lines() {
        match serde_json::from_str(line)? {
            Line::Began(transaction) => entries.push(Entry { node, transaction, committed: false }),
            Line::Committed(tag) => {
                let last = entries.last_mut().filter(|entry| entry.transaction.tag == tag);
                last.context("an acknowledgement of nothing")?.committed = true;
            }
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledged_transactions_are_told_from_those_that_nobody_knows_of() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let mut journal = Journal::open(&folder.path().join("2-0-1"))?;
        for tag in ["a", "b"] {
            journal.began(Transaction { tag: tag.into(), writes: Vec::new() })?;
        }
        journal.committed("b")?;
        let entries = read_all(folder.path())?;
        let known: Vec<_> =
            entries.iter().map(|e| (e.node, e.transaction.tag.as_str(), e.committed)).collect();
        assert_eq!(known, [(2, "a", false), (2, "b", true)]);
        Ok(())
    }
}
