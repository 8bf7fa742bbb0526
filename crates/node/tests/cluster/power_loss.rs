//! The machine loses power, and the database comes back older than what was already published.

use std::collections::BTreeSet;

use harmonylite_testkit::{Cluster, Image, Node, Result, Rng, Writer, ensure, wait, wait_for};

use crate::load;
use crate::support::{DEADLINE, following, no_panics, wait_number};

const SCHEMA: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, v)";

fn incarnation(node: &Node) -> Result<String> {
    Ok(node.status()?["incarnation"].to_string())
}

/// Node 1 with an image taken before the writes `lost`, which all nodes have.
fn with_image(lost: &str) -> Result<(Cluster, Image)> {
    let mut cluster = following(3, SCHEMA)?;
    cluster.nodes[0]
        .execute("INSERT INTO t VALUES(1, 'one'), (2, 'two'), (3, 'three'), (4, 'four'), (5, 'five')")?;
    cluster.wait_published(DEADLINE)?;
    for node in &cluster.nodes {
        wait_number(node, "SELECT count(*) FROM t", 5)?;
    }
    ensure!(cluster.nodes[0].stop()?.success());
    let image = Image::take(&cluster.nodes[0].db())?;
    cluster.start_all()?;
    cluster.wait_following(DEADLINE)?;
    cluster.nodes[0].execute(lost)?;
    cluster.wait_published(DEADLINE)?;
    cluster.wait_equal(&["t"], DEADLINE)?;
    Ok((cluster, image))
}

const LOST: &str = "INSERT INTO t VALUES(10, 'lost'), (11, 'lost'); UPDATE t SET v = 'lost' WHERE id IN (2, 3); \
                    DELETE FROM t WHERE id = 4";

/// Made after the loss, while the sidecar is still down.
const NEW: &str = "INSERT INTO t VALUES(20, 'new'); UPDATE t SET v = 'new' WHERE id IN (3, 5)";

const ROWS: &str = "SELECT group_concat(id || '=' || v, ' ') FROM (SELECT * FROM t ORDER BY id)";

const WANTED: &str = "1=one 2=lost 3=new 5=new 10=lost 11=lost 20=new";

fn wait_rows(node: &Node) -> Result<()> {
    wait_number(node, &format!("SELECT ({ROWS}) = '{WANTED}'"), 1)
}

#[test]
fn published_writes_that_a_power_loss_took_come_back_and_new_ones_win_over_them() -> Result<()> {
    let (mut cluster, image) = with_image(LOST)?;
    let before = incarnation(&cluster.nodes[0])?;
    cluster.nodes[0].kill9()?;
    image.put_back(&cluster.nodes[0].db())?;
    cluster.nodes[0].execute(NEW)?;
    cluster.nodes[0].start()?;
    cluster.nodes[0].wait_ready()?;
    cluster.nodes.iter().try_for_each(wait_rows)?;
    cluster.wait_equal(&["t"], DEADLINE)?;
    assert_ne!(incarnation(&cluster.nodes[0])?, before);
    // And it goes on under its new origin, in both directions.
    cluster.nodes[0].execute("INSERT INTO t VALUES(30, 'after')")?;
    cluster.nodes[1].execute("DELETE FROM t WHERE id = 10")?;
    for node in &cluster.nodes {
        wait_number(node, "SELECT count(*) FROM t WHERE id IN (10, 30)", 1)?;
    }
    cluster.wait_equal(&["t"], DEADLINE)?;
    no_panics(&cluster)
}

#[test]
fn the_own_stream_alone_brings_back_what_a_power_loss_took() -> Result<()> {
    let (mut cluster, image) = with_image(LOST)?;
    let before = incarnation(&cluster.nodes[0])?;
    ensure!(cluster.nodes[1].stop()?.success() && cluster.nodes[2].stop()?.success());
    cluster.nodes[0].kill9()?;
    image.put_back(&cluster.nodes[0].db())?;
    cluster.nodes[0].start()?;
    cluster.nodes[0].wait_ready()?;
    wait_number(&cluster.nodes[0], "SELECT count(*) FROM t WHERE v = 'lost'", 4)?;
    assert_ne!(incarnation(&cluster.nodes[0])?, before);
    cluster.nodes[0].execute(NEW)?;
    cluster.start_all()?;
    cluster.nodes.iter().try_for_each(wait_rows)?;
    Ok(())
}

#[test]
fn a_power_loss_in_the_middle_of_a_load_loses_no_published_write() -> Result<()> {
    let mut cluster = following(3, load::SCHEMA)?;
    let others = [load::start(&cluster.nodes[1], 100)?, load::start(&cluster.nodes[2], 100)?];
    let writer = load::start(&cluster.nodes[0], 200)?;
    wait("a first part", DEADLINE, || writer.written() >= 150)?;
    let image = Image::take(&cluster.nodes[0].db())?;
    let moment = writer.written() + 250;
    wait("a second part", DEADLINE, || writer.written() >= moment)?;
    let written = writer.stop()?;
    // Seen elsewhere means published: those writes must come back.
    wait_for("the writes at another node", DEADLINE, || load::check_complete(&cluster.nodes[1], 1, written))?;
    cluster.nodes[0].kill9()?;
    image.put_back(&cluster.nodes[0].db())?;
    cluster.nodes[0].execute("INSERT INTO shared VALUES(1000, 'before the start')")?;
    cluster.nodes[0].start()?;
    cluster.nodes[0].wait_ready()?;
    cluster.nodes[0].execute("INSERT INTO shared VALUES(1001, 'after the start')")?;
    let others: Vec<u64> = others.into_iter().map(Writer::stop).collect::<Result<_>>()?;
    let complete = || -> Result<()> {
        for node in &cluster.nodes {
            load::check_complete(node, 1, written)?;
            load::check_complete(node, 2, others[0])?;
            load::check_complete(node, 3, others[1])?;
            ensure!(node.query::<i64>("SELECT count(*) FROM shared WHERE id >= 1000")? == 2, "new rows");
        }
        cluster.equal_contents(load::TABLES).map(drop)
    };
    wait_for("all writes everywhere", DEADLINE, complete).map_err(|error| error.context(cluster.logs()))?;
    no_panics(&cluster)
}

/// The events that a node has, by id.
fn events(node: &Node) -> Result<BTreeSet<i64>> {
    let connection = node.connection()?;
    let mut statement = connection.prepare("SELECT id FROM event")?;
    let ids = statement.query_map([], |row| row.get(0))?;
    Ok(ids.collect::<Result<_, _>>()?)
}

#[test]
fn power_losses_at_random_moments_end_equal_and_lose_nothing_that_others_saw() -> Result<()> {
    const ROUNDS: u64 = 6;
    let mut rng = Rng::from_environment();
    let mut cluster = following(3, load::SCHEMA)?;
    let mut seen = BTreeSet::new();
    for round in 1..=ROUNDS {
        let writers: Vec<Writer> = (cluster.nodes.iter())
            .map(|node| load::start_at(node, 150, round * 10_000))
            .collect::<Result<_>>()?;
        let victim = rng.below(3) as usize;
        let until = |moment: u64| wait("more writes", DEADLINE, || writers[victim].written() >= moment);
        let (first, second) = (rng.below(60), rng.below(120));
        until(first)?;
        let image = Image::take(&cluster.nodes[victim].db())?;
        if rng.chance(30) {
            // A restart in between: what it saves is lost, too.
            cluster.nodes[victim].kill9()?;
            cluster.nodes[victim].start()?;
        }
        until(first + second)?;
        for writer in writers {
            writer.stop()?;
        }
        cluster.nodes[victim].kill9()?;
        image.put_back(&cluster.nodes[victim].db())?;
        if rng.chance(50) {
            cluster.nodes[victim].execute(&format!("INSERT INTO own VALUES({}, 0)", 100_000 + round))?;
        }
        for node in cluster.nodes.iter().filter(|node| node.id() != victim as u64 + 1) {
            seen.extend(events(node)?);
        }
        cluster.nodes[victim].start()?;
        if rng.chance(50) {
            cluster.wait_following(DEADLINE)?;
        }
    }
    let complete = || -> Result<()> {
        for node in &cluster.nodes {
            let lost = seen.difference(&events(node)?).count();
            ensure!(lost == 0, "node {}: {lost} events that others had seen are missing", node.id());
        }
        cluster.equal_contents(load::TABLES).map(drop)
    };
    wait_for("all that was seen everywhere", DEADLINE, complete)
        .map_err(|error| error.context(cluster.logs()))?;
    cluster.wait_published(DEADLINE)?;
    cluster.wait_equal(load::TABLES, DEADLINE)?;
    no_panics(&cluster)
}
