//! What is wrong with a configuration, where, and what to do: one line for people, one object for programs.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

/// One thing that is wrong, or that should be known. Never holds a secret.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Problem {
    /// Does it stop us?
    pub severity: Severity,
    /// Where it is.
    #[serde(flatten)]
    pub place: Place,
    /// What it is.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// We do not start.
    Error,
    /// We start.
    Warning,
}

/// Where a setting came from.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(untagged)]
pub enum Place {
    /// A line of the file.
    File {
        /// The file, as it was given.
        file: String,
        /// The line, from 1; `None` when it is about the whole file.
        #[serde(skip_serializing_if = "Option::is_none")]
        line: Option<usize>,
    },
    /// A variable.
    Environment {
        /// Its name.
        variable: String,
    },
    /// An option of the command line.
    Option {
        /// As it was written, with its dashes.
        option: String,
    },
    /// Nowhere: something is missing, and there is no file.
    Nowhere {},
}

impl Problem {
    /// An error.
    #[must_use]
    pub fn error(place: Place, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, place, message: message.into(), hint: None }
    }

    /// A warning.
    #[must_use]
    pub fn warning(place: Place, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, place, message: message.into(), hint: None }
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same where it stops nobody.
    #[must_use]
    pub fn as_warning(self) -> Self {
        Self { severity: Severity::Warning, ..self }
    }

    /// Does it stop us?
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.is_error() { "error" } else { "warning" };
        let line = format!("{}: {word}: {}", self.place, self.message);
        f.write_str(&one_line(&line))?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "\n  hint: {}", one_line(hint)))
    }
}

/// Messages quote what was written: a key with a line break in it must not look like a line of ours, nor a variable do
/// something to the terminal.
fn one_line(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line: Some(line) } => write!(f, "{file}:{line}"),
            Self::File { file, line: None } => f.write_str(file),
            Self::Environment { variable: name } | Self::Option { option: name } => f.write_str(name),
            Self::Nowhere {} => f.write_str("configuration"),
        }
    }
}

/// The configuration cannot be used: everything that is wrong with it, and the warnings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Invalid {
    /// At least one of them an error.
    pub problems: Vec<Problem>,
    /// The database that it names all the same, for commands that need nothing else; `None` when that is not certain.
    pub db_path: Option<PathBuf>,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.problems.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Invalid {}

#[cfg(test)]
mod tests {
    use crate::config::{Environment, judge};

    #[test]
    fn what_was_written_cannot_forge_a_line_of_the_report() {
        let environment = Environment::new(&[("HARMONYLITE_X\nb: error: c", "1")], Some("0123456789abcdef"));
        let text = "\"db_path\\na: error: b\" = 1\ndb_path = 'x'";
        let said = judge(Some(("node\n.toml", text)), &environment, &[]).unwrap_err().to_string();
        let lines: Vec<&str> = said.lines().collect();
        assert!(lines[0].starts_with("node\\n.toml:1: error: unknown key `db_path\\na: error: b`"), "{said}");
        assert!(lines.iter().all(|line| !line.starts_with("a:") && !line.starts_with("b:")), "{said}");
        assert!(lines.iter().any(|line| line.starts_with("HARMONYLITE_X\\nb: error: c: warning")), "{said}");
    }
}
