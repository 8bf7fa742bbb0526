//! Any writes on two or three nodes, delivered in any order and more than once, against a model that is a map: of all
//! that was published of a key, the greatest version wins (G2, G3, G5).

use std::collections::BTreeMap;

use arbitrary::{Arbitrary, Unstructured};
use harmonylite_core::conflict::Version;
use harmonylite_core::effect::ReceivedGroup;
use harmonylite_core::input::ApplyFailure;
use harmonylite_core::model::{RowContent, Value};
use harmonylite_testkit::exchange;

use crate::nodes::{Node, Setup};
use crate::twins::lines;

/// The first two tables have nothing but a key, and a model; of the others rows displace one another. `OR REPLACE` over the
/// indexes of the last is not noticed at once (`docs/guarantees.md`), so nobody does that here.
const SCHEMA: &str = "
    CREATE TABLE plain(id INTEGER PRIMARY KEY, v);
    CREATE TABLE named(a TEXT NOT NULL COLLATE NOCASE, b NOT NULL, v DEFAULT 'none', PRIMARY KEY(b, a)) WITHOUT ROWID;
    CREATE TABLE taken(id INTEGER PRIMARY KEY, u TEXT COLLATE NOCASE UNIQUE, w UNIQUE, v);
    CREATE TABLE parts(id TEXT PRIMARY KEY NOT NULL, v, w, low AS (lower(v)) UNIQUE);
    CREATE UNIQUE INDEX parts_some ON parts(v COLLATE NOCASE) WHERE w > 2;
    CREATE UNIQUE INDEX parts_both ON parts(v || '-' || coalesce(w, 'none'));
";

/// Tables with their keys; `plain` and `named` are modelled.
const MODELLED: [(&str, &str); 2] = [("plain", "id"), ("named", "b, a")];
const TABLES: [&str; 4] = ["plain", "named", "taken", "parts"];

/// More steps find nothing that fewer would not.
const STEPS_MAX: usize = 60;

#[derive(Arbitrary, Debug)]
struct Run {
    three_nodes: bool,
    three_shards: bool,
    /// One of them may be ahead.
    ahead: u8,
    /// Change sets may be cut short.
    cut: Option<u8>,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Debug)]
enum Step {
    Write { node: u8, writes: Vec<Write> },
    Publish { node: u8, stored: bool },
    Deliver { from: u8, to: u8, group: u8 },
    CatchUp { from: u8, to: u8 },
    Housekeep { node: u8 },
    Reopen { node: u8 },
}

/// One statement.
#[derive(Arbitrary, Debug)]
struct Write {
    table: u8,
    verb: u8,
    key: u8,
    other_key: u8,
    first: u8,
    second: u8,
}

/// Few, so that rows collide all the time.
const VALUES: [&str; 12] =
    ["NULL", "1", "2", "3", "1.0", "'1'", "'x'", "'X'", "x'00ff'", "'a' || char(0) || 'b'", "-0.0", "'y'"];

pub(crate) fn run(data: &[u8]) {
    let Ok(run) = Run::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let mut world = World::new(&run);
    for step in run.steps.iter().take(STEPS_MAX) {
        world.step(step);
    }
    world.settle();
    world.check();
    let last = usize::from(run.ahead) % world.nodes.len();
    world.check_that_the_last_write_wins(last);
}

struct World {
    nodes: Vec<Node>,
    /// What of each key should be everywhere.
    model: BTreeMap<(String, Vec<String>), (Version, RowContent)>,
}

impl World {
    fn new(run: &Run) -> Self {
        let count = if run.three_nodes { 3 } else { 2 };
        let setup = |id: u64| Setup {
            id,
            shards: if run.three_shards { 3 } else { 1 },
            ahead_ms: if u64::from(run.ahead % 4) == id { 500 } else { 0 },
            group_rows: run.cut.map_or(100_000, |rows| 1 + usize::from(rows % 4)),
        };
        let nodes = (1..=count).map(|id| Node::new(setup(id), SCHEMA)).collect();
        Self { nodes, model: BTreeMap::new() }
    }

    fn index(&self, number: u8) -> usize {
        usize::from(number) % self.nodes.len()
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Write { node, writes } => {
                let statements: Vec<String> = writes.iter().take(4).map(Write::sql).collect();
                let sql = format!("BEGIN IMMEDIATE; {}; COMMIT", statements.join("; "));
                let application = &self.nodes[self.index(*node)].application;
                application.execute_batch(&sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
            }
            Step::Publish { node, stored } => {
                self.publish(self.index(*node), *stored);
            }
            Step::Deliver { from, to, group } => {
                let (from, to) = (self.index(*from), self.index(*to));
                let chain = &self.nodes[from].chain;
                if from != to && !chain.is_empty() {
                    let group = chain[usize::from(*group) % chain.len()].clone();
                    self.deliver(&group, to);
                }
            }
            Step::CatchUp { from, to } => {
                self.catch_up(self.index(*from), self.index(*to));
            }
            Step::Housekeep { node } => {
                let node = self.index(*node);
                self.nodes[node].housekeep();
            }
            Step::Reopen { node } => {
                let node = self.index(*node);
                self.nodes[node].reopen();
            }
        }
    }

    /// Gives the rows. What was not stored in the stream is published another time.
    fn publish(&mut self, node: usize, stored: bool) -> u64 {
        let read = self.nodes[node].read_log();
        assert!(read.too_large.is_empty());
        if !stored {
            return 0;
        }
        let groups = self.nodes[node].acknowledge(&read);
        groups.iter().for_each(|group| self.remember(group));
        let more = if read.remaining_rows > 0 { self.publish(node, true) } else { 0 };
        groups.iter().map(|group| group.rows).sum::<u64>() + more
    }

    /// The model: a map, and a comparison.
    fn remember(&mut self, group: &ReceivedGroup) {
        for section in exchange::sections(group).unwrap() {
            if !MODELLED.iter().any(|(table, _)| *table == section.table) {
                continue;
            }
            for row in section.rows {
                let key = (section.table.clone(), key_of(&section.table, &row.content));
                let version = row.version.version;
                let known = self.model.get(&key).map(|(version, _)| *version);
                if known.is_none_or(|known| known < version) {
                    self.model.insert(key, (version, row.content));
                }
            }
        }
    }

    /// Any group at any time: one whose turn has not come is refused as a gap, and an old one changes nothing.
    fn deliver(&mut self, group: &ReceivedGroup, to: usize) -> u64 {
        let position = |node: &mut Node| {
            let positions = node.store().state().unwrap().positions;
            positions.get(&(group.origin, group.shard)).copied().unwrap_or_default()
        };
        let before = position(&mut self.nodes[to]);
        let outcome = self.nodes[to].apply(group);
        let after = position(&mut self.nodes[to]);
        match outcome {
            Ok(applied) => {
                assert!(group.prev <= before, "a gap was applied over");
                assert_eq!(after, before.max(group.through));
                assert_eq!(applied.dead_letters, 0);
                let rows = applied.rows_applied.values().sum();
                assert!(group.through > before || rows == 0, "what comes again changes nothing");
                rows
            }
            Err(ApplyFailure::Source { schema: false, .. }) if group.prev > before => {
                assert_eq!(after, before);
                0
            }
            Err(error) => panic!("{error:?}"),
        }
    }

    fn catch_up(&mut self, from: usize, to: usize) -> u64 {
        if from == to {
            return 0;
        }
        let chain = self.nodes[from].chain.clone();
        chain.iter().map(|group| self.deliver(group, to)).sum()
    }

    /// Everything is published and delivered everywhere, what follows from that too.
    fn settle(&mut self) {
        let count = self.nodes.len();
        for _ in 0..20 {
            let mut moved: u64 = (0..count).map(|node| self.publish(node, true)).sum();
            for (from, to) in (0..count).flat_map(|from| (0..count).map(move |to| (from, to))) {
                moved += self.catch_up(from, to);
            }
            if moved == 0 {
                return;
            }
        }
        panic!("the nodes go on publishing");
    }

    fn check(&mut self) {
        for table in TABLES {
            let sorted = |node: &Node| {
                let mut lines = lines(&node.application, &format!("SELECT * FROM {table}")).unwrap();
                lines.sort();
                lines
            };
            let first = sorted(&self.nodes[0]);
            for (index, node) in self.nodes.iter().enumerate() {
                assert_eq!(sorted(node), first, "{table} on node {} and on node 1", index + 1);
            }
            if MODELLED.iter().any(|(modelled, _)| *modelled == table) {
                assert_eq!(first, self.modelled(table), "{table} and its model");
            }
        }
        for node in &mut self.nodes {
            node.housekeep();
            assert_eq!(node.count("SELECT count(*) FROM __harmonylite___dead_letter"), 0);
            assert_eq!(lines(&node.application, "PRAGMA integrity_check").unwrap(), ["'ok'"]);
        }
    }

    fn modelled(&self, table: &str) -> Vec<String> {
        let here = self.model.iter().filter(|((name, _), _)| name == table);
        let rows = here.filter_map(|(_, (_, content))| match content {
            RowContent::Upsert(values) => Some(values.iter().map(shown).collect::<Vec<_>>().join(" | ")),
            RowContent::Delete(_) => None,
        });
        let mut lines: Vec<String> = rows.collect();
        lines.sort();
        lines
    }

    /// G3: what is written after everything else was seen beats it, whatever the clocks show.
    fn check_that_the_last_write_wins(&mut self, node: usize) {
        let last = "INSERT OR REPLACE INTO plain VALUES(1, 'last'), (2, 'last');
                    UPDATE named SET v = 'last'; UPDATE plain SET v = 'last'; UPDATE taken SET v = 'last';";
        self.nodes[node].application.execute_batch(last).unwrap();
        self.settle();
        for (index, node) in self.nodes.iter().enumerate() {
            for table in ["plain", "named", "taken"] {
                let others = node.count(&format!("SELECT count(*) FROM {table} WHERE v IS NOT 'last'"));
                assert_eq!(others, 0, "{table} on node {}", index + 1);
            }
            assert!(node.count("SELECT count(*) FROM plain") >= 2);
        }
        self.check();
    }
}

impl Write {
    /// No statement fails: what a constraint forbids is left out.
    fn sql(&self) -> String {
        let value = |number: u8| VALUES[usize::from(number) % VALUES.len()];
        let (key, other) = (1 + self.key % 4, 1 + self.other_key % 4);
        let (first, second) = (value(self.first), value(self.second));
        let or = if self.verb & 8 == 0 { "OR IGNORE" } else { "OR REPLACE" };
        let name = ["'a'", "'A'", "'b'"][usize::from(self.other_key) % 3];
        match (self.table % 4, self.verb % 4) {
            (0, 0) => format!("INSERT {or} INTO plain VALUES({key}, {first})"),
            (0, 1) => format!("UPDATE plain SET v = {first} WHERE id = {key}"),
            (0, 2) => format!("DELETE FROM plain WHERE id = {key}"),
            (0, _) => format!("UPDATE {or} plain SET id = {other} WHERE id = {key}"),
            (1, 0) => format!("INSERT {or} INTO named VALUES({name}, {key}, {first})"),
            (1, 1) => format!("UPDATE {or} named SET a = {name}, v = {first} WHERE b = {key}"),
            (1, 2) => format!("DELETE FROM named WHERE b = {key} AND a = {name}"),
            (1, _) => format!("INSERT {or} INTO named(a, b) VALUES({name}, {key})"),
            (2, 0) => format!("INSERT {or} INTO taken VALUES({key}, {first}, {second}, 'new')"),
            (2, 1) => format!("UPDATE {or} taken SET u = {first} WHERE id IN ({key}, {other})"),
            (2, 2) => format!("DELETE FROM taken WHERE id = {key}"),
            (2, _) => format!("UPDATE {or} taken SET id = {other}, w = {second} WHERE id = {key}"),
            (_, 0) => format!("INSERT OR IGNORE INTO parts(id, v, w) VALUES('{key}', {first}, {second})"),
            (_, 1) => format!("UPDATE OR IGNORE parts SET v = {first}, w = {second} WHERE id = '{key}'"),
            (_, 2) => format!("DELETE FROM parts WHERE id = '{key}'"),
            (_, _) => format!("UPDATE OR IGNORE parts SET id = '{other}' WHERE id = '{key}'"),
        }
    }
}

/// The key as SQLite compares it: `named` is NOCASE, and a number is one whatever its storage class.
fn key_of(table: &str, content: &RowContent) -> Vec<String> {
    let key: Vec<&Value> = match (table, content) {
        (_, RowContent::Delete(key)) => key.iter().collect(),
        ("plain", RowContent::Upsert(row)) => vec![&row[0]],
        (_, RowContent::Upsert(row)) => vec![&row[1], &row[0]],
    };
    key.into_iter().map(|value| shown(value).to_ascii_lowercase()).collect()
}

/// Storage class and exact bytes, as [`lines`] has them.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Integer(integer) => integer.to_string(),
        Value::Real(real) => format!("{real:?}"),
        Value::Text(bytes) => format!("'{}'", bytes.escape_ascii()),
        Value::Blob(bytes) => format!("x'{}'", bytes.escape_ascii()),
    }
}
