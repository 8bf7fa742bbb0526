//! Whether a command printed what the README says.

/// A line of only this stands for any number of lines; within a line it stands for any text.
const ANYTHING: &str = "...";

/// Whether `printed` is what `expected` describes. Space at the ends of lines, and empty lines around, do not count.
pub(super) fn matches(expected: &str, printed: &str) -> bool {
    let lines = |text: &str| text.trim().lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>();
    lines_match(&lines(expected), &lines(printed))
}

fn lines_match(expected: &[String], printed: &[String]) -> bool {
    match expected.split_first() {
        None => printed.is_empty(),
        Some((first, rest)) if first == ANYTHING => {
            (0..=printed.len()).any(|skipped| lines_match(rest, &printed[skipped..]))
        }
        Some((first, rest)) => printed
            .split_first()
            .is_some_and(|(line, others)| line_matches(first, line) && lines_match(rest, others)),
    }
}

/// The parts between the gaps must come in their order; the first one begins the line and the last one ends it.
fn line_matches(expected: &str, printed: &str) -> bool {
    let Some((start, rest)) = expected.split_once(ANYTHING) else { return expected == printed };
    let Some(mut remaining) = printed.strip_prefix(start) else { return false };
    let mut parts: Vec<&str> = rest.split(ANYTHING).collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        match remaining.split_once(part) {
            Some((_, after)) => remaining = after,
            None => return false,
        }
    }
    remaining.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_without_gaps_must_be_the_same() {
        assert!(matches("a|1\nb|2", "a|1  \nb|2\n\n"));
        assert!(matches("", "\n"));
        for printed in ["a|1", "a|1\nb|3", "b|2\na|1", "a|1\nb|2\nc|3", ""] {
            assert!(!matches("a|1\nb|2", printed), "{printed:?}");
        }
    }

    #[test]
    fn a_line_of_dots_stands_for_any_lines() {
        for printed in ["a\nz", "a\nb\nz", "a\nb\nz\nz"] {
            assert!(matches("a\n...\nz", printed), "{printed:?}");
        }
        for printed in ["a", "z", "a\nb", "b\nz", "a\nz\nb"] {
            assert!(!matches("a\n...\nz", printed), "{printed:?}");
        }
    }

    #[test]
    fn dots_in_a_line_stand_for_any_text() {
        assert!(matches("process ..., running for ... s", "process 17, running for 3 s"));
        assert!(matches("process ...", "process 17"));
        for printed in ["process 17, running for 3 h", "a process 17, running for 3 s", "process 17"] {
            assert!(!matches("process ..., running for ... s", printed), "{printed:?}");
        }
    }
}
