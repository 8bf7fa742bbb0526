//! The hybrid logical clock (G3): wall-clock milliseconds and a counter in one positive 64-bit integer.

use std::fmt;

/// A reading of the hybrid logical clock: 47 bits of milliseconds since the Unix epoch, 16 bits of counter.
///
/// One positive `i64`, because it is also the `INTEGER PRIMARY KEY` of the change log. The counter may overflow into
/// the milliseconds: a statement that writes 200,000 rows gets 200,000 strictly rising readings.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Hlc(i64);

impl Hlc {
    /// Bits of the counter below the milliseconds.
    pub const COUNTER_BITS: u32 = 16;
    /// The reading below every other: what a row without version has.
    pub const ZERO: Self = Self(0);

    /// Readings from here on (the year 4199) are not taken from other nodes: our own are always above what we have seen, and
    /// would soon find no room in an integer.
    pub const FOREIGN_END: Self = Self(1 << 62);

    /// `None` when negative: no clock of ours reads so.
    #[must_use]
    pub const fn new(raw: i64) -> Option<Self> {
        if raw < 0 { None } else { Some(Self(raw)) }
    }

    /// The first reading of the millisecond `millis` (since the Unix epoch; capped at 47 bits).
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        const MILLIS_MAX: u64 = (1 << 47) - 1;
        let capped = if millis > MILLIS_MAX { MILLIS_MAX } else { millis };
        Self((capped << Self::COUNTER_BITS) as i64)
    }

    /// The integer, as the change log stores it.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn millis(self) -> u64 {
        (self.0 as u64) >> Self::COUNTER_BITS
    }

    /// The next reading (G3): not below the wall clock, above everything written or seen.
    ///
    /// The triggers compute the same in SQL; this one is its definition for tests and for the simulator.
    #[must_use]
    pub const fn next(now_millis: u64, last: Self, observed: Self) -> Self {
        let seen = if last.0 > observed.0 { last.0 } else { observed.0 };
        let now = Self::from_millis(now_millis).0;
        Self(if now > seen { now } else { seen.saturating_add(1) })
    }
}

impl fmt::Display for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn next_is_above_everything_seen_and_not_below_the_wall_clock(
            now in 0u64..1 << 46, last in 0i64..1 << 62, observed in 0i64..1 << 62,
        ) {
            let (last, observed) = (Hlc(last), Hlc(observed));
            let next = Hlc::next(now, last, observed);
            prop_assert!(next > last && next > observed);
            prop_assert!(next >= Hlc::from_millis(now));
        }
    }

    #[test]
    fn counter_overflows_into_the_milliseconds() {
        let mut clock = Hlc::ZERO;
        for _ in 0..200_000 {
            let next = Hlc::next(5, clock, Hlc::ZERO);
            assert!(next > clock);
            clock = next;
        }
        assert!(clock.millis() > 5);
    }
}
