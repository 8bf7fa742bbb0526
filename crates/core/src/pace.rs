//! The pace of our transactions: for how long they hold the application's write lock, and for how long they leave it free
//! afterwards (G1). A controller without a clock: it counts what it is told of holds.
//!
//! The goal (ADR 0013): the 99th percentile of what an application's writes take is at most three times what it is without
//! us. Whoever finds the lock taken sleeps for a millisecond at least (SQLite's busy handler tries again after 1 ms, then
//! after 2, 5 and 10), which is more than that. So:
//!
//! - *An application that pauses between its writes* (for [`GAP_US`] on average) may find it taken by less than one write in a
//!   hundred. A transaction then works for about [`WORK_LATE_US`] and takes the lock late, for a twentieth of that or less; and
//!   it is followed by a pause [`REST`] times as long as it held it. Where many pages are written for few rows that would be a
//!   standstill: no pause is longer than [`REST_MAX`] times the work.
//! - *An application that does not* leaves little time to work something out, so most locks are early, and a pause would have
//!   to be hundreds of its writes long. A transaction takes about [`WORK_EARLY_US`], and leaves the lock free for as long as
//!   it held it, and for [`PAUSE_MIN_US`] at least: a writer that found the lock taken mostly gets it at its next try, and keeps
//!   half of the time.
//!
//! While the application does not write, transactions last about [`WORK_IDLE_US`] and follow each other at once. Four things keep
//! that from going wrong:
//!
//! - *It remembers.* The application counts as writing until our pauses since its last write add up to [`ACTIVE_US`]: it
//!   could have written in each of them, and could not while we held the lock.
//! - *It knows the cost of a row*, not the size of the last transaction: when the application begins to write, the very next
//!   transaction is short, however long the one before was.
//! - *A group is never cut* (G4). One that holds the lock for longer is followed by a longer pause, up to
//!   [`PAUSE_MAX_US`]: apply always goes on.
//! - *Our own log comes first* (R13), in as many transactions as it takes; larger ones when the application writes faster
//!   than they stamp.

use crate::input::Hold;
use crate::limits::{APPLY_ROWS_MAX, APPLY_ROWS_MIN, GROUP_ROWS_MAX, HOUSEKEEPING_ROWS};

/// How long a transaction takes while the application writes and locks are early, in microseconds: over when the busy handler
/// looks again (ADR 0010).
const WORK_EARLY_US: u64 = 800;
/// The same when they are late. The longer, the fewer pages for each row; the shorter, the less is done in vain when the
/// application commits meanwhile (ADR 0013).
const WORK_LATE_US: u64 = 1_600;
/// The same while nobody else writes: catching up. Longer would gain little (what a transaction costs beside its rows is a
/// hundredth of this), and it is what the first write of an application waits.
const WORK_IDLE_US: u64 = 20_000;
/// A pause after a late lock, in times of what it was held: in one of so many moments, then, it is taken by us (ADR 0013).
const REST: u64 = 200;
/// An application that writes more often than this on average does not pause: within SQLite's first sleep it comes again.
const GAP_US: u64 = 1_000;
/// No such pause is longer than so many times the whole work.
const REST_MAX: u64 = 20;
/// For how long, counted in our pauses, an application counts as writing after it wrote.
const ACTIVE_US: u64 = 3_000_000;
/// The shortest pause after a transaction while the application writes: whoever was turned away looks again within it.
const PAUSE_MIN_US: u64 = 1_000;
/// The longest pause after one transaction.
const PAUSE_MAX_US: u64 = 1_000_000;
/// What a row is taken to cost before any was seen, in nanoseconds: two or three of a real one.
const COST_FIRST_NS: u64 = 10_000;
/// The most that a row is believed to cost.
const COST_MAX_NS: u64 = 1_000_000_000;

/// The controller.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    apply: Cost,
    stamp: Cost,
    tend: Cost,
    /// For how much of our pauses the application still counts as writing.
    active_us: u64,
    /// The last transaction got its lock late.
    late: bool,
    /// What was unstamped after the last transaction that stamped instead of applying.
    unstamped_rows: Option<u64>,
    /// How often a stretch to stamp is doubled.
    urgency: u32,
}

impl Pace {
    /// How many rows the next apply should have.
    pub(crate) fn rows_to_apply(&self) -> u64 {
        self.apply.rows_in(self.work_us()).clamp(APPLY_ROWS_MIN, APPLY_ROWS_MAX)
    }

    /// How many rows of our own log an apply may stamp; more are stamped first.
    pub(crate) fn rows_to_stamp(&self) -> u64 {
        (self.own_rows(&self.stamp) << self.urgency).min(GROUP_ROWS_MAX as u64)
    }

    /// How many rows of our own log the next housekeeping may stamp and trim.
    pub(crate) fn rows_to_tend(&self) -> u64 {
        self.own_rows(&self.tend)
    }

    fn own_rows(&self, cost: &Cost) -> u64 {
        cost.rows_in(self.work_us()).clamp(APPLY_ROWS_MIN, HOUSEKEEPING_ROWS as u64)
    }

    /// Other nodes' rows were applied. Gives for how long the lock is to be left free, in microseconds.
    pub(crate) fn on_applied(&mut self, hold: Hold) -> u64 {
        self.unstamped_rows = None;
        self.urgency = 0;
        self.apply.learn(hold);
        self.pause_us(hold)
    }

    /// Housekeeping. Gives the same.
    pub(crate) fn on_housekept(&mut self, hold: Hold) -> u64 {
        self.tend.learn(hold);
        self.pause_us(hold)
    }

    /// Rows of our own log were stamped before an apply, and so many are left. Gives the same.
    pub(crate) fn on_stamped(&mut self, hold: Hold, unstamped_rows: u64) -> u64 {
        if self.unstamped_rows.is_some_and(|before| before <= unstamped_rows)
            && self.rows_to_stamp() < GROUP_ROWS_MAX as u64
        {
            self.urgency += 1;
        }
        self.unstamped_rows = Some(unstamped_rows);
        self.stamp.learn(hold);
        self.pause_us(hold)
    }

    fn pause_us(&mut self, hold: Hold) -> u64 {
        if hold.application_writes > 0 {
            self.active_us = ACTIVE_US;
        }
        self.late = hold.late;
        if !self.is_application_active() {
            return 0;
        }
        let pauses = hold.application_writes.saturating_mul(GAP_US) <= hold.apart_us;
        let rest_us = if hold.late && pauses {
            hold.held_us.saturating_mul(REST).min(hold.worked_us.saturating_mul(REST_MAX))
        } else {
            hold.held_us
        };
        let pause_us = rest_us.clamp(PAUSE_MIN_US, PAUSE_MAX_US);
        self.active_us = self.active_us.saturating_sub(pause_us);
        pause_us
    }

    fn work_us(&self) -> u64 {
        match (self.is_application_active(), self.late) {
            (false, _) => WORK_IDLE_US,
            (true, false) => WORK_EARLY_US,
            (true, true) => WORK_LATE_US,
        }
    }

    fn is_application_active(&self) -> bool {
        self.active_us > 0
    }
}

/// What a row of one kind of work costs, in nanoseconds, as the last transactions had it.
#[derive(Debug)]
struct Cost(u64);

impl Default for Cost {
    fn default() -> Self {
        Self(COST_FIRST_NS)
    }
}

impl Cost {
    fn rows_in(&self, work_us: u64) -> u64 {
        work_us * 1000 / self.0
    }

    /// Half of what was believed and half of what was seen: a moment in which the machine was busy is no rule, and a table
    /// with more indexes is noticed soon.
    fn learn(&mut self, hold: Hold) {
        if let Some(seen) = hold.worked_us.saturating_mul(1000).checked_div(hold.rows) {
            self.0 = u64::midpoint(self.0, seen.min(COST_MAX_NS)).max(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A machine on which rows cost the same, and transactions something besides.
    #[derive(Clone, Copy, Debug)]
    struct Machine {
        row_ns: u64,
        transaction_us: u64,
        /// Locks are late, and held for one in so many microseconds of the work.
        late: Option<u64>,
    }

    impl Machine {
        fn hold(self, rows: u64, application_wrote: bool) -> Hold {
            let worked_us = self.transaction_us + rows * self.row_ns / 1000;
            let held_us = self.late.map_or(worked_us, |part| worked_us / part);
            let application_writes = application_wrote.into();
            let late = self.late.is_some();
            Hold { rows, worked_us, held_us, late, application_writes, apart_us: 2_000 }
        }

        fn work_us(self) -> u64 {
            if self.late.is_some() { WORK_LATE_US } else { WORK_EARLY_US }
        }
    }

    fn machine() -> impl Strategy<Value = Machine> {
        (200_u64..100_000, 20_u64..400, prop::option::of(1_u64..100))
            .prop_map(|(row_ns, transaction_us, late)| Machine { row_ns, transaction_us, late })
    }

    /// The pause that is to follow.
    fn rest_us(hold: Hold) -> u64 {
        let wanted =
            if hold.late { (REST * hold.held_us).min(REST_MAX * hold.worked_us) } else { hold.held_us };
        wanted.clamp(PAUSE_MIN_US, PAUSE_MAX_US)
    }

    /// After so many transactions what is believed of a row is what it costs.
    const LEARNT: usize = 40;

    fn learnt(machine: Machine, application_wrote: bool) -> Pace {
        let mut pace = Pace::default();
        for _ in 0..LEARNT {
            let rows = pace.rows_to_apply();
            pace.on_applied(machine.hold(rows, application_wrote));
        }
        pace
    }

    /// Within a fifth of `wanted_us`, where the bounds on rows allow that.
    fn is_near(hold: Hold, machine: Machine, wanted_us: u64) -> bool {
        let bounded = machine.hold(APPLY_ROWS_MIN, false).worked_us >= wanted_us
            || machine.hold(APPLY_ROWS_MAX, false).worked_us <= wanted_us;
        bounded || hold.worked_us.abs_diff(wanted_us) <= wanted_us / 5
    }

    proptest! {
        #[test]
        fn whatever_it_is_told_it_stays_within_its_bounds(
            holds in prop::collection::vec(
                (0_u64.., (0_u64.., 0_u64.., 0_u64..), any::<bool>(), 0_u64.., 0_u8..3, 0_u64..),
                0..50,
            )
        ) {
            let mut pace = Pace::default();
            for (rows, (worked_us, held_us, apart_us), late, application_writes, kind, left) in holds {
                let hold = Hold { rows, worked_us, held_us, late, application_writes, apart_us };
                let pause_us = match kind {
                    0 => pace.on_applied(hold),
                    1 => pace.on_housekept(hold),
                    _ => pace.on_stamped(hold, left),
                };
                prop_assert!((PAUSE_MIN_US..=PAUSE_MAX_US).contains(&pause_us) || pause_us == 0 && application_writes == 0);
                prop_assert!((APPLY_ROWS_MIN..=APPLY_ROWS_MAX).contains(&pace.rows_to_apply()));
                prop_assert!((APPLY_ROWS_MIN..=GROUP_ROWS_MAX as u64).contains(&pace.rows_to_stamp()));
                prop_assert!((APPLY_ROWS_MIN..=HOUSEKEEPING_ROWS as u64).contains(&pace.rows_to_tend()));
            }
        }

        #[test]
        fn a_hold_comes_to_its_target_whatever_a_row_costs(machine in machine()) {
            let busy = learnt(machine, true);
            let hold = machine.hold(busy.rows_to_apply(), true);
            prop_assert!(is_near(hold, machine, machine.work_us()), "{hold:?}");
            let idle = learnt(machine, false);
            let hold = machine.hold(idle.rows_to_apply(), false);
            prop_assert!(is_near(hold, machine, WORK_IDLE_US), "{hold:?}");
        }

        #[test]
        fn an_application_that_begins_to_write_waits_for_one_long_transaction_only(machine in machine()) {
            let mut pace = learnt(machine, false);
            let met = machine.hold(pace.rows_to_apply(), true);
            prop_assert_eq!(pace.on_applied(met), rest_us(met));
            let next = machine.hold(pace.rows_to_apply(), true);
            let least = machine.hold(APPLY_ROWS_MIN, true);
            prop_assert!(
                next.worked_us <= (machine.work_us() + machine.transaction_us).max(least.worked_us),
                "{next:?}"
            );
        }

        #[test]
        fn apply_goes_on_beside_an_application_that_never_rests(machine in machine()) {
            let mut pace = Pace::default();
            let (mut worked, mut held, mut paused, mut rows) = (0, 0, 0, 0);
            for _ in 0..1000 {
                let hold = machine.hold(pace.rows_to_apply(), true);
                paused += pace.on_applied(hold);
                worked += hold.worked_us;
                held += hold.held_us;
                rows += hold.rows;
            }
            let most = if machine.late.is_some() { 21 * worked } else { 2 * worked };
            prop_assert!(paused <= most, "{paused} {worked}");
            prop_assert!(rows * machine.row_ns / 1000 + 1000 * machine.transaction_us >= worked);
            // And whoever comes at a random moment finds the lock taken in one of 200, or we rest for long. The first
            // ones, before the cost of a row is known, may come to the longest pause.
            let rested = paused + 3 * PAUSE_MAX_US >= (REST * held).min(REST_MAX * worked);
            prop_assert!(machine.late.is_none() || rested, "{paused} {held} {worked}");
        }

        /// It would wait for the end of thousands of its writes.
        #[test]
        fn beside_an_application_that_writes_without_pause_pauses_are_short(machine in machine(), writes in 1_u64..100) {
            let mut pace = learnt(machine, true);
            let apart_us = writes * GAP_US;
            let hold = Hold { apart_us, ..machine.hold(pace.rows_to_apply(), true) };
            let rested = Hold { application_writes: writes, ..hold };
            prop_assert_eq!(pace.on_applied(rested), rest_us(rested));
            let dense = Hold { application_writes: writes + 1, ..hold };
            prop_assert_eq!(pace.on_applied(dense), dense.held_us.clamp(PAUSE_MIN_US, PAUSE_MAX_US));
        }

        #[test]
        fn a_giant_group_is_followed_by_a_pause_in_proportion(rows in 1_u64..=100_000, machine in machine()) {
            let mut pace = learnt(machine, true);
            let giant = machine.hold(rows, true);
            prop_assert_eq!(pace.on_applied(giant), rest_us(giant));
            let next = machine.hold(pace.rows_to_apply(), true);
            let least = machine.hold(APPLY_ROWS_MIN, true);
            prop_assert!(next.worked_us <= (2 * machine.work_us()).max(least.worked_us));
        }

        #[test]
        fn an_application_writes_until_it_was_quiet_for_long(machine in machine()) {
            let mut pace = learnt(machine, true);
            let mut quiet_us = 0;
            loop {
                let hold = machine.hold(pace.rows_to_apply(), false);
                let pause_us = pace.on_applied(hold);
                if pause_us == 0 {
                    break;
                }
                quiet_us += pause_us;
            }
            prop_assert!(quiet_us.abs_diff(ACTIVE_US) < PAUSE_MAX_US, "{quiet_us}");
        }

        /// Rows written while we stamp and pause come on top: however many, in the end an apply has its turn.
        #[test]
        fn a_log_that_grows_does_not_keep_us_from_applying(machine in machine(), speed in 0_u64..90) {
            let mut pace = Pace::default();
            let mut unstamped = 20_000_u64;
            for _ in 0..100_000 {
                let limit = pace.rows_to_stamp();
                if unstamped <= limit {
                    return Ok(());
                }
                let hold = machine.hold(limit, true);
                let pause_us = pace.on_stamped(hold, unstamped - limit);
                // In percent of what half of the time is enough to stamp, the cost of a commit left aside.
                let rests = if machine.late.is_some() { REST_MAX } else { 2 };
                let written = (hold.worked_us + pause_us) * 1000 / (rests * machine.row_ns) * speed / 100;
                unstamped = unstamped - limit + written;
            }
            prop_assert!(false, "{} rows are still unstamped", unstamped);
        }
    }
}
