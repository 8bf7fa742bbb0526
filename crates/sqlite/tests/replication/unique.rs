//! UNIQUE values (R1, R13): swaps, replacements, and two rows that want one value.

use crate::support::Cluster;

const SCHEMA: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, u TEXT UNIQUE COLLATE NOCASE, w UNIQUE, v)";

#[test]
fn values_swapped_in_one_transaction_arrive_swapped() {
    let mut cluster = Cluster::new(2, SCHEMA);
    cluster.run(1, "INSERT INTO t VALUES(1, 'a', 10, ''), (2, 'b', 20, ''), (3, 'c', 30, '')");
    cluster.settle();
    cluster.run(
        1,
        "BEGIN; UPDATE t SET u = 'tmp' WHERE id = 1; UPDATE t SET u = 'a' WHERE id = 2; \
         UPDATE t SET u = 'c', w = NULL WHERE id = 1 AND 0; UPDATE t SET u = 'b' WHERE id = 1; \
         DELETE FROM t WHERE id = 3; INSERT INTO t VALUES(4, 'c', 30, 'new'); COMMIT",
    );
    cluster.converge();
    let rows = cluster.nodes[1].query("SELECT id, u, w FROM t ORDER BY id");
    assert_eq!(rows, ["1|'b'|10", "2|'a'|20", "4|'c'|30"]);
    assert!(cluster.nodes[1].conflicts().is_empty());
}

#[test]
fn a_replaced_row_is_gone_everywhere() {
    let mut cluster = Cluster::new(3, SCHEMA);
    cluster.run(1, "INSERT INTO t VALUES(1, 'a', 1, ''), (2, 'b', 2, ''), (3, 'c', 3, '')");
    cluster.settle();
    cluster.run(2, "INSERT OR REPLACE INTO t VALUES(9, 'A', 2, 'took both')");
    cluster.settle();
    cluster.run(3, "UPDATE OR REPLACE t SET u = 'c' WHERE id = 9");
    cluster.converge();
    assert_eq!(cluster.nodes[0].query("SELECT * FROM t"), ["9|'c'|2|'took both'"]);
    assert!(cluster.nodes.iter().all(|node| node.conflicts().is_empty()));
}

#[test]
fn of_two_rows_with_one_value_the_greater_version_stays_on_all_nodes() {
    let mut cluster = Cluster::new(3, SCHEMA);
    cluster.run(1, "INSERT INTO t VALUES(1, 'same', 1, 'from 1')");
    cluster.run(2, "INSERT INTO t VALUES(2, 'SAME', 2, 'from 2')");
    cluster.converge();
    for node in &cluster.nodes {
        assert_eq!(node.query("SELECT id, v FROM t"), ["2|'from 2'"]);
    }
    let logged: Vec<_> = cluster.nodes.iter().flat_map(|node| node.conflicts()).collect();
    assert!(
        logged.iter().any(|line| line.starts_with("displaced|{\"id\":\"1\"}|") && line.contains("from 1"))
    );
}

#[test]
fn a_row_that_loses_to_any_rival_displaces_nobody() {
    let mut cluster = Cluster::new(2, SCHEMA);
    cluster.run(1, "INSERT INTO t VALUES(1, 'old', 1, '')");
    cluster.converge();
    // Node 2 takes 'old' away from row 1 and wants w = 7; node 1 has a later row with w = 7.
    cluster.run(2, "DELETE FROM t WHERE id = 1; INSERT INTO t VALUES(5, 'old', 7, 'loses')");
    cluster.run(1, "UPDATE t SET v = 'x'; UPDATE t SET v = 'y'; UPDATE t SET v = 'z'");
    cluster.run(1, "INSERT INTO t VALUES(6, 'other', 7, 'wins')");
    cluster.converge();
    let rows = cluster.nodes[1].query("SELECT id, v FROM t ORDER BY id");
    assert_eq!(rows, ["1|'z'", "6|'wins'"]);
}

#[test]
fn a_displaced_row_comes_back_with_a_later_version_of_it() {
    let mut cluster = Cluster::new(2, SCHEMA);
    cluster.run(1, "INSERT INTO t VALUES(1, 'same', 1, 'first')");
    cluster.run(2, "INSERT INTO t VALUES(2, 'same', 2, 'second')");
    cluster.publish(2);
    cluster.publish(1);
    // Node 1 gives the value up before it hears of node 2.
    cluster.run(1, "UPDATE t SET u = 'other'");
    cluster.publish(1);
    cluster.deliver(1, 2, 1);
    assert_eq!(cluster.nodes[1].query("SELECT id FROM t"), ["2"]);
    cluster.converge();
    assert_eq!(cluster.nodes[1].query("SELECT id, u FROM t ORDER BY id"), ["1|'other'", "2|'same'"]);
}

#[test]
fn a_displacement_is_published_even_to_nodes_that_saw_no_collision() {
    let mut cluster = Cluster::new(3, SCHEMA);
    cluster.run(1, "INSERT INTO t VALUES(1, 'same', 1, 'first')");
    cluster.publish(1);
    cluster.run(2, "INSERT INTO t VALUES(2, 'same', 2, 'second'); UPDATE t SET v = 'later'");
    cluster.deliver(1, 2, 1);
    assert_eq!(cluster.nodes[1].query("SELECT id FROM t"), ["2"], "row 1 is displaced");
    // When node 3 hears of them the value is free again: nothing collides there.
    cluster.run(2, "UPDATE t SET u = 'free'");
    let sent = cluster.publish(2);
    assert!(sent.iter().any(|(_, row)| row.version.version.displaced), "{sent:?}");
    cluster.deliver(1, 3, 1);
    cluster.deliver(2, 3, usize::MAX);
    assert_eq!(cluster.nodes[2].query("SELECT id, u FROM t"), ["2|'free'"]);
    cluster.converge();
    assert_eq!(cluster.nodes[0].query("SELECT id, u FROM t"), ["2|'free'"]);
}

#[test]
fn rows_without_version_make_way() {
    let schema = format!("{SCHEMA}; INSERT INTO t VALUES(1, 'same', 1, 'before us')");
    let mut cluster = Cluster::new(2, &schema);
    cluster.run(1, "DELETE FROM t WHERE id = 1; INSERT INTO t VALUES(2, 'same', 2, 'new')");
    cluster.nodes[0].publish();
    cluster.converge();
    assert_eq!(cluster.nodes[1].query("SELECT id FROM t"), ["2"]);
}

#[test]
fn a_row_that_cannot_be_written_is_a_dead_letter_and_the_rest_flows() {
    for unique in ["", " UNIQUE"] {
        let schema = format!("CREATE TABLE t(id INTEGER PRIMARY KEY, u{unique}, v)");
        let mut cluster = Cluster::new(2, &schema);
        cluster.run(2, "INSERT INTO t VALUES(50, 'here', 1)");
        // An index of one node only, over an expression that fails for some values.
        cluster.run(2, "CREATE INDEX broken ON t(abs(v))");
        cluster.nodes[1].store.read_schema().unwrap();
        cluster.run(1, "INSERT INTO t VALUES(1, 'a', 1), (2, 'b', -9223372036854775808), (3, 'here', 3)");
        cluster.publish(1);
        let applied = cluster.deliver(1, 2, 1);
        assert_eq!(applied.dead_letters, 1, "{unique}");
        let second = &cluster.nodes[1];
        assert_eq!(second.count("SELECT count(*) FROM t WHERE id IN (1, 3)"), 2);
        assert_eq!(second.count("SELECT count(*) FROM t WHERE id = 2"), 0);
        let letter = second
            .query("SELECT table_name, key, hlc > 0, length(body) > 20 FROM __harmonylite___dead_letter");
        assert_eq!(letter, ["'t'|'{\"id\":\"2\"}'|1|1"]);
        let rows = applied.rows_applied.values().sum::<u64>();
        assert_eq!(rows, 2);
    }
}
