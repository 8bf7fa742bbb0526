//! What the application does not have to wait for (G1): long transactions of ours, and pages of ours in the write-ahead log.

use std::collections::BTreeMap;

use harmonylite_core::effect::{ApplyBatch, Housekeep};
use harmonylite_core::input::ApplyFailure;
use harmonylite_sqlite::WalSize;

use crate::support::{Cluster, NOW_MS, Node};

const SCHEMA: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, v)";

/// As many rows as there are ids.
fn insert(ids: std::ops::Range<u64>) -> String {
    format!(
        "WITH RECURSIVE n(id) AS (SELECT {} UNION ALL SELECT id + 1 FROM n WHERE id < {})
         INSERT INTO t SELECT id, 'a row of some forty characters, and a few more' FROM n",
        ids.start,
        ids.end - 1
    )
}

#[test]
fn a_long_log_is_stamped_in_short_transactions_and_then_the_apply_has_its_turn() {
    let mut cluster = Cluster::new(2, SCHEMA);
    cluster.run(1, "INSERT INTO t VALUES(1, 'theirs')");
    cluster.publish(1);
    cluster.run(2, &insert(100..125));
    let batch = ApplyBatch {
        groups: vec![cluster.nodes[0].chain[0].clone().into()],
        checkpoints: BTreeMap::new(),
        published: cluster.nodes[1].published.clone(),
        stamp_rows: 10,
    };
    let mut left = Vec::new();
    for written in 0..4 {
        match cluster.nodes[1].store.apply(&batch, NOW_MS) {
            Err(ApplyFailure::LogFirst { hold, unstamped_rows }) => {
                assert_eq!(hold.rows, 10);
                left.push(unstamped_rows);
            }
            done => {
                assert_eq!(done.unwrap().rows_applied.values().sum::<u64>(), 1);
                // 25 rows, and two that came between.
                assert_eq!((left, written), (vec![15, 6], 2));
                return;
            }
        }
        // The application has its turn, and what it writes then is counted, too.
        cluster.run(2, &format!("INSERT INTO t VALUES({}, 'between')", 200 + written));
    }
    panic!("{left:?} rows left, and nothing applied");
}

/// An application that writes in the middle of what the store does, `times` times.
fn write_in_between(node: &mut Node, times: i64) {
    let application = node.another_application();
    let mut left = times;
    node.store
        .on_progress(move || {
            if left > 0 {
                // It does not wait: nobody may be in its way.
                application.execute("INSERT INTO t VALUES(?1, 'between')", [-left]).unwrap();
                left -= 1;
            }
        })
        .unwrap();
}

#[test]
fn an_application_writes_while_an_apply_is_worked_out_and_keeps_what_it_wrote() {
    let mut cluster = Cluster::new(2, SCHEMA);
    cluster.run(1, &insert(1..3_000));
    cluster.publish(1);
    cluster.run(2, "INSERT INTO t VALUES(5000, 'before')");
    write_in_between(&mut cluster.nodes[1], 1);
    let applied = cluster.deliver(1, 2, 1);
    assert_eq!(applied.rows_applied.values().sum::<u64>(), 2_999);
    assert!(applied.hold.held_us < applied.hold.worked_us, "{:?}", applied.hold);
    assert_eq!(cluster.nodes[1].query("SELECT id FROM t WHERE v IN ('before', 'between')"), ["-1", "5000"]);
    cluster.converge();
    cluster.assert_equal();
}

#[test]
fn an_apply_that_is_always_interrupted_takes_the_lock_and_comes_to_an_end() {
    let mut cluster = Cluster::new(2, SCHEMA);
    cluster.run(1, &insert(1..3_000));
    cluster.publish(1);
    // More than it is tried, once in each.
    let application = cluster.nodes[1].another_application();
    let mut id = 0;
    cluster.nodes[1]
        .store
        .on_progress(move || {
            id -= 1;
            // Shut out, it goes on without.
            let _busy = application.execute("INSERT INTO t VALUES(?1, 'between')", [id]);
        })
        .unwrap();
    let applied = cluster.deliver(1, 2, 1);
    assert_eq!(applied.rows_applied.values().sum::<u64>(), 2_999);
    assert_eq!(applied.hold.held_us, applied.hold.worked_us);
    cluster.nodes[1].store.on_progress(|| {}).unwrap();
    cluster.converge();
    cluster.assert_equal();
}

#[test]
fn housekeeping_stamps_and_trims_as_much_as_it_is_asked_to() {
    let mut node = Node::new(1, SCHEMA);
    node.run(&insert(1..31));
    node.publish();
    let request = Housekeep { published: node.published.clone(), rows: 10, ..Housekeep::default() };
    let done = node.store.housekeep(&request, NOW_MS).unwrap();
    assert_eq!((done.stamped, done.trimmed, done.remaining_rows), (10, 10, 10));
    assert_eq!(done.hold.rows, 20);
    node.store.housekeep(&request, NOW_MS).unwrap();
    let done = node.store.housekeep(&request, NOW_MS).unwrap();
    assert_eq!((done.stamped, done.trimmed, done.remaining_rows), (10, 10, 0));
}

#[test]
fn a_hold_tells_how_often_the_application_wrote_since_the_one_before() {
    let mut node = Node::new(1, SCHEMA);
    node.run("INSERT INTO t VALUES(1, 'a')");
    node.publish();
    assert!(node.housekeep().hold.application_writes > 0);
    for id in 10..15 {
        node.run(&format!("INSERT INTO t VALUES({id}, 'a')"));
    }
    node.publish();
    let hold = node.housekeep().hold;
    assert_eq!(hold.application_writes, 5);
    assert!(hold.apart_us >= hold.worked_us);
    node.run("INSERT INTO t VALUES(2, 'b'), (3, 'c')");
    node.publish();
    let request = Housekeep { published: node.published.clone(), rows: 1, ..Housekeep::default() };
    assert_eq!(node.store.housekeep(&request, NOW_MS).unwrap().hold.application_writes, 1);
    let second = node.store.housekeep(&request, NOW_MS).unwrap();
    assert_eq!((second.stamped, second.hold.application_writes), (1, 0));
}

/// Applies groups of 500 rows at node 2, with a write of its application and a look at the log after each; gives
/// the largest log that was seen.
fn apply_groups(cluster: &mut Cluster, groups: std::ops::Range<u64>) -> WalSize {
    let mut most = WalSize::default();
    for number in groups {
        cluster.run(1, &insert(1000 * number..1000 * number + 500));
        cluster.publish(1);
        cluster.deliver(1, 2, 1);
        cluster.run(2, &format!("INSERT INTO t VALUES({}, 'own')", 1000 * number + 999));
        let size = cluster.nodes[1].store.tend_wal(false).unwrap().unwrap();
        if size.bytes > most.bytes {
            most = size;
        }
    }
    most
}

#[test]
fn the_write_ahead_log_stays_short_while_changes_are_applied_and_the_application_writes_nothing_back() {
    let mut cluster = Cluster::new(2, SCHEMA);
    cluster.run(2, "PRAGMA wal_autocheckpoint = 0");
    let most = apply_groups(&mut cluster, 0..150);
    assert!(most.bytes < 1200 * 4096, "{most:?}");
    let file = cluster.nodes[1].path().with_extension("db-wal");
    assert!(std::fs::metadata(file).unwrap().len() < 2 * 1200 * 4096);
}

/// The second node has applied more than the application would leave in the log, which writes nothing back here.
fn with_a_long_log() -> Cluster {
    let mut cluster = Cluster::new(2, SCHEMA);
    cluster.run(2, "PRAGMA wal_autocheckpoint = 0");
    cluster.run(1, &insert(1..60_000));
    cluster.converge();
    cluster
}

#[test]
fn no_commit_of_ours_writes_the_log_back() {
    let cluster = with_a_long_log();
    let pages = cluster.nodes[1].query("PRAGMA wal_checkpoint(NOOP)");
    let numbers: Vec<u64> = pages[0].split('|').map(|number| number.parse().unwrap()).collect();
    assert!(numbers[1] > 1000 && numbers[2] == 0, "{pages:?}");
}

#[test]
fn a_long_read_keeps_pages_in_the_log_and_its_size_tells() {
    let mut cluster = Cluster::new(2, SCHEMA);
    let reader = rusqlite::Connection::open(cluster.nodes[1].path()).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM t").unwrap();
    apply_groups(&mut cluster, 0..60);
    let held = cluster.nodes[1].store.tend_wal(true).unwrap().unwrap();
    assert!(held.waiting_bytes() > 1000 * 4096, "{held:?}");
    reader.execute_batch("COMMIT").unwrap();
    let free = cluster.nodes[1].store.tend_wal(true).unwrap().unwrap();
    assert_eq!((free.bytes, free.waiting_bytes()), (held.bytes, 0));
    // And then it started over.
    let short = apply_groups(&mut cluster, 60..61);
    assert!(short.bytes < held.bytes / 4, "{short:?} after {held:?}");
}

fn pages(node: &Node) -> u64 {
    let pages = node.query("PRAGMA wal_checkpoint(NOOP)");
    pages[0].split('|').nth(1).unwrap().parse().unwrap()
}

#[test]
fn the_log_starts_over_before_the_application_has_to_make_it() {
    let mut cluster = with_a_long_log();
    let node = &mut cluster.nodes[1];
    assert!(pages(node) > 1000);
    let before = node.query("SELECT id, v FROM t");
    node.store.tend_wal(false).unwrap();
    assert!(pages(node) < 10, "{}", pages(node));
    assert_eq!(node.query("SELECT id, v FROM t"), before);
}

#[test]
fn a_log_that_cannot_start_over_is_not_made_longer_for_that_again_and_again() {
    let mut cluster = with_a_long_log();
    let node = &mut cluster.nodes[1];
    let long = pages(node);
    // Whoever reads from the log keeps it from starting over, and not its pages from being written back: one after the other.
    let mut reader = None;
    for _ in 0..5 {
        let next = rusqlite::Connection::open(node.path()).unwrap();
        next.execute_batch("BEGIN; SELECT count(*) FROM t").unwrap();
        drop(reader.replace(next));
        node.store.tend_wal(true).unwrap();
    }
    assert!((long..=long + 2).contains(&pages(node)), "{long} {}", pages(node));
}

#[test]
fn without_a_write_ahead_log_there_is_nothing_to_tend() {
    let (_, _, directory) = Node::new(1, SCHEMA).close();
    let application = rusqlite::Connection::open(directory.path().join("app.db")).unwrap();
    application.execute_batch("PRAGMA journal_mode = DELETE").unwrap();
    let mut node = Node::open(1, directory);
    node.run(&insert(1..100));
    assert_eq!(node.store.tend_wal(true).unwrap(), None);
}
