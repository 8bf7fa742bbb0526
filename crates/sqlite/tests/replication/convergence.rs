//! G2: whatever is written where, and in whatever order it arrives, all nodes end equal.

use crate::support::Cluster;

/// Numbers from a seed: the same run for the same seed.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }
}

pub(crate) const SCHEMA: &str = "
    CREATE TABLE t(id INTEGER PRIMARY KEY, u TEXT COLLATE NOCASE UNIQUE, w UNIQUE, v);
    CREATE TABLE p(a TEXT NOT NULL COLLATE NOCASE, b NOT NULL, v, PRIMARY KEY(b, a)) WITHOUT ROWID;
    CREATE TABLE q(n, i TEXT, v, PRIMARY KEY(n, i));
    CREATE TABLE g(id TEXT PRIMARY KEY NOT NULL, v, low AS (lower(v)) UNIQUE, half UNIQUE);
    CREATE UNIQUE INDEX g_part ON g(v COLLATE NOCASE) WHERE half > 2;
    CREATE UNIQUE INDEX g_expression ON g(v || '-' || coalesce(half, 'none'));
";

pub(crate) fn statement(dice: &mut Dice) -> String {
    let (k, j) = (dice.below(5) + 1, dice.below(5) + 1);
    let u = dice.pick(&["'x'", "'X'", "'y'", "'z'", "NULL"]);
    let w = dice.pick(&["1", "2", "3", "NULL"]);
    let v = dice.below(1_000_000);
    let a = dice.pick(&["'aa'", "'AA'", "'b'", "'B'"]);
    let verb = dice.pick(&["INSERT OR IGNORE", "INSERT OR REPLACE", "INSERT OR IGNORE", "REPLACE"]);
    let or = dice.pick(&["OR IGNORE", "OR REPLACE"]);
    match dice.below(16) {
        0 | 1 => format!("{verb} INTO t VALUES({k}, {u}, {w}, {v})"),
        2 => format!("UPDATE {or} t SET u = {u}, v = {v} WHERE id = {k}"),
        3 => format!("UPDATE {or} t SET w = {w} WHERE id IN ({k}, {j})"),
        4 => format!("DELETE FROM t WHERE id = {k}"),
        5 => format!("UPDATE {or} t SET id = {j} WHERE id = {k}"),
        6 => format!(
            "UPDATE OR IGNORE t SET u = 'swap' WHERE id = {k}; UPDATE OR IGNORE t SET u = {u} WHERE id = {j}"
        ),
        7 => format!(
            "INSERT INTO t VALUES({k}, NULL, NULL, {v}) ON CONFLICT(id) DO UPDATE SET v = excluded.v || 'u'"
        ),
        8 => format!("{verb} INTO p VALUES({a}, {k}, {v})"),
        9 => format!("UPDATE {or} p SET a = {a}, v = {v} WHERE b = {k}"),
        10 => format!("DELETE FROM p WHERE b = {k}"),
        11 => format!("{verb} INTO q VALUES({k}, {a}, {v}), ({k}, 'second', {v})"),
        12 => format!("UPDATE {or} q SET n = {j} WHERE n = {k}"),
        13 => format!("INSERT OR IGNORE INTO g(id, v, half) VALUES({k}, {u}, {w})"),
        14 => format!("UPDATE OR IGNORE g SET v = {u}, half = {w} WHERE id = '{k}'"),
        _ => format!("DELETE FROM g WHERE id = '{k}'"),
    }
}

fn step(cluster: &mut Cluster, dice: &mut Dice) {
    let nodes = cluster.nodes.len() as u64;
    let node = usize::try_from(dice.below(nodes)).unwrap() + 1;
    let other = usize::try_from(dice.below(nodes)).unwrap() + 1;
    match dice.below(10) {
        0..=4 => {
            let statements: Vec<_> = (0..=dice.below(3)).map(|_| statement(dice)).collect();
            cluster.run(node, &format!("BEGIN IMMEDIATE; {}; COMMIT", statements.join("; ")));
        }
        5 | 6 => {
            cluster.publish(node);
        }
        7 => {
            cluster.nodes[node - 1].housekeep();
        }
        _ if other != node => {
            let groups = usize::try_from(dice.below(3)).unwrap() + 1;
            cluster.deliver(other, node, groups);
        }
        _ => {}
    }
}

/// Indexes of tables whose key is the rowid, and is not. REPLACE would break them in the application itself.
const INDEXES: &str = "
    PRAGMA recursive_triggers = ON;
    CREATE VIRTUAL TABLE t_words USING fts5(u, v, content='t', content_rowid='id');
    CREATE TRIGGER t_ai AFTER INSERT ON t BEGIN INSERT INTO t_words(rowid, u, v) VALUES(new.id, new.u, new.v); END;
    CREATE TRIGGER t_ad AFTER DELETE ON t BEGIN
      INSERT INTO t_words(t_words, rowid, u, v) VALUES('delete', old.id, old.u, old.v); END;
    CREATE TRIGGER t_au AFTER UPDATE ON t BEGIN
      INSERT INTO t_words(t_words, rowid, u, v) VALUES('delete', old.id, old.u, old.v);
      INSERT INTO t_words(rowid, u, v) VALUES(new.id, new.u, new.v); END;
    CREATE VIRTUAL TABLE g_words USING fts5(v, content='g');
    CREATE TRIGGER g_ai AFTER INSERT ON g BEGIN INSERT INTO g_words(rowid, v) VALUES(new.rowid, new.v); END;
    CREATE TRIGGER g_ad AFTER DELETE ON g BEGIN
      INSERT INTO g_words(g_words, rowid, v) VALUES('delete', old.rowid, old.v); END;
    CREATE TRIGGER g_au AFTER UPDATE ON g BEGIN
      INSERT INTO g_words(g_words, rowid, v) VALUES('delete', old.rowid, old.v);
      INSERT INTO g_words(rowid, v) VALUES(new.rowid, new.v); END;
";

fn run(seed: u64, steps: u32, shards: u16, more: &str) -> Cluster {
    let mut dice = Dice(seed);
    let mut cluster = Cluster::with(3, &format!("{SCHEMA}{more}"), |options| options.shards = shards);
    for _ in 0..steps {
        step(&mut cluster, &mut dice);
    }
    cluster.converge();
    for node in &cluster.nodes {
        assert_eq!(node.count("SELECT count(*) FROM __harmonylite___dead_letter"), 0);
        assert_eq!(node.query("PRAGMA integrity_check"), ["'ok'"]);
    }
    cluster
}

#[test]
fn random_writes_on_three_nodes_end_equal() {
    for seed in 0..30 {
        println!("seed {seed}");
        run(seed, 150, 1, "");
    }
}

#[test]
fn random_writes_over_three_shards_end_equal() {
    for seed in 1000..1010 {
        println!("seed {seed}");
        run(seed, 150, 3, "");
    }
}

#[test]
fn random_writes_leave_full_text_indexes_right() {
    for seed in 2000..2020 {
        println!("seed {seed}");
        let cluster = run(seed, 150, 1, INDEXES);
        for node in &cluster.nodes {
            for index in ["t_words", "g_words"] {
                node.run(&format!("INSERT INTO {index}({index}, rank) VALUES('integrity-check', 1)"));
            }
        }
    }
}
