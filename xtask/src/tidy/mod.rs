//! What the compiler cannot hold: which layer knows what, who owns what, names, lengths, links, tests that are named.
//!
//! Everything is judged by the text of the files, so a check can be fooled; it is there to catch slips, not malice. Lists
//! of exceptions are ratchets: they may only shrink, and who adds to one says why beside it.

mod files;
mod links;
mod manifests;
mod matrix;
mod places;
mod shape;
mod source;
mod words;

use std::fmt;
use std::path::Path;

use anyhow::{Result, ensure};

pub(crate) use files::TextFile;

/// Something that is not as it should be, and where.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Finding {
    /// Relative to the workspace.
    path: String,
    /// From 1.
    line: usize,
    /// What is wrong, and what to do instead.
    message: String,
}

impl Finding {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Finding {
        Finding { path: path.into(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// Checks the workspace at `root`.
///
/// # Errors
/// When a file cannot be read, or when anything is found: the message lists all of it.
pub(crate) fn run(root: &Path) -> Result<()> {
    let findings = check(&files::read_all(root)?);
    let list: Vec<String> = findings.iter().map(Finding::to_string).collect();
    ensure!(findings.is_empty(), "{}\ntidy: {} findings", list.join("\n"), list.len());
    Ok(())
}

fn check(files: &[TextFile]) -> Vec<Finding> {
    let mut findings = places::check_required(files);
    findings.extend(matrix::check(files));
    for file in files {
        findings.extend(places::check(file));
        if file.path.ends_with(".rs") {
            findings.extend(shape::check(file));
            findings.extend(words::check(file));
        } else if file.path.ends_with("Cargo.toml") {
            findings.extend(manifests::check(file));
        } else if file.path.ends_with(".md") {
            findings.extend(links::check(file, files));
        }
    }
    findings.sort();
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_tidy() -> Result<()> {
        run(&crate::workspace())
    }

    #[test]
    fn findings_name_file_and_line_and_fail_the_run() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let source = folder.path().join("crates/core/src");
        std::fs::create_dir_all(&source)?;
        std::fs::write(source.join("lib.rs"), "//! A crate.\n\nuse std::fs;\n")?;
        let error = run(folder.path()).unwrap_err().to_string();
        assert!(error.contains("crates/core/src/lib.rs:3: "), "{error}");
        Ok(())
    }
}
