//! Where a reading of the log is cut into change sets (G4).
//!
//! Rows are read as they are in the snapshot, so a set may end only where the rows before it have changed no more since: at a
//! place where a transaction ended ([`LogEnds`](crate::log_ends::LogEnds)), with no key that has log rows on both sides of it.
//! Then what lies before is what a snapshot of that moment would have shown, and every transaction is whole on one side.

use std::ops::Range;

/// The log up to `through`, and how many of the rows that were read that is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Cut {
    pub(crate) through: i64,
    pub(crate) log_rows: usize,
}

/// Where the sets end.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Cuts {
    /// In the order of the log; the last one may leave rows that were read to the next reading.
    pub(crate) sets: Vec<Cut>,
    /// The last set ends within a transaction, or before another change of one of its keys.
    pub(crate) closed_early: bool,
}

/// The log rows of one key: the first and the last one that were read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) first: i64,
    pub(crate) last: i64,
    /// There are more of them beyond what was read.
    pub(crate) goes_on: bool,
}

/// Cuts what was read, the log up to `end`, at some of `ends` into sets of about `rows` keys or more.
///
/// `complete`: nothing of the log lies beyond `end`. Else the last set ends at the last place where it may, or at `end` (closed
/// early) when there is none.
pub(crate) fn cuts(
    end: Cut,
    complete: bool,
    ends: &[Cut],
    spans: impl Iterator<Item = Span>,
    rows: usize,
) -> Cuts {
    let mut tally = Tally::new(ends);
    spans.for_each(|span| tally.add(span));
    let mut sets: Vec<Cut> = Vec::new();
    let mut last_possible = None;
    for (possible, gathered) in tally.places(rows) {
        last_possible = Some(possible);
        if gathered {
            sets.push(possible);
        }
    }
    let last = if complete { Some(end) } else { last_possible };
    let closed_early = last.is_none();
    let last = last.unwrap_or(end);
    if sets.last() != Some(&last) {
        sets.push(last);
    }
    Cuts { sets, closed_early }
}

/// What stands between the ends.
struct Tally<'e> {
    ends: &'e [Cut],
    /// How many keys have their last row behind the end before, up to this one.
    keys: Vec<usize>,
    /// How many more keys than at the end before have rows on both sides of this one.
    straddling: Vec<isize>,
}

impl<'e> Tally<'e> {
    fn new(ends: &'e [Cut]) -> Self {
        Self { ends, keys: vec![0; ends.len() + 1], straddling: vec![0; ends.len() + 1] }
    }

    fn add(&mut self, span: Span) {
        let Range { start, end } = self.straddled(span);
        if start < end {
            self.straddling[start] += 1;
            self.straddling[end] -= 1;
        }
        let last = self.at(span.last);
        self.keys[last] += 1;
    }

    /// The ends that have rows of that key on both sides.
    fn straddled(&self, span: Span) -> Range<usize> {
        let behind = if span.goes_on { self.ends.len() } else { self.at(span.last) };
        self.at(span.first)..behind
    }

    /// The first end that is not before `id`.
    fn at(&self, id: i64) -> usize {
        self.ends.partition_point(|end| end.through < id)
    }

    /// Every place where a set may end, and whether so many keys came together since the last place of which that was said.
    fn places(&self, rows: usize) -> impl Iterator<Item = (Cut, bool)> {
        let (mut straddling, mut gathered) = (0, 0);
        self.ends.iter().zip(&self.keys).zip(&self.straddling).filter_map(move |((end, keys), more)| {
            straddling += more;
            gathered += keys;
            let enough = straddling == 0 && gathered >= rows;
            if enough {
                gathered = 0;
            }
            (straddling == 0).then_some((*end, enough))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(through: i64) -> Cut {
        Cut { through, log_rows: usize::try_from(through).unwrap() }
    }

    fn span(first: i64, last: i64) -> Span {
        Span { first, last, goes_on: false }
    }

    fn at(ends: &[i64], spans: &[Span], complete: bool, rows: usize) -> (Vec<i64>, bool) {
        let ends: Vec<Cut> = ends.iter().map(|end| cut(*end)).collect();
        let cuts = cuts(cut(10), complete, &ends, spans.iter().copied(), rows);
        (cuts.sets.iter().map(|set| set.through).collect(), cuts.closed_early)
    }

    #[test]
    fn without_ends_it_is_one_set() {
        assert_eq!(at(&[], &[span(1, 1), span(2, 10)], true, 1), (vec![10], false));
        assert_eq!(at(&[], &[span(1, 1), span(2, 10)], false, 1), (vec![10], true));
    }

    #[test]
    fn a_set_ends_where_enough_keys_came_together() {
        let spans: Vec<Span> = (1..=10).map(|id| span(id, id)).collect();
        assert_eq!(at(&[2, 3, 5, 6, 9], &spans, true, 1), (vec![2, 3, 5, 6, 9, 10], false));
        assert_eq!(at(&[2, 3, 5, 6, 9], &spans, true, 3), (vec![3, 6, 9, 10], false));
        assert_eq!(at(&[2, 3, 5, 6, 10], &spans, true, 4), (vec![5, 10], false));
    }

    #[test]
    fn no_set_ends_between_two_rows_of_one_key() {
        let spans = [span(1, 1), span(2, 6), span(3, 3), span(7, 8), span(9, 10)];
        assert_eq!(at(&[1, 2, 4, 5, 6, 7, 8, 9], &spans, true, 1), (vec![1, 6, 8, 10], false));
    }

    #[test]
    fn what_was_not_read_to_its_end_is_cut_where_it_may_be() {
        let spans = [span(1, 2), span(3, 3), span(4, 4), span(5, 5)];
        assert_eq!(at(&[2, 3, 4], &spans, false, 2), (vec![3, 4], false), "a small last one, too");
        let more = [span(1, 2), Span { goes_on: true, ..span(3, 3) }, span(4, 4)];
        assert_eq!(at(&[2, 3, 4], &more, false, 1), (vec![2], false));
        let hot = [Span { goes_on: true, ..span(1, 10) }];
        assert_eq!(at(&[2, 3, 4], &hot, false, 1), (vec![10], true));
    }
}
