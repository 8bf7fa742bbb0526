//! What happened: a count of the faults always; a digest and the lines when somebody wants them.

use std::collections::BTreeMap;

/// How often each fault struck, and how much was done. A fault that never strikes in many seeds is a bug of the
/// simulator.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Counts(BTreeMap<&'static str, u64>);

impl Counts {
    /// The faults that must strike in any large number of seeds.
    pub const FAULTS: [&str; 23] = [
        "writes",
        "long transactions",
        "kills",
        "restarts",
        "images",
        "power losses",
        "older copies",
        "clock steps",
        "cuts",
        "hours cut off",
        "dropped connections",
        "outages",
        "other node ids",
        "truncations",
        "rollbacks",
        "recreations",
        "unknown outcomes",
        "new incarnations",
        "stopped sources",
        "streams read again",
        "groups closed early",
        "conflicts logged",
        "replays",
    ];

    /// One more of `what`.
    pub(crate) fn note(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    /// Adds those of another run.
    pub fn add(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            *self.0.entry(what).or_default() += count;
        }
    }

    /// How often.
    #[must_use]
    pub fn of(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }

    /// All, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.0.iter().map(|(what, count)| (*what, *count))
    }
}

/// The history of one run.
#[derive(Debug)]
pub(crate) struct History {
    wanted: bool,
    lines: Vec<String>,
    digest: u64,
    pub(crate) counts: Counts,
}

impl History {
    /// `wanted`: keep lines and digest.
    pub(crate) fn new(wanted: bool) -> Self {
        // FNV-1a, 64 bits: offset basis.
        Self { wanted, lines: Vec::new(), digest: 0xcbf2_9ce4_8422_2325, counts: Counts::default() }
    }

    /// Something happened at `at` (virtual milliseconds).
    pub(crate) fn note(&mut self, at: u64, line: impl FnOnce() -> String) {
        if !self.wanted {
            return;
        }
        let line = format!("{at} {}", line());
        for byte in line.bytes() {
            // FNV-1a, 64 bits: prime.
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.lines.push(line);
    }

    pub(crate) fn into_parts(self) -> (Vec<String>, u64, Counts) {
        (self.lines, self.digest, self.counts)
    }
}
