//! Compares what applications were told with what became of it: no acknowledged write is lost, and nothing stands that
//! nobody wrote.
//!
//! A write is not lost when its value is the last word on its row, when somebody who had seen it wrote the row later,
//! or when the conflict log of a node holds it. In any case the last word on its row is not older.

use std::collections::{BTreeMap, BTreeSet};

use super::final_state::{FinalState, LastWord, RowId, WriteId};
use super::journal::{Entry, Write};

/// The table that gets a row of every transaction.
const LEDGER: &str = "ledger";

/// How many sentences of a kind are worth reading.
const SHOWN: usize = 10;

/// All that is wrong. `states` are those of all nodes.
pub(super) fn judge(entries: &[Entry], states: &[FinalState]) -> Vec<String> {
    let mut wrong = differences(states);
    let Some(state) = states.first() else { return wrong };
    let lost: BTreeSet<_> = states.iter().flat_map(|state| &state.lost).cloned().collect();
    let judge = Judge { history: History::of(entries, state), state, lost };
    let committed = entries.iter().filter(|entry| entry.committed);
    let writes = committed.flat_map(|entry| entry.transaction.writes.iter().map(move |write| (entry, write)));
    wrong.extend(writes.filter_map(|(entry, write)| judge.is_lost(entry, write)).take(SHOWN));
    wrong.extend(state.rows.iter().filter_map(|(row, word)| judge.is_invented(row, word)).take(SHOWN));
    wrong
}

/// All nodes have the same last word on every row.
fn differences(states: &[FinalState]) -> Vec<String> {
    let Some((first, others)) = states.split_first() else { return Vec::new() };
    let mut wrong = Vec::new();
    for (node, other) in (2..).zip(others) {
        let keys: BTreeSet<_> = first.rows.keys().chain(other.rows.keys()).collect();
        let differing = keys.into_iter().filter(|key| first.rows.get(*key) != other.rows.get(*key));
        wrong.extend(differing.take(SHOWN).map(|key| {
            format!("{key:?}: {:?} at node 1, {:?} at node {node}", first.rows.get(key), other.rows.get(key))
        }));
    }
    wrong
}

/// What the journals say of rows and writes.
struct History<'a> {
    /// What each write left on its row.
    left: BTreeMap<(&'a str, &'a str, WriteId), Option<&'a str>>,
    /// Rows and tags that a later writer had before its eyes.
    seen: BTreeSet<(&'a str, &'a str, &'a str)>,
}

impl<'a> History<'a> {
    fn of(entries: &'a [Entry], state: &FinalState) -> Self {
        let (mut left, mut seen) = (BTreeMap::new(), BTreeSet::new());
        for (entry, write) in entries.iter().flat_map(|e| e.transaction.writes.iter().map(move |w| (e, w))) {
            let id = (write.clock, entry.node);
            left.insert((write.table.as_str(), write.key.as_str(), id), write.left.as_deref());
            if let Some(saw) = write.saw.as_ref().filter(|_| happened(entry, state)) {
                seen.insert((write.table.as_str(), write.key.as_str(), saw.as_str()));
            }
        }
        Self { left, seen }
    }
}

/// Was it committed? An application that is killed between COMMIT and its journal's next line does not know; its row of the
/// ledger, which nobody ever touches again, tells. One that failed, on a full disk for instance, has none and excuses nothing.
fn happened(entry: &Entry, state: &FinalState) -> bool {
    let writes = &entry.transaction.writes;
    let kept = |write: &Write| {
        write.table == LEDGER && state.rows.contains_key(&(write.table.clone(), write.key.clone()))
    };
    entry.committed || writes.iter().any(kept)
}

struct Judge<'a> {
    history: History<'a>,
    state: &'a FinalState,
    /// What the conflict logs of all nodes hold.
    lost: BTreeSet<(String, WriteId)>,
}

impl Judge<'_> {
    fn is_lost(&self, entry: &Entry, write: &Write) -> Option<String> {
        let id = (write.clock, entry.node);
        let row = (write.table.clone(), write.key.clone());
        let word = self.state.rows.get(&row);
        let because = match (word, &write.left) {
            (None, _) => "there is no version of the row",
            (Some(word), _) if word.write < id => "the last word on the row is older",
            (_, None) => return None,
            (Some(word), Some(tag)) if word.tag.as_ref() == Some(tag) => return None,
            (_, Some(tag)) if self.history.seen.contains(&(&write.table, &write.key, tag)) => return None,
            _ if self.lost.contains(&(write.table.clone(), id)) => return None,
            _ => "nobody who wrote later had seen it, and no conflict log has it",
        };
        Some(format!("lost: {write:?} of node {}: {because}; the last word is {word:?}", entry.node))
    }

    fn is_invented(&self, (table, key): &RowId, word: &LastWord) -> Option<String> {
        let row = (table.as_str(), key.as_str(), word.write);
        let wrong = match self.history.left.get(&row) {
            None => "nobody wrote it",
            Some(left) if *left != word.tag.as_deref() && !word.displaced => "its writer left something else",
            Some(_) => return None,
        };
        Some(format!("invented: {table} {key}: {word:?}: {wrong}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::journal::Transaction;

    /// A committed write of row `k` by a node.
    fn entry(node: i64, clock: i64, saw: Option<&str>, left: Option<&str>) -> Entry {
        let text = |tag: Option<&str>| tag.map(str::to_owned);
        let write = Write { table: "t".into(), key: "k".into(), clock, saw: text(saw), left: text(left) };
        let tag = format!("{node}-{clock}");
        Entry { node, transaction: Transaction { tag, writes: vec![write] }, committed: true }
    }

    fn state(write: WriteId, tag: Option<&str>, lost: &[WriteId]) -> FinalState {
        let word = LastWord { write, displaced: false, tag: tag.map(str::to_owned) };
        let lost = lost.iter().map(|id| ("t".to_owned(), *id)).collect();
        FinalState { rows: [(("t".into(), "k".into()), word)].into(), lost, log_rows: 0 }
    }

    fn complaints(entries: &[Entry], state: FinalState) -> String {
        judge(entries, &[state]).join("\n")
    }

    #[test]
    fn a_transaction_that_failed_excuses_nothing() {
        let first = entry(1, 5, None, Some("a"));
        let mut second = entry(2, 6, Some("a"), Some("b"));
        second.committed = false;
        let row = Write { table: LEDGER.into(), key: "'2-6'".into(), clock: 6, saw: None, left: None };
        second.transaction.writes.push(row);
        let entries = [first, second];
        let mut last = state((6, 2), Some("b"), &[]);
        let ledger = LastWord { write: (6, 2), displaced: false, tag: None };
        last.rows.insert((LEDGER.into(), "'2-6'".into()), ledger);
        assert_eq!(complaints(&entries, last), "", "it was committed, and its journal not told");
        let complaint = complaints(&entries, state((6, 2), Some("b"), &[]));
        assert!(complaint.contains("\"a\""), "{complaint}");
    }

    #[test]
    fn the_last_word_what_it_saw_and_what_the_conflict_log_holds_are_not_lost() {
        let entries =
            [entry(1, 5, None, Some("a")), entry(1, 7, Some("a"), Some("b")), entry(2, 6, None, Some("c"))];
        assert_eq!(complaints(&entries, state((7, 1), Some("b"), &[(6, 2)])), "");
        let complaint = complaints(&entries, state((7, 1), Some("b"), &[]));
        assert!(complaint.contains("\"c\"") && complaint.contains("no conflict log has it"), "{complaint}");
    }

    #[test]
    fn a_last_word_that_is_older_than_a_write_is_a_lost_write() {
        let entries = [entry(1, 5, None, Some("a")), entry(2, 9, None, None)];
        let complaint = complaints(&entries, state((5, 1), Some("a"), &[]));
        assert!(complaint.contains("the last word on the row is older"), "{complaint}");
    }

    #[test]
    fn what_nobody_wrote_is_found_and_what_nobody_acknowledged_may_stand() {
        let mut entries = [entry(1, 5, None, Some("a"))];
        entries[0].committed = false;
        assert_eq!(complaints(&entries, state((5, 1), Some("a"), &[])), "");
        assert!(complaints(&entries, state((5, 1), Some("b"), &[])).contains("left something else"));
        assert!(complaints(&entries, state((6, 1), Some("a"), &[])).contains("nobody wrote it"));
    }

    #[test]
    fn nodes_that_differ_are_told() {
        let states = [state((5, 1), Some("a"), &[]), state((5, 1), None, &[])];
        assert!(judge(&[entry(1, 5, None, Some("a"))], &states).join("").contains("at node 2"));
    }
}
