//! R9: a database that is an older copy of itself, and its next life.

use harmonylite_core::effect::{PublishedPositions, ReceivedGroup};
use harmonylite_core::model::{Incarnation, Shard};
use harmonylite_sqlite::Limits;

use crate::support::{Cluster, Node, rows_of};

const SCHEMA: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, v)";

fn older_copy(node: &mut Node, own: &[ReceivedGroup]) -> Option<String> {
    let own: Vec<_> = own.iter().cloned().map(std::sync::Arc::new).collect();
    node.store.inspect_own_frames(&own).unwrap()
}

/// What is left of `node` when its file is put back as it was at `copy`.
fn put_back(node: Node, copy: &[u8]) -> Node {
    let (chain, consumed, directory) = node.close();
    std::fs::write(directory.path().join("app.db"), copy).unwrap();
    let mut node = Node::open(1, directory);
    node.chain = chain;
    node.consumed = consumed;
    node.published = node.store.state().unwrap().published;
    node
}

#[test]
fn own_frames_that_the_database_knows_are_no_reason() {
    let mut node = Node::new(1, SCHEMA);
    node.run("INSERT INTO t VALUES(1, 'a'), (2, 'b')");
    node.publish();
    let chain = node.chain.clone();
    assert_eq!(older_copy(&mut node, &chain), None);
    node.run("UPDATE t SET v = 'later' WHERE id = 1");
    assert_eq!(older_copy(&mut node, &chain), None);
    node.housekeep();
    assert_eq!(older_copy(&mut node, &chain), None);
}

#[test]
fn a_migration_after_the_last_save_is_no_reason() {
    for migration in [
        "ALTER TABLE t ADD COLUMN w DEFAULT 5",
        "ALTER TABLE t RENAME COLUMN v TO w",
        "ALTER TABLE t RENAME TO u",
        "DROP TABLE t",
    ] {
        let mut node = Node::new(1, SCHEMA);
        node.run("INSERT INTO t VALUES(1, 'a'), (2, 'b')");
        node.publish();
        node.run(migration);
        node.store.read_schema().unwrap();
        let chain = node.chain.clone();
        assert_eq!(older_copy(&mut node, &chain), None, "{migration}");
    }
}

#[test]
fn an_older_copy_is_recognised_across_a_migration() {
    let mut node = Node::new(1, SCHEMA);
    let copy = node.image();
    node.run("INSERT INTO t VALUES(1, 'lost')");
    node.publish();
    let mut node = put_back(node, &copy);
    node.run("INSERT INTO t VALUES(2, 'new'), (3, 'new'); ALTER TABLE t ADD COLUMN w");
    node.store.read_schema().unwrap();
    let mut chain = node.chain.clone();
    // Without its end, which alone would tell.
    chain[0].through = chain[0].prev;
    node.run("DELETE FROM __harmonylite___change_log_global WHERE id = (SELECT min(id) FROM __harmonylite___change_log_global)");
    assert!(older_copy(&mut node, &chain).is_some());
}

#[test]
fn frames_of_others_are_no_reason() {
    let mut cluster = Cluster::new(2, SCHEMA);
    cluster.run(2, "INSERT INTO t VALUES(1, 'a')");
    cluster.publish(2);
    let chain = cluster.nodes[1].chain.clone();
    assert_eq!(older_copy(&mut cluster.nodes[0], &chain), None);
}

#[test]
fn a_frame_beyond_the_log_shows_an_older_copy() {
    let mut node = Node::new(1, SCHEMA);
    let copy = node.image();
    node.run("INSERT INTO t VALUES(1, 'lost')");
    node.publish();
    let mut node = put_back(node, &copy);
    let chain = node.chain.clone();
    assert!(older_copy(&mut node, &chain).is_some());
}

#[test]
fn a_row_that_got_the_id_of_a_lost_one_does_not_hide_it() {
    for statement in ["INSERT INTO t VALUES(2, 'new')", "INSERT INTO t VALUES(1, 'other image')"] {
        let mut node = Node::new(1, SCHEMA);
        let copy = node.image();
        node.run("INSERT INTO t VALUES(1, 'lost')");
        node.publish();
        let mut node = put_back(node, &copy);
        // The clock stands still in these tests: the very same id.
        node.run(statement);
        let chain = node.chain.clone();
        assert!(older_copy(&mut node, &chain).is_some(), "{statement}");
    }
}

/// Found by the simulator (seed 1216 of its first version). A change set that is closed early leaves out the row whose
/// next log row is beyond its end; the machine then loses that next one.
#[test]
fn a_write_that_own_frames_left_to_a_lost_one_is_not_forgotten() {
    let limits = Limits { group_rows: 2, ..Limits::default() };
    let mut node = Node::new(1, SCHEMA);
    node.store.set_limits(limits).unwrap();
    node.run("INSERT INTO t VALUES(1, 'kept'), (2, 'kept')");
    let copy = node.image();
    node.run("UPDATE t SET v = 'lost' WHERE id = 1");
    let sent = node.publish();
    assert_eq!(sent.len(), 2);
    let mut node = put_back(node, &copy);
    let first = node.chain[..1].to_vec();
    assert_eq!(rows_of(&first[0]).len(), 1, "the frame that has row 2 only");
    assert!(older_copy(&mut node, &first).is_some());
}

/// Found by the simulator (seed 203393): a group of a process that lost power comes to a shared stream when the next one
/// has long stamped later writes.
#[test]
fn a_lost_write_is_recognised_although_later_ones_are_stamped() {
    let mut node = Node::new(1, SCHEMA);
    let copy = node.image();
    node.run("INSERT INTO t VALUES(1, 'lost'), (2, 'lost')");
    node.publish();
    let late = node.chain.clone();
    let mut node = put_back(node, &copy);
    for id in 3..9 {
        node.run(&format!("INSERT INTO t VALUES({id}, 'kept')"));
    }
    node.publish();
    node.housekeep();
    assert!(older_copy(&mut node, &late).is_some());
    let known = node.chain[1..].to_vec();
    assert_eq!(older_copy(&mut node, &known), None, "what this process sent is no sign");
}

/// Found by the simulator (seed 5073940): after a restart a stamp takes the row as it finds it, and a log that is stamped in
/// steps may have got to a write and not yet to the next one of the same row.
#[test]
fn a_row_that_was_written_again_and_is_stamped_in_part_is_no_reason() {
    for again in ["UPDATE t SET v = 'later' WHERE id = 1", "DELETE FROM t WHERE id = 1"] {
        let mut node = Node::new(1, SCHEMA);
        node.run("INSERT INTO t VALUES(1, 'sent')");
        node.publish();
        let (sent, image) = (node.chain.clone(), node.image());
        let mut node = put_back(node, &image);
        node.run(again);
        assert_eq!(node.housekeep_rows(1).stamped, 1);
        assert_eq!(older_copy(&mut node, &sent), None, "{again}");
        assert_eq!(node.housekeep().stamped, 1);
        assert_eq!(older_copy(&mut node, &sent), None, "{again}");
    }
}

#[test]
fn a_new_life_brings_the_lost_rows_back_and_publishes_what_was_not_sent() {
    let mut first = Node::new(1, SCHEMA);
    let mut second = Node::new(2, SCHEMA);
    first.run("INSERT INTO t VALUES(1, 'sent'), (2, 'sent')");
    first.publish();
    first.housekeep();
    let copy = first.image();
    first.run("UPDATE t SET v = 'lost' WHERE id = 1; INSERT INTO t VALUES(3, 'lost')");
    first.publish();
    second.consume(&first, usize::MAX);

    let mut first = put_back(first, &copy);
    first.run("INSERT INTO t VALUES(4, 'after'); UPDATE t SET v = 'after' WHERE id = 2");
    let chain = first.chain.clone();
    assert!(older_copy(&mut first, &chain).is_some());
    let old = first.store.state().unwrap().origin;
    let state = first.store.mint_incarnation(Incarnation::new(7).unwrap()).unwrap();
    assert_ne!(state.origin, old);
    assert!(state.published.by_shard.is_empty());
    assert_eq!(state.positions[&(old, Shard::FIRST)], chain[0].through);
    first.published = PublishedPositions { settled: state.published.settled, ..Default::default() };

    // Its own stream serves the old life, also to itself.
    first.apply(&chain);
    assert_eq!(first.query("SELECT * FROM t"), ["1|'lost'", "2|'after'", "3|'lost'", "4|'after'"]);
    let sent = first.publish();
    assert_eq!(sent.len(), 2);
    assert!(sent.iter().all(|(_, row)| row.origin() == state.origin));
    second.consume(&first, usize::MAX);
    assert_eq!(second.query("SELECT * FROM t"), first.query("SELECT * FROM t"));
    assert_eq!(first.store.state().unwrap().origin, state.origin);
}

/// Found by the simulator (seed 6065336): the log rows that were sent go when a new life begins, and with them all that the
/// next clock had to be above, when the machine's clock was set back.
#[test]
fn the_first_write_of_a_new_life_is_above_those_whose_log_rows_are_gone() {
    let mut node = Node::new(1, SCHEMA);
    node.run("INSERT INTO t VALUES(1, 'a'), (2, 'b'), (3, 'c')");
    node.publish();
    node.housekeep_rows(1);
    let newest = node.count("SELECT max(id) FROM __harmonylite___change_log_global");
    node.store.mint_incarnation(Incarnation::new(99).unwrap()).unwrap();
    assert_eq!(node.count("SELECT count(*) FROM __harmonylite___change_log_global"), 0);
    node.run("UPDATE t SET v = 'later' WHERE id = 3");
    let next = node.count("SELECT max(id) FROM __harmonylite___change_log_global");
    assert!(next > newest, "{next} is not above {newest}");
}

#[test]
fn a_new_life_outlives_the_process() {
    let mut node = Node::new(1, SCHEMA);
    node.run("INSERT INTO t VALUES(1, 'a')");
    let state = node.store.mint_incarnation(Incarnation::new(7).unwrap()).unwrap();
    let (_, _, directory) = node.close();
    let node = Node::open(1, directory);
    assert_eq!(node.store.state().unwrap().origin, state.origin);
}

/// With `publish = false` rows of its own have no versions, so that remote ones always win (R15).
#[test]
fn a_new_life_that_does_not_publish_gives_no_versions() {
    let mut node = Node::new(1, SCHEMA);
    node.run("INSERT INTO t VALUES(1, 'a')");
    node.publish();
    let (_, _, directory) = node.close();
    let mut node = Node::open_with(1, directory, |options| options.publish = false);
    node.run("INSERT INTO t VALUES(2, 'local'); UPDATE t SET v = 'local too' WHERE id = 2");
    node.store.mint_incarnation(Incarnation::new(7).unwrap()).unwrap();
    let mut other = Node::new(2, SCHEMA);
    other.run("INSERT INTO t VALUES(2, 'remote')");
    other.publish();
    node.consume(&other, 1);
    assert_eq!(node.query("SELECT v FROM t WHERE id = 2"), ["'remote'"]);
}
