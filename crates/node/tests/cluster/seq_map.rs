//! `seq_map_path`: what the file shows, and that a source is read again when it is taken back or gone.

use std::fs;

use harmonylite_testkit::{Cluster, Context, Result, ensure, wait_for};

use crate::support::{BINARY, DEADLINE, counter, no_panics, rows_applied, wait_number};

const SCHEMA: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY, v)";
const SOURCE: &str = "1/harmonylite-changes-1";

/// A CBOR map (RFC 8949) with one text of 23 bytes and one number below 24.
fn map(sequence: u8) -> Vec<u8> {
    assert!(SOURCE.len() == 23 && sequence < 24);
    [&[0xa1, 0x60 + 23], SOURCE.as_bytes(), &[sequence]].concat()
}

#[test]
fn the_file_shows_what_is_applied_and_a_source_is_read_again_from_what_it_says() -> Result<()> {
    let mut cluster = Cluster::new(BINARY, 2, SCHEMA)?;
    let file = cluster.nodes[1].folder().join("seq-map.cbor");
    cluster.nodes[1].set("seq_map_path", format!("{file:?}"));
    cluster.start_all()?;
    cluster.wait_following(DEADLINE)?;
    for id in 1..=5 {
        cluster.nodes[0].execute(&format!("INSERT INTO t VALUES({id}, 'row')"))?;
        wait_number(&cluster.nodes[1], "SELECT count(*) FROM t", id)?;
    }
    let shown = |wanted: &[u8]| {
        wait_for("the sequence in the file", DEADLINE, || {
            let found = fs::read(&file).context("no file")?;
            ensure!(found == wanted, "{found:?}");
            Ok(())
        })
    };
    shown(&map(5))?;
    // (what the file says at the next start, the first message that is asked for)
    for (says, from) in [(Some(map(3)), 4), (None, 1), (Some(map(9)), 6)] {
        ensure!(cluster.nodes[1].stop()?.success(), "{}", cluster.nodes[1].log());
        match says {
            Some(bytes) => fs::write(&file, bytes)?,
            None => fs::remove_file(&file)?,
        }
        fs::write(cluster.nodes[1].log_file(), "")?;
        cluster.start_all()?;
        cluster.wait_following(DEADLINE)?;
        shown(&map(5))?;
        let log = fs::read_to_string(cluster.nodes[1].log_file())?;
        ensure!(log.contains(&format!("following source={SOURCE} from={from}\n")), "not from {from}: {log}");
        assert_eq!(counter(&cluster.nodes[1], "groups_dropped")?, 6 - from);
        assert_eq!(
            (rows_applied(&cluster.nodes[1], 1)?, counter(&cluster.nodes[1], "rows_applied")?),
            (5, 0)
        );
    }
    cluster.wait_equal(&["t"], DEADLINE)?;
    no_panics(&cluster)
}
