//! How far behind: nothing is claimed that is not known, and nothing less than what is missing.

use std::collections::BTreeMap;

use harmonylite_core::limits::BACKLOG_SAMPLES_MAX;
use harmonylite_core::members::{Backlog, Lag, Life, Progress};
use harmonylite_core::model::{Hlc, Incarnation, LogPosition, Origin, Shard};
use proptest::prelude::*;

use super::{at, node, roster};

fn position(ms: u64) -> LogPosition {
    LogPosition::from(Hlc::new((ms << 16).cast_signed()).unwrap())
}

fn origin() -> Origin {
    Origin::new(node(1), Incarnation::new(7).unwrap())
}

/// What node 1 says at `seconds`, having published up to `published` with those samples.
fn record(
    seconds: u64,
    published: LogPosition,
    backlog: &Backlog,
) -> harmonylite_core::members::MemberRecord {
    let progress = Progress {
        published: vec![(Shard::FIRST, published)],
        samples: backlog.samples(),
        ..Progress::default()
    };
    roster(1).beat(at(seconds), Life::Running, Incarnation::new(7), progress)
}

fn applied(position: LogPosition) -> Progress {
    Progress { applied: vec![(origin(), Shard::FIRST, position)], ..Progress::default() }
}

#[test]
fn who_has_everything_has_no_lag_however_long_nobody_wrote() {
    let published = position(at(1).wall_ms);
    let record = record(4000, published, &Backlog::default());
    assert_eq!(Lag::behind(&applied(published), &record), Lag::NONE);
}

#[test]
fn rows_are_counted_from_the_last_sample_that_is_covered() {
    let mut backlog = Backlog::default();
    for second in 0..10 {
        backlog.note(position(at(second).wall_ms), second * 100, at(second).wall_ms);
    }
    let last = position(at(9).wall_ms);
    let record = record(10, last, &backlog);
    let lag = Lag::behind(&applied(position(at(4).wall_ms + 500)), &record);
    assert_eq!(lag, Lag { rows: Some(500), ms: Some(5500) });
}

#[test]
fn a_write_after_a_quiet_hour_is_no_lag_of_an_hour() {
    let mut backlog = Backlog::default();
    let before = position(at(1).wall_ms);
    backlog.note(before, 5, at(1).wall_ms);
    backlog.note(before, 5, at(3600).wall_ms);
    let now = position(at(3601).wall_ms);
    backlog.note(now, 6, at(3602).wall_ms);
    let lag = Lag::behind(&applied(before), &record(3602, now, &backlog));
    assert_eq!(lag, Lag { rows: Some(1), ms: Some(2000) });
}

#[test]
fn what_was_published_before_anybody_counted_is_unknown() {
    let mut backlog = Backlog::default();
    backlog.note(position(at(100).wall_ms), 1, at(100).wall_ms);
    let record = record(101, position(at(100).wall_ms), &backlog);
    let lag = Lag::behind(&applied(position(at(10).wall_ms)), &record);
    assert_eq!(lag, Lag { rows: None, ms: Some(91_000) });
    assert_eq!(Lag::behind(&Progress::default(), &record), Lag::UNKNOWN);
}

#[test]
fn shards_that_are_complete_do_not_count() {
    let shard = |number| Shard::new(number).unwrap();
    let (early, late) = (position(at(1).wall_ms), position(at(50).wall_ms));
    let mut backlog = Backlog::default();
    backlog.note(early, 10, at(1).wall_ms);
    backlog.note(late, 17, at(50).wall_ms);
    let mut record = record(50, late, &backlog);
    record.progress.published = vec![(shard(1), early), (shard(2), late)];
    let progress = Progress {
        applied: vec![(origin(), shard(1), early), (origin(), shard(2), position(at(20).wall_ms))],
        ..Progress::default()
    };
    assert_eq!(Lag::behind(&progress, &record).rows, Some(7));
}

#[test]
fn a_member_is_compared_with_what_was_said_before_it_spoke() {
    let (mut a, mut b) = (roster(1), roster(2));
    let say = |roster: &mut harmonylite_core::members::Roster, seconds, ms| {
        let progress = Progress { published: vec![(Shard::FIRST, position(ms))], ..Progress::default() };
        roster.beat(at(seconds), Life::Running, Incarnation::new(7), progress)
    };
    say(&mut a, 1, at(1).wall_ms);
    let of_b = b.beat(at(2), Life::Running, Incarnation::new(9), applied(position(at(1).wall_ms)));
    a.on_hello(at(2), &of_b);
    // Our own next record is further; node 2 had no time to say that it is, too.
    say(&mut a, 3, at(3).wall_ms);
    let lags = |seconds| {
        let views = a.views(at(seconds));
        views.iter().find(|view| view.node == node(2)).unwrap().lags.clone()
    };
    assert_eq!(lags(3), BTreeMap::from([(node(1), Lag::NONE)]));
    // A node that says nothing any more is behind all the same.
    assert_eq!(lags(30)[&node(1)].ms, Some(2000));
}

proptest! {
    #[test]
    fn a_lag_is_never_less_than_what_is_missing(steps in prop::collection::vec((1..5000_u64, 0..50_u64), 1..200), back in 0..200_usize) {
        let (mut backlog, mut history, mut rows) = (Backlog::default(), Vec::new(), 0);
        let mut ms = at(0).wall_ms;
        for (wait, written) in steps {
            ms += wait;
            rows += written;
            let place = if written > 0 { position(ms) } else { history.last().map_or(position(ms), |(place, _, _)| *place) };
            backlog.note(place, rows, ms);
            history.push((place, rows, ms));
        }
        prop_assert!(backlog.samples().len() <= BACKLOG_SAMPLES_MAX);
        let &(published, all, end) = history.last().unwrap();
        let (had, rows_then, _) = history[history.len().saturating_sub(1 + back)];
        let mut record = record(0, published, &backlog);
        record.beat_ms = end;
        let lag = Lag::behind(&applied(had), &record);
        if let Some(claimed) = lag.rows {
            prop_assert!(claimed >= all - rows_then, "{claimed} of {}", all - rows_then);
        }
        if had == published {
            prop_assert_eq!(lag, Lag::NONE);
        }
    }
}
