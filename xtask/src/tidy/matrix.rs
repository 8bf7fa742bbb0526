//! The trap matrix in docs/testing.md names tests: they must be there, and every test of the traps must be in it.

use std::collections::BTreeSet;

use super::files::line_at;
use super::{Finding, TextFile};

const DOCUMENT: &str = "docs/testing.md";

/// Tests in here exist for a line of the table.
const TRAPS: &str = "crates/sqlite/tests/traps/";

/// A test as the table names it.
type Name<'a> = (&'a str, &'a str);

/// Compares the table with the sources.
pub(crate) fn check(files: &[TextFile]) -> Vec<Finding> {
    let Some(document) = files.iter().find(|file| file.path == DOCUMENT) else { return Vec::new() };
    let named: Vec<(usize, Name<'_>)> = named_tests(&document.text).collect();
    let sources = files.iter().filter(|file| file.path.ends_with(".rs"));
    let tests: BTreeSet<Name<'_>> = sources.flat_map(tests_of).collect();
    let missing = named.iter().filter(|(_, name)| !tests.contains(name)).map(|(at, (module, test))| {
        let message = format!("there is no test `{module}::{test}`: name the one that guards this now");
        Finding::new(DOCUMENT, line_at(&document.text, *at), message)
    });
    let in_table: BTreeSet<Name<'_>> = named.iter().map(|(_, name)| *name).collect();
    let traps = files.iter().filter(|file| file.path.starts_with(TRAPS));
    let forgotten = traps.flat_map(|file| {
        tests_of(file)
            .filter(|name| !in_table.contains(name))
            .map(|(_, test)| {
                let at = file.text.find(test).map_or(1, |at| line_at(&file.text, at));
                Finding::new(&file.path, at, format!("`{test}` is missing in the table of {DOCUMENT}"))
            })
            .collect::<Vec<_>>()
    });
    missing.chain(forgotten).collect()
}

/// What stands as `` `module::test` `` in lines of tables: the place, the file's name, the function's.
fn named_tests(text: &str) -> impl Iterator<Item = (usize, Name<'_>)> {
    let lines = text.split_inclusive('\n').scan(0, |end, line| {
        *end += line.len();
        Some((*end - line.len(), line))
    });
    lines.filter(|(_, line)| line.starts_with('|')).flat_map(|(start, line)| {
        let quoted = line.split('`').skip(1).step_by(2);
        quoted.filter_map(move |name| Some((start, name.split_once("::")?)))
    })
}

/// The tests of one source, with the name of its file; of `mod.rs` and `main.rs` that of the folder.
fn tests_of(file: &TextFile) -> impl Iterator<Item = Name<'_>> {
    let path = file.path.trim_end_matches(".rs").trim_end_matches("/mod").trim_end_matches("/main");
    let module = path.rsplit('/').next().unwrap_or(path);
    let mut attributed = false;
    file.text.lines().filter_map(move |line| {
        let line = line.trim_start();
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            attributed = true;
        } else if !line.starts_with("#[") && !line.starts_with("//") {
            let signature = line.trim_start_matches("async ").strip_prefix("fn ");
            let name = signature.and_then(|signature| signature.split(['(', '<']).next());
            return std::mem::take(&mut attributed).then_some((module, name?));
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "#[test]\nfn one() {}\n\n#[tokio::test(flavor = \"x\")]\n/// Why.\n#[allow(x)]\nasync fn two() {}\n\nfn helper() {}\n";

    fn messages(table: &str) -> Vec<(usize, String)> {
        let files = [
            TextFile::new(DOCUMENT, table),
            TextFile::new("crates/sqlite/tests/traps/kinds.rs", SOURCE),
            TextFile::new("crates/core/tests/machine/main.rs", "#[test]\nfn three() {}\n"),
        ];
        check(&files).into_iter().map(|finding| (finding.line, finding.message)).collect()
    }

    #[test]
    fn a_table_that_names_every_trap_is_fine() {
        let table = "Of `no::test` we speak.\n\n| trap | `kinds::one`, `kinds::two` and `machine::three` |\n| other | `plain` |\n";
        assert_eq!(messages(table), []);
    }

    #[test]
    fn names_of_no_test_are_found_with_their_line() {
        let table = "| a | `kinds::one` |\n| b | `kinds::two`, `kinds::helper`, `other::one` |\n";
        let found = messages(table);
        let lines: Vec<usize> = found.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [2, 2]);
        assert!(found[0].1.contains("`kinds::helper`") && found[1].1.contains("`other::one`"), "{found:?}");
    }

    #[test]
    fn a_test_of_the_traps_that_the_table_forgets_is_found() {
        let found = messages("| a | `kinds::one` |\n");
        assert_eq!(found.len(), 1);
        assert!(found[0].0 == 7 && found[0].1.contains("`two`"), "{found:?}");
    }
}
