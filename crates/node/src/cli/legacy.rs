//! The command line of the original HarmonyLite: single-dash long options and no subcommands.
//!
//! Arguments are rewritten to ours before clap sees them, so that a unit file of the original keeps working.

use std::ffi::OsString;

use crate::exit::{ExitCode, ExitError};

/// An option of the original.
struct Legacy {
    name: &'static str,
    becomes: Becomes,
}

enum Becomes {
    /// The option of the same name, with two dashes.
    Same,
    /// A subcommand, word by word.
    Command(&'static [&'static str]),
    /// This version cannot do it: what it is, and what to do instead.
    Missing(&'static str, &'static str),
}

const OPTIONS: &[Legacy] = &[
    Legacy { name: "config", becomes: Becomes::Same },
    Legacy { name: "node-id", becomes: Becomes::Same },
    Legacy { name: "cluster-addr", becomes: Becomes::Same },
    Legacy { name: "cluster-peers", becomes: Becomes::Same },
    Legacy { name: "cleanup", becomes: Becomes::Command(&["cleanup"]) },
    Legacy { name: "version", becomes: Becomes::Command(&["version"]) },
    Legacy { name: "leaf-servers", becomes: Becomes::Same },
    Legacy {
        name: "save-snapshot",
        becomes: Becomes::Missing("taking snapshots", "start new nodes from a copy of the database"),
    },
    Legacy { name: "schema-status", becomes: Becomes::Command(&["schema", "status"]) },
    Legacy {
        name: "schema-status-cluster",
        becomes: Becomes::Missing(
            "comparing the schemas of all nodes at once",
            "run `harmonylite schema status` on each node: equal hashes and fingerprints are equal schemas",
        ),
    },
    Legacy {
        name: "pprof",
        becomes: Becomes::Missing(
            "serving profiles",
            "leave the option out; perf(1) can profile the running process",
        ),
    },
];

/// Rewrites `arguments`, the program's name first. What is not of the original stays as it is.
///
/// # Errors
/// When something is asked for that this version cannot do.
pub(super) fn rewrite(arguments: Vec<OsString>) -> Result<Vec<OsString>, ExitError> {
    let mut arguments = arguments.into_iter();
    let Some(program) = arguments.next() else { return Ok(Vec::new()) };
    let mut command: Vec<OsString> = Vec::new();
    let mut rest = Vec::new();
    while let Some(argument) = arguments.next() {
        match legacy_option(&argument) {
            None if command.is_empty() && !is_option(&argument) && rest.is_empty() => command.push(argument),
            None => rest.push(argument),
            Some((option, value)) => match option.becomes {
                Becomes::Missing(what, instead) => return Err(missing(option.name, what, instead)),
                Becomes::Command(words) if value.as_deref() != Some("false") => {
                    command = words.iter().map(OsString::from).collect();
                }
                Becomes::Command(_) => {}
                Becomes::Same => {
                    rest.push(format!("--{}", option.name).into());
                    rest.extend(value.map(OsString::from).or_else(|| arguments.next()));
                }
            },
        }
    }
    if command.is_empty() && runs(&rest) {
        command.push("run".into());
    }
    Ok(std::iter::once(program).chain(command).chain(rest).collect())
}

/// An option of the original, and the value that is joined to it by `=`.
fn legacy_option(argument: &OsString) -> Option<(&'static Legacy, Option<String>)> {
    let text = argument.to_str()?;
    let name = text.strip_prefix("--").or_else(|| text.strip_prefix('-'))?;
    let (name, value) =
        name.split_once('=').map_or((name, None), |(name, value)| (name, Some(value.to_owned())));
    OPTIONS.iter().find(|option| option.name == name).map(|option| (option, value))
}

fn is_option(argument: &OsString) -> bool {
    argument.to_str().is_some_and(|text| text.starts_with('-'))
}

/// Without a command, the options of the original run a node; `--help` alone does not.
fn runs(rest: &[OsString]) -> bool {
    rest.iter().any(|argument| legacy_option(argument).is_some())
}

fn missing(option: &str, what: &str, instead: &str) -> ExitError {
    ExitError::new(ExitCode::Usage, format!("-{option}: {what} is not available in this version"))
        .with_hint(instead)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(line: &str) -> String {
        let arguments = line.split(' ').map(OsString::from).collect();
        let words = rewrite(arguments).unwrap_or_else(|error| panic!("{line}: {error}"));
        words.iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn command_lines_of_the_original_start_the_matching_command() {
        for (original, ours) in [
            ("h -config a.toml", "h run --config a.toml"),
            ("h --config a.toml", "h run --config a.toml"),
            ("h -config=a.toml", "h run --config a.toml"),
            (
                "h -config a -node-id 1 -cluster-addr 127.0.0.1:1 -cluster-peers nats://b:1,nats://c:2",
                "h run --config a --node-id 1 --cluster-addr 127.0.0.1:1 --cluster-peers nats://b:1,nats://c:2",
            ),
            ("h -config a -leaf-servers nats-leaf://b:1", "h run --config a --leaf-servers nats-leaf://b:1"),
            ("h -config a -cleanup", "h cleanup --config a"),
            ("h -cleanup -config a", "h cleanup --config a"),
            ("h -cleanup=true -config a", "h cleanup --config a"),
            ("h -cleanup=false -config a", "h run --config a"),
            ("h -config a -schema-status", "h schema status --config a"),
            ("h -version", "h version"),
            ("h --version", "h version"),
        ] {
            assert_eq!(rewritten(original), ours, "{original}");
        }
    }

    #[test]
    fn our_own_command_lines_stay_as_they_are() {
        for line in [
            "h",
            "h --help",
            "h -h",
            "h help run",
            "h run --config a --dry-run",
            "h status --db a --json",
            "h demo --once",
            "h schema status --db a --json",
            "h log-level debug harmonylite::nats --db a",
        ] {
            assert_eq!(rewritten(line), line);
        }
        assert_eq!(rewritten("h run -config a -node-id 2"), "h run --config a --node-id 2");
    }

    #[test]
    fn what_is_missing_is_named_and_a_wrong_command_line() {
        for line in ["-save-snapshot", "-schema-status-cluster", "-pprof :1", "--pprof=:1"] {
            let arguments = format!("h -config a {line}").split(' ').map(OsString::from).collect();
            let error = rewrite(arguments).unwrap_err();
            assert_eq!(error.code, ExitCode::Usage);
            assert!(
                error.message.contains("not available in this version") && error.hint.is_some(),
                "{error}"
            );
        }
    }

    #[test]
    fn a_value_is_never_taken_for_an_option() {
        assert_eq!(rewritten("h -config -cleanup"), "h run --config -cleanup");
    }
}
