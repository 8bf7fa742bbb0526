//! The shape of a source file: how it opens, how long it is, what it is called.

use super::{Finding, TextFile};

/// Longer files hold more than one thing.
const LINES_MAX: usize = 500;

/// Files that are longer for now, with their length. Only ever lower a number or take a line out.
const LONGER_FILES: &[(&str, usize)] = &[];

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &["utils", "util", "common", "types", "helpers", "helper", "manager", "misc"];

/// Checks one Rust source.
pub(crate) fn check(file: &TextFile) -> Vec<Finding> {
    let findings = [opening(file), length(file, LONGER_FILES), name(file)];
    findings.into_iter().flatten().collect()
}

fn opening(file: &TextFile) -> Option<Finding> {
    let must_open = file.path.contains("/src/") || file.path.starts_with("xtask/");
    let opens = file.text.starts_with("//!");
    (must_open && !opens).then(|| {
        Finding::new(&file.path, 1, "open the file with a `//!` paragraph: what it is for and must not know")
    })
}

fn length(file: &TextFile, longer: &[(&str, usize)]) -> Option<Finding> {
    let lines = file.text.lines().count();
    let exception = longer.iter().find(|(path, _)| *path == file.path).map(|(_, lines)| *lines);
    let message = match exception {
        Some(_) if lines <= LINES_MAX => "short enough now: take it out of the list of longer files".into(),
        Some(limit) if lines > limit => format!("{lines} lines: this file may only shrink, it had {limit}"),
        None if lines > LINES_MAX => {
            format!("{lines} lines, above {LINES_MAX}: split the file by what its parts know")
        }
        _ => return None,
    };
    Some(Finding::new(&file.path, lines, message))
}

fn name(file: &TextFile) -> Option<Finding> {
    let mut parts = file.path.trim_end_matches(".rs").split('/');
    let empty = parts.find(|part| EMPTY_NAMES.contains(part))?;
    Some(Finding::new(&file.path, 1, format!("`{empty}` says nothing: name the module after what it holds")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_opens_with_a_paragraph() {
        assert!(opening(&TextFile::new("crates/core/src/a.rs", "use b;\n//! Late.\n")).is_some());
        assert!(opening(&TextFile::new("crates/core/src/a.rs", "//! What it is.\n")).is_none());
    }

    #[test]
    fn a_long_file_is_found_and_an_exception_may_only_shrink() {
        let file = |lines: usize| TextFile::new("crates/core/src/a.rs", &"x\n".repeat(lines));
        let longer = [("crates/core/src/a.rs", 520)];
        assert!(length(&file(500), &[]).is_none());
        assert!(length(&file(501), &[]).is_some());
        assert!(length(&file(520), &longer).is_none());
        assert!(length(&file(521), &longer).is_some());
        assert!(length(&file(500), &longer).is_some());
    }

    #[test]
    fn names_that_say_nothing_are_found_in_files_and_folders() {
        assert!(name(&TextFile::new("crates/core/src/utils.rs", "")).is_some());
        assert!(name(&TextFile::new("crates/node/tests/common/mod.rs", "")).is_some());
        assert!(name(&TextFile::new("crates/core/src/model/value.rs", "")).is_none());
    }
}
