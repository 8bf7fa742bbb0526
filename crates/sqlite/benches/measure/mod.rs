//! Two ways of doing the same, measured in turn: the machine's moods touch both, and the median of the ratios stays.

use std::time::Duration;

/// Pairs of runs; an odd number has a middle.
pub(crate) const REPETITIONS: usize = 7;

/// Runs both ways [`REPETITIONS`] times, each first every other time, and gives for each operation the median of the
/// ratios and the median times per row in microseconds: (ours / reference, ours, reference).
pub(crate) fn compare<const N: usize>(
    rows: i64,
    mut reference: impl FnMut() -> [Duration; N],
    mut ours: impl FnMut() -> [Duration; N],
) -> [(f64, f64, f64); N] {
    let mut pairs = Vec::new();
    for repetition in 0..REPETITIONS {
        if repetition % 2 == 0 {
            let first = reference();
            pairs.push((first, ours()));
        } else {
            let first = ours();
            pairs.push((reference(), first));
        }
    }
    let per_row = |time: Duration| time.as_secs_f64() * 1e6 / rows as f64;
    std::array::from_fn(|index| {
        let of = |value: &dyn Fn(Duration, Duration) -> f64| {
            median(pairs.iter().map(|(reference, ours)| value(reference[index], ours[index])).collect())
        };
        let ratio = of(&|reference, ours| ours.as_secs_f64() / reference.as_secs_f64());
        (ratio, of(&|_, ours| per_row(ours)), of(&|reference, _| per_row(reference)))
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Prints what [`compare`] found.
pub(crate) fn print<const N: usize>(case: &str, operations: [&str; N], found: [(f64, f64, f64); N]) {
    for (operation, (ratio, ours, reference)) in operations.into_iter().zip(found) {
        println!("  {case:<46} {operation}: {ratio:.2} ({ours:.2} us / {reference:.2} us)");
    }
}
