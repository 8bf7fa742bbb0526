//! What a seed means: nodes, a profile of faults, and a list of acts. Everything the outside world does to the nodes is
//! in that list, so that a failure can be shrunk by leaving acts out; each act has random numbers of its own.

use std::fmt;

use crate::application::Schema;
use crate::random::Random;

/// How nodes exchange changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// Every node publishes to streams of its own, and reads those of the others.
    Mesh,
    /// All publish to the same streams.
    Shared,
}

/// What the world is like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Profile {
    pub(crate) mode: Mode,
    pub(crate) schema: Schema,
    pub(crate) shards: u16,
    /// The longest way of a message, in milliseconds.
    pub(crate) delay_ms: u64,
    /// Of how many publishes in a hundred nobody answers.
    pub(crate) unknown_percent: u64,
    /// The wall clocks of all nodes tick in steps of so many milliseconds: equal clocks, ties.
    pub(crate) tick_ms: u64,
    /// Log rows above which a change set is closed early: atomicity is given up.
    pub(crate) group_rows: usize,
    /// Rows from which on a change set ends where a transaction is known to end; `None` when nobody looks where they end.
    pub(crate) set_rows: Option<usize>,
    /// Bytes of a body: small ones make groups of several messages.
    pub(crate) body_size: usize,
    /// Log rows that one commit stamps or trims.
    pub(crate) housekeeping_rows: usize,
    pub(crate) housekeeping_ms: u64,
    /// This node's store takes long for everything.
    pub(crate) slow: Option<usize>,
}

impl Profile {
    /// Does a change set stay whole, however large?
    pub(crate) const fn keeps_groups_whole(&self) -> bool {
        self.group_rows >= 1000 && self.shards == 1
    }
}

/// Something that the outside world does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Act {
    /// The application runs a transaction.
    Write,
    /// It holds the lock for so long before it commits.
    LongWrite { hold_ms: u64 },
    /// The process is killed, and started again after so long.
    Kill { down_ms: u64 },
    /// It is asked to end, and started again.
    Restart { down_ms: u64 },
    /// The database as it is now is kept.
    Image,
    /// The machine loses its last commits: the image chosen by `which` is put back.
    PowerLoss { which: u64, down_ms: u64 },
    /// An old copy of the database is restored: the first image.
    OlderCopy { down_ms: u64 },
    /// The wall clock is set to so much beside the true time.
    Clock { off_ms: i64 },
    /// Two nodes do not reach one another any more (in shared mode: the node does not reach the streams), or do again.
    Cut { other: usize },
    /// The node reaches nobody and nobody reaches it.
    CutOff,
    /// All connections of the node to streams break.
    Drop,
    /// The server is away (in shared mode: for everybody).
    Outage { ms: u64 },
    /// The database is started under another node's id.
    OtherId,
    /// The stream loses its oldest messages.
    Truncate { keep: u64 },
    /// The stream loses its newest messages.
    RollBack { lose: u64 },
    /// The stream is deleted and made again.
    Recreate,
}

impl Act {
    /// Its name in counts.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Write => "writes",
            Self::LongWrite { .. } => "long transactions",
            Self::Kill { .. } => "kills",
            Self::Restart { .. } => "restarts",
            Self::Image => "images",
            Self::PowerLoss { .. } => "power losses",
            Self::OlderCopy { .. } => "older copies",
            Self::Clock { .. } => "clock steps",
            Self::Cut { .. } => "cuts",
            Self::CutOff => "hours cut off",
            Self::Drop => "dropped connections",
            Self::Outage { .. } => "outages",
            Self::OtherId => "other node ids",
            Self::Truncate { .. } => "truncations",
            Self::RollBack { .. } => "rollbacks",
            Self::Recreate => "recreations",
        }
    }
}

/// An act of one node at one time.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) after_ms: u64,
    pub(crate) node: usize,
    pub(crate) act: Act,
    pub(crate) random: Random,
}

/// What a seed means.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) nodes: usize,
    pub(crate) profile: Profile,
    pub(crate) acts: Vec<Planned>,
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}: {} nodes, {} acts, {:?}", self.seed, self.nodes, self.acts.len(), self.profile)
    }
}

/// Which kinds of faults a seed has.
struct Weather {
    kills: bool,
    power: bool,
    clocks: bool,
    cuts: bool,
    outages: bool,
    loss: bool,
    away: bool,
    fault_percent: u64,
}

impl Plan {
    pub(crate) fn of_seed(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let nodes = random.pick(&[2, 2, 2, 3, 3, 3, 4, 5, 7]);
        let profile = profile(&mut random, nodes);
        let weather = weather(&mut random);
        let count = random.pick(&[10, 20, 30, 50, 80]) / if nodes > 4 { 2 } else { 1 };
        let gap_ms = random.pick(&[5, 20, 60, 120]);
        let acts = (0..count).map(|_| planned(&mut random, nodes, &weather, gap_ms)).collect();
        let mut plan = Self { seed, nodes, profile: Profile { set_rows: set_rows(seed), ..profile }, acts };
        if plan.is_hour() {
            plan.take_an_hour();
        }
        plan
    }

    /// One seed in fifty. With many nodes an hour would be nothing but their timers.
    fn is_hour(&self) -> bool {
        // Numbers of its own: drawn from the others, it would give every seed another meaning.
        self.nodes <= 3 && Random::new(self.seed ^ 0x0068_6f75_7221).chance(3)
    }

    /// The same acts in an hour, all the time of which one node is cut off; all nodes write.
    fn take_an_hour(&mut self) {
        let total: u64 = self.acts.iter().map(|planned| planned.after_ms).sum();
        for planned in &mut self.acts {
            planned.after_ms = planned.after_ms * HOUR_MS / total.max(1);
        }
        let node = usize::try_from(self.seed).unwrap_or(0) % self.nodes;
        let random = Random::new(self.seed);
        self.acts.insert(0, Planned { after_ms: 0, node, act: Act::CutOff, random });
    }
}

/// How long a node is cut off, in milliseconds of virtual time.
const HOUR_MS: u64 = 3_600_000;

fn profile(random: &mut Random, nodes: usize) -> Profile {
    Profile {
        mode: if random.chance(60) { Mode::Mesh } else { Mode::Shared },
        schema: random.pick(&[Schema::Unique, Schema::Unique, Schema::Keys, Schema::Index, Schema::All]),
        shards: random.pick(&[1, 1, 1, 1, 2, 3]),
        delay_ms: random.pick(&[1, 5, 20, 60]),
        unknown_percent: random.pick(&[0, 5, 20, 50]),
        tick_ms: random.pick(&[1, 1, 10, 100]),
        group_rows: random.pick(&[100_000, 100_000, 100_000, 1, 2, 3, 5]),
        set_rows: None,
        body_size: random.pick(&[100_000, 200, 60, 1]),
        housekeeping_rows: random.pick(&[10_000, 10_000, 1, 3]),
        housekeeping_ms: random.pick(&[200, 1000, 5000]),
        slow: random.chance(15).then(|| random.index(nodes)),
    }
}

const SET_ROWS: u64 = 0x0009_f2ea;

/// Numbers of its own, as for the hours; the constant leaves seeds that found a bug what they were.
fn set_rows(seed: u64) -> Option<usize> {
    let mut random = Random::new(seed ^ SET_ROWS);
    random.chance(60).then(|| random.pick(&[1, 1, 2, 5]))
}

fn weather(random: &mut Random) -> Weather {
    Weather {
        kills: random.chance(70),
        power: random.chance(40),
        clocks: random.chance(50),
        cuts: random.chance(50),
        outages: random.chance(40),
        loss: random.chance(12),
        away: random.chance(15),
        fault_percent: random.pick(&[5, 15, 35]),
    }
}

fn planned(random: &mut Random, nodes: usize, weather: &Weather, gap_ms: u64) -> Planned {
    let act =
        if random.chance(weather.fault_percent) { fault(random, nodes, weather) } else { write(random) };
    let after_ms = random.below(2 * gap_ms + 1);
    Planned { after_ms, node: random.index(nodes), act, random: Random::new(random.next()) }
}

fn write(random: &mut Random) -> Act {
    if random.chance(5) { Act::LongWrite { hold_ms: 1 + random.below(60) } } else { Act::Write }
}

fn fault(random: &mut Random, nodes: usize, weather: &Weather) -> Act {
    let short = 1 + random.below(200);
    let act = match random.below(20) {
        0..=2 if weather.kills => Act::Kill { down_ms: short },
        3 if weather.kills => Act::Restart { down_ms: short },
        4 if weather.away => Act::Kill { down_ms: 2_000 + random.below(4_000) },
        5..=6 if weather.power => Act::PowerLoss { which: random.next(), down_ms: short },
        7 if weather.power => Act::OlderCopy { down_ms: short },
        8..=9 if weather.clocks => {
            Act::Clock { off_ms: random.pick(&[0, -50, 50, -5_000, 5_000, -3_600_000, 3_600_000]) }
        }
        10..=12 if weather.cuts => Act::Cut { other: random.index(nodes) },
        13 => Act::Drop,
        14 if weather.outages => Act::Outage { ms: 2 * short },
        15 if random.chance(10) => Act::OtherId,
        16 if weather.loss => Act::Truncate { keep: random.below(6) },
        17 if weather.loss => Act::RollBack { lose: 1 + random.below(4) },
        18 if weather.loss && random.chance(30) => Act::Recreate,
        _ => Act::Image,
    };
    if matches!(act, Act::Image) && !weather.power { write(random) } else { act }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_seeds_are_an_hour_of_writes_with_a_node_cut_off() {
        let hours: Vec<Plan> = (0..1000).map(Plan::of_seed).filter(Plan::is_hour).collect();
        assert!((5..60).contains(&hours.len()), "{} of 1000", hours.len());
        for plan in hours {
            let total: u64 = plan.acts.iter().map(|planned| planned.after_ms).sum();
            assert!(total <= HOUR_MS && total > HOUR_MS - 1000, "{plan}: {total} ms");
            assert_eq!(plan.acts[0].act, Act::CutOff);
        }
    }

    #[test]
    fn seeds_that_found_a_bug_keep_their_meaning() {
        let seeds = include_str!("../seeds/regressions.txt").lines().filter(|line| !line.starts_with('#'));
        let seeds: Vec<u64> = seeds.filter_map(|line| line.split(' ').next()?.parse().ok()).collect();
        let plans: Vec<Plan> = seeds.into_iter().map(Plan::of_seed).collect();
        assert!(!plans.is_empty() && plans.iter().all(|plan| !plan.is_hour()));
        // Those that were found before readings were cut into sets.
        let old = |plan: &&Plan| plan.seed < 30_000_000;
        assert!(plans.iter().filter(old).all(|plan| plan.profile.set_rows.is_none()));
    }
}
