//! NATS, peers and links away for a while: the application notices nothing, and all arrives afterwards.

use std::time::{Duration, Instant};

use harmonylite_testkit::{Cluster, Proxy, Result, ensure, wait, wait_for};

use crate::load::{self, LOAD, WRITES, all_arrives, finish_load, start_load};
use crate::support::{BINARY, DEADLINE, counter, following, wait_number};

#[test]
fn nats_servers_that_stand_still_for_a_whole_load_are_not_noticed_by_the_application() -> Result<()> {
    let cluster = following(3, load::SCHEMA)?;
    let servers: Vec<_> = cluster.nodes.iter().map(|node| node.server()).collect::<Result<_>>()?;
    servers.iter().for_each(|server| server.pause());
    let written = finish_load(start_load(&cluster)?);
    servers.iter().for_each(|server| server.resume());
    all_arrives(&cluster, &written?)
}

#[test]
fn a_nats_server_that_is_killed_all_the_time_is_not_noticed_by_the_application() -> Result<()> {
    let cluster = following(2, load::SCHEMA)?;
    let writers = start_load(&cluster)?;
    while writers.iter().any(|writer| writer.written() < WRITES) {
        cluster.nodes[0].kill9_server()?;
    }
    let written = finish_load(writers)?;
    all_arrives(&cluster, &written)
}

/// Two nodes that reach one another through a proxy each.
fn behind_proxies() -> Result<(Cluster, Vec<Proxy>)> {
    let mut cluster = Cluster::new(BINARY, 2, load::SCHEMA)?;
    let proxies: Vec<Proxy> =
        cluster.nodes.iter().map(|node| Proxy::start(&node.address())).collect::<Result<_>>()?;
    cluster.nodes[0].set_peers([proxies[1].address().as_str()]);
    cluster.nodes[1].set_peers([proxies[0].address().as_str()]);
    // Members tell one another where they are: behind the proxy.
    for (node, proxy) in cluster.nodes.iter_mut().zip(&proxies) {
        node.set("cluster.advertise", format!("\"{}\"", proxy.address()));
    }
    cluster.start_all()?;
    cluster.wait_following(DEADLINE)?;
    Ok((cluster, proxies))
}

#[test]
fn links_that_are_cut_or_stalled_during_a_load_delay_it_and_lose_nothing() -> Result<()> {
    let (cluster, proxies) = behind_proxies()?;
    let writers = start_load(&cluster)?;
    let breaks: [fn(&Proxy); 2] = [Proxy::cut, Proxy::stall];
    for (round, away) in breaks.into_iter().cycle().take(4).enumerate() {
        proxies.iter().for_each(away);
        let moment = 80 * (round as u64 + 1);
        wait("writes meanwhile", DEADLINE, || writers.iter().all(|writer| writer.written() >= moment))?;
        proxies.iter().for_each(Proxy::resume);
    }
    let written = finish_load(writers)?;
    all_arrives(&cluster, &written)
}

/// What is asked for at once must fit the time that client and server give one another; else it is begun anew for ever.
#[test]
fn a_large_transaction_crosses_a_slow_link() -> Result<()> {
    let (cluster, proxies) = behind_proxies()?;
    // 64 KiB every 80 ms: some 6 Mbit/s.
    proxies.iter().for_each(|proxy| proxy.delay(Duration::from_millis(80)));
    cluster.nodes[0].execute(load::LARGE)?;
    wait_number(&cluster.nodes[1], "SELECT count(*) FROM shared", 24)?;
    cluster.wait_equal(load::TABLES, DEADLINE).map(drop)
}

/// The status of a node does not say that it follows anybody.
fn follows_nobody(cluster: &Cluster) -> Result<()> {
    for node in &cluster.nodes {
        let status = node.status()?;
        let mut sources = status["sources"].as_array().into_iter().flatten();
        ensure!(sources.all(|source| source["state"] != "following"), "{:#}", status["sources"]);
    }
    Ok(())
}

#[test]
fn a_link_that_was_away_for_longer_than_the_servers_wait_is_read_again_and_the_status_said_so() -> Result<()>
{
    const AWAY: Duration = Duration::from_secs(12);
    for away in [Proxy::cut as fn(&Proxy), Proxy::stall] {
        let (cluster, proxies) = behind_proxies()?;
        proxies.iter().for_each(away);
        let start = Instant::now();
        let writers = start_load(&cluster)?;
        wait_for("nobody followed", DEADLINE, || {
            ensure!(start.elapsed() > AWAY, "the link is not away for long enough");
            follows_nobody(&cluster)
        })?;
        let written = finish_load(writers)?;
        proxies.iter().for_each(Proxy::resume);
        all_arrives(&cluster, &written)?;
        cluster.wait_following(DEADLINE)?;
    }
    Ok(())
}

#[test]
fn the_last_of_three_nodes_goes_on_and_publishes() -> Result<()> {
    let mut cluster = following(3, load::SCHEMA)?;
    cluster.nodes[1].kill9()?;
    cluster.nodes[2].kill9()?;
    let writer = load::start(&cluster.nodes[0], LOAD)?;
    let written = finish_load(vec![writer])?;
    cluster.nodes[0].wait_status("everything published", DEADLINE, |status| {
        status["publisher"]["pending_rows"] == 0 && status["publisher"]["state"] == "idle"
    })?;
    // Every write has at least the row of its event and the shared one.
    ensure!(counter(&cluster.nodes[0], "published_log_rows")? >= 2 * WRITES, "{}", cluster.nodes[0].log());
    // Whoever has published everything may go, too: its stream has it all when it is back.
    ensure!(cluster.nodes[0].stop()?.success());
    cluster.start_all()?;
    all_arrives(&cluster, &[written[0], 0, 0])
}
