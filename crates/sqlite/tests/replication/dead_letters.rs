//! Dead letters: looked at, tried again as fresh rows are applied, dropped.

use harmonylite_core::input::{Applied, Found};
use harmonylite_sqlite::{
    LetterOutcome, LockFile, StoreErrorKind, conflicts, dead_letter, dead_letters, detach, drop_dead_letters,
    retry_dead_letters,
};

use crate::support::{Cluster, NOW_MS, Node};

/// Without and with a further UNIQUE index: the two ways in which rows are applied.
const SCHEMAS: [&str; 2] =
    ["CREATE TABLE t(id INTEGER PRIMARY KEY, u, v)", "CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE, v)"];
/// `abs()` of it overflows, so an index over that cannot be computed.
const UNWRITABLE: i64 = i64::MIN;
const LATER: u64 = NOW_MS + 500;

/// Node 1 wrote row 1, which node 2 cannot write: it has a dead letter. An index of node 2 alone is to blame.
fn with_letter(schema: &str) -> Cluster {
    let mut cluster = Cluster::new(2, schema);
    cluster.run(2, "CREATE INDEX broken ON t(abs(v))");
    cluster.nodes[1].store.read_schema().unwrap();
    cluster.run(1, &format!("INSERT INTO t VALUES(1, 'u', {UNWRITABLE})"));
    cluster.publish(1);
    assert_eq!(cluster.deliver(1, 2, 1).dead_letters, 1);
    cluster
}

/// What kept the row out is gone.
fn mend(cluster: &mut Cluster) {
    cluster.run(2, "DROP INDEX broken");
    cluster.nodes[1].store.read_schema().unwrap();
}

fn retry(node: &mut Node, id: i64) -> (LetterOutcome, Applied) {
    let published = node.published.clone();
    node.store.retry_dead_letter(id, Some(&published), LATER).unwrap()
}

fn ids(node: &Node) -> Vec<i64> {
    dead_letters(node.store.path()).unwrap().iter().map(|letter| letter.id).collect()
}

fn rows(node: &Node) -> Vec<String> {
    node.query("SELECT id, u FROM t ORDER BY id")
}

#[test]
fn a_letter_says_what_could_not_be_written_and_why() {
    let cluster = with_letter(SCHEMAS[0]);
    let second = &cluster.nodes[1];
    let (letter, row) = dead_letter(second.store.path(), 1).unwrap().unwrap();
    assert_eq!(dead_letters(second.store.path()).unwrap().len(), 1);
    assert_eq!((letter.table.as_str(), letter.source.as_str()), ("t", "1/changes-1"));
    assert_eq!(letter.origin, cluster.nodes[0].store.state().unwrap().origin);
    assert_eq!((letter.at_ms, letter.tried_ms), (NOW_MS, None));
    assert!(letter.error.contains("overflow"), "{}", letter.error);
    let row = row.unwrap();
    let shown: Vec<_> = row.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(shown, ["id=1", "u='u'", "v=-9223372036854775808"]);
    assert_eq!(dead_letter(second.store.path(), 2).unwrap(), None);
}

#[test]
fn a_letter_that_can_be_written_now_is_applied_like_any_row() {
    for schema in SCHEMAS {
        let mut cluster = with_letter(schema);
        mend(&mut cluster);
        let second = &mut cluster.nodes[1];
        let (outcome, applied) = retry(second, 1);
        assert_eq!((outcome, applied.rows_applied.values().sum::<u64>()), (LetterOutcome::Applied, 1));
        assert!(applied.newest > Default::default() && applied.clocks.len() == 1);
        assert_eq!((rows(second), ids(second)), (vec!["1|'u'".to_owned()], vec![]));
        assert_eq!(second.rows_applied("1/changes-1"), 1);
        assert_eq!(retry(second, 1).0, LetterOutcome::Missing);
        // Versions too: the next write of node 2 succeeds it, and nothing is a conflict.
        cluster.run(2, "UPDATE t SET u = 'seen'");
        cluster.converge();
        assert_eq!(rows(&cluster.nodes[0]), ["1|'seen'"]);
        assert!(cluster.nodes[0].conflicts().is_empty());
    }
}

#[test]
fn a_letter_that_still_cannot_be_written_stays_the_same_with_the_new_reason() {
    for schema in SCHEMAS {
        let mut cluster = with_letter(schema);
        cluster.run(2, "DROP INDEX broken; CREATE INDEX other ON t(json(u))");
        cluster.nodes[1].store.read_schema().unwrap();
        let second = &mut cluster.nodes[1];
        let (outcome, applied) = retry(second, 1);
        let LetterOutcome::Failed(reason) = outcome else { panic!("{outcome:?}") };
        assert!(reason.contains("JSON"), "{reason}");
        assert_eq!((applied.dead_letters, applied.rows_applied.values().sum::<u64>()), (0, 0));
        let letters = dead_letters(second.store.path()).unwrap();
        assert_eq!(letters.len(), 1);
        assert_eq!((letters[0].id, letters[0].at_ms, letters[0].tried_ms), (1, NOW_MS, Some(LATER)));
        assert_eq!(letters[0].error, reason);
        assert!(rows(second).is_empty());
    }
}

#[test]
fn a_letter_that_does_not_fit_the_schema_any_more_stays_with_that_reason() {
    let mut cluster = with_letter(SCHEMAS[0]);
    cluster.run(2, "DROP INDEX broken; ALTER TABLE t ADD COLUMN w");
    let published = cluster.nodes[1].published.clone();
    let stale = cluster.nodes[1].store.retry_dead_letter(1, Some(&published), LATER).unwrap_err();
    assert_eq!(stale.kind, StoreErrorKind::SchemaChanged);
    cluster.nodes[1].store.read_schema().unwrap();
    let (outcome, _) = retry(&mut cluster.nodes[1], 1);
    let LetterOutcome::Failed(reason) = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("not the same"), "{reason}");
    assert_eq!(dead_letters(cluster.nodes[1].store.path()).unwrap()[0].error, reason);
}

#[test]
fn a_letter_that_a_later_version_has_overtaken_is_superseded() {
    let mut cluster = with_letter(SCHEMAS[0]);
    cluster.run(1, "UPDATE t SET v = 1, u = 'later'");
    cluster.publish(1);
    cluster.deliver(1, 2, 1);
    mend(&mut cluster);
    assert_eq!(retry(&mut cluster.nodes[1], 1).0, LetterOutcome::Superseded);
    assert_eq!((rows(&cluster.nodes[1]), ids(&cluster.nodes[1])), (vec!["1|'later'".to_owned()], vec![]));
    cluster.converge();
}

#[test]
fn own_changes_are_stamped_first_so_that_a_later_own_write_wins() {
    let mut cluster = with_letter(SCHEMAS[0]);
    mend(&mut cluster);
    // `observed` is above the letter's clock since it was received.
    cluster.run(2, "INSERT INTO t VALUES(1, 'own', 1)");
    assert_eq!(retry(&mut cluster.nodes[1], 1).0, LetterOutcome::Superseded);
    cluster.converge();
    assert_eq!(rows(&cluster.nodes[0]), ["1|'own'"]);
}

#[test]
fn a_letter_that_overwrites_an_unseen_row_leaves_it_in_the_conflict_log() {
    let mut cluster = Cluster::new(2, SCHEMAS[0]);
    cluster.run(2, "CREATE INDEX broken ON t(abs(v)); INSERT INTO t VALUES(1, 'local', 1)");
    cluster.nodes[1].store.read_schema().unwrap();
    cluster.run(1, &format!("INSERT INTO t VALUES(1, 'u', 1); UPDATE t SET v = {UNWRITABLE}"));
    cluster.publish(1);
    assert_eq!(cluster.deliver(1, 2, 1).dead_letters, 1);
    assert!(cluster.nodes[1].conflicts().is_empty());
    mend(&mut cluster);
    let (outcome, applied) = retry(&mut cluster.nodes[1], 1);
    assert_eq!((outcome, applied.conflicts), (LetterOutcome::Applied, 1));
    let logged = cluster.nodes[1].conflicts();
    assert_eq!(logged, ["overwritten|{\"id\":\"1\"}|{\"id\":\"1\",\"u\":\"'local'\",\"v\":\"1\"}"]);
    cluster.converge();
}

#[test]
fn a_letter_displaces_a_lesser_rival_and_gives_way_to_a_greater_one() {
    for (writes, outcome, left) in [
        (0, LetterOutcome::Applied, ["1|'u'"]),
        // Written after the letter was received: its clock is above.
        (1, LetterOutcome::Displaced, ["2|'u'"]),
    ] {
        let mut cluster = Cluster::new(2, SCHEMAS[1]);
        cluster.run(2, "CREATE INDEX broken ON t(abs(v))");
        cluster.nodes[1].store.read_schema().unwrap();
        if writes == 0 {
            cluster.run(2, "INSERT INTO t VALUES(2, 'u', 1)");
        }
        cluster.run(1, &format!("INSERT INTO t VALUES(1, 'u', 1); UPDATE t SET v = {UNWRITABLE}"));
        cluster.publish(1);
        assert_eq!(cluster.deliver(1, 2, 1).dead_letters, 1);
        if writes == 1 {
            cluster.run(2, "INSERT INTO t VALUES(2, 'u', 1)");
        }
        mend(&mut cluster);
        let (found, applied) = retry(&mut cluster.nodes[1], 1);
        assert_eq!(
            (found, applied.displaced, rows(&cluster.nodes[1])),
            (outcome, 1, left.map(str::to_owned).to_vec())
        );
        assert!(ids(&cluster.nodes[1]).is_empty());
        assert!(conflicts(cluster.nodes[1].store.path(), None, 9).unwrap().entries[0].reason == "displaced");
        cluster.converge();
        assert_eq!(rows(&cluster.nodes[0]), left);
    }
}

#[test]
fn without_a_node_letters_are_tried_again_and_dropped_by_themselves() {
    let mut cluster = with_letter(SCHEMAS[1]);
    mend(&mut cluster);
    let path = cluster.nodes[1].store.path().to_owned();
    let held = LockFile::acquire(&path).unwrap();
    assert_eq!(retry_dead_letters(&path, &[1], LATER).unwrap_err().kind, StoreErrorKind::Locked);
    assert_eq!(drop_dead_letters(&path, &[1]).unwrap_err().kind, StoreErrorKind::Locked);
    drop(held);
    let outcomes = retry_dead_letters(&path, &[1, 7], LATER).unwrap();
    assert_eq!(outcomes, [(1, LetterOutcome::Applied), (7, LetterOutcome::Missing)]);
    cluster.converge();
    assert_eq!(rows(&cluster.nodes[1]), ["1|'u'"]);
}

#[test]
fn without_a_node_nothing_is_stamped_so_a_table_with_unstamped_changes_has_to_wait() {
    let mut cluster = with_letter(SCHEMAS[0]);
    mend(&mut cluster);
    cluster.run(2, "INSERT INTO t VALUES(2, 'own', 1)");
    let second = &mut cluster.nodes[1];
    let path = second.store.path().to_owned();
    let outcomes = retry_dead_letters(&path, &[1], LATER).unwrap();
    assert!(matches!(&outcomes[..], [(1, LetterOutcome::Postponed(_))]), "{outcomes:?}");
    assert_eq!(second.count("SELECT count(*) FROM __harmonylite__t_row_version"), 0, "nothing was stamped");
    assert_eq!(dead_letters(&path).unwrap()[0].tried_ms, None);
    second.housekeep();
    assert_eq!(retry_dead_letters(&path, &[1], LATER).unwrap(), [(1, LetterOutcome::Applied)]);
    cluster.converge();
}

#[test]
fn without_a_node_a_database_whose_triggers_are_away_is_left_alone() {
    let mut cluster = with_letter(SCHEMAS[0]);
    mend(&mut cluster);
    let path = cluster.nodes[1].store.path().to_owned();
    detach(&path).unwrap();
    assert_eq!(retry_dead_letters(&path, &[1], LATER).unwrap_err().kind, StoreErrorKind::SchemaChanged);
    assert_eq!(ids(&cluster.nodes[1]), [1]);
    let triggers = cluster.nodes[1].count("SELECT count(*) FROM sqlite_schema WHERE type = 'trigger'");
    assert_eq!(triggers, 0);
}

#[test]
fn a_dropped_letter_is_gone_and_its_row_stays_as_it_is_here() {
    let mut cluster = with_letter(SCHEMAS[0]);
    cluster.run(1, &format!("INSERT INTO t VALUES(2, 'w', {UNWRITABLE})"));
    cluster.publish(1);
    cluster.deliver(1, 2, 1);
    let second = &mut cluster.nodes[1];
    let path = second.store.path().to_owned();
    assert!(second.store.drop_dead_letter(1).unwrap());
    assert!(!second.store.drop_dead_letter(1).unwrap());
    assert_eq!(drop_dead_letters(&path, &[1, 2]).unwrap(), [(1, false), (2, true)]);
    assert!(ids(second).is_empty() && rows(second).is_empty());
    // The next write of the row heals it.
    mend(&mut cluster);
    cluster.run(1, "UPDATE t SET u = 'healed' || id");
    cluster.converge();
    assert_eq!(rows(&cluster.nodes[1]), ["1|'healed1'", "2|'healed2'"]);
}

/// Both applications keep a full-text index of `u`, and node 2 has two letters: a row that is there with an older state, and
/// one that is new to it.
fn with_indexed_letters() -> Cluster {
    let schema = "CREATE TABLE t(id INTEGER PRIMARY KEY, u, v);
        CREATE VIRTUAL TABLE ft USING fts5(u, content='t', content_rowid='id');
        CREATE TRIGGER t_ai AFTER INSERT ON t BEGIN INSERT INTO ft(rowid, u) VALUES(new.id, new.u); END;
        CREATE TRIGGER t_au AFTER UPDATE ON t BEGIN
          INSERT INTO ft(ft, rowid, u) VALUES('delete', old.id, old.u);
          INSERT INTO ft(rowid, u) VALUES(new.id, new.u); END";
    let mut cluster = Cluster::new(2, schema);
    cluster.run(2, "CREATE INDEX broken ON t(abs(v))");
    cluster.nodes[1].store.read_schema().unwrap();
    cluster.run(1, "INSERT INTO t VALUES(1, 'alpha', 1)");
    cluster.converge();
    cluster.run(1, &format!("UPDATE t SET u = 'gamma', v = {UNWRITABLE} WHERE id = 1"));
    cluster.run(1, &format!("INSERT INTO t VALUES(2, 'beta', {UNWRITABLE})"));
    cluster.publish(1);
    assert_eq!(cluster.deliver(1, 2, 1).dead_letters, 2);
    cluster
}

fn retry_both(node: &mut Node, running: bool) -> Vec<LetterOutcome> {
    if running {
        return [1, 2].map(|id| retry(node, id).0).to_vec();
    }
    let tried = retry_dead_letters(node.store.path(), &[1, 2], LATER).unwrap();
    tried.into_iter().map(|(_, outcome)| outcome).collect()
}

#[test]
fn letters_are_written_although_the_full_text_index_does_not_fit() {
    for running in [true, false] {
        let mut cluster = with_indexed_letters();
        mend(&mut cluster);
        // Taking a word out of an empty index fails, with the first letter.
        cluster.run(2, "INSERT INTO ft(ft) VALUES('delete-all')");
        let outcomes = retry_both(&mut cluster.nodes[1], running);
        assert_eq!(outcomes, [LetterOutcome::Applied, LetterOutcome::Applied], "running: {running}");
        cluster.converge();
    }
}

#[test]
fn a_letter_of_a_table_with_a_full_text_index_goes_the_way_of_a_fresh_row() {
    for running in [true, false] {
        let mut cluster = with_indexed_letters();
        assert_eq!(
            cluster.nodes[1].scan(true).0,
            Found::NONE,
            "what could not come is no write of this node"
        );
        mend(&mut cluster);
        let second = &mut cluster.nodes[1];
        assert_eq!(retry_both(second, running), [LetterOutcome::Applied, LetterOutcome::Applied]);
        second.run("INSERT INTO ft(ft, rank) VALUES('integrity-check', 1)");
        for (word, id) in [("beta", vec!["2"]), ("gamma", vec!["1"]), ("alpha", vec![])] {
            assert_eq!(second.query(&format!("SELECT rowid FROM ft WHERE ft MATCH '{word}'")), id, "{word}");
        }
        // Digests are compared, too; and from now on both rows are watched.
        cluster.converge();
        assert_eq!(cluster.nodes[1].scan(true).0, Found::NONE);
        cluster.nodes[1].run_unseen("UPDATE t SET v = 3");
        assert_eq!(cluster.nodes[1].scan(true).0.changed, 2);
    }
}
