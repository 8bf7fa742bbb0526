//! Words that may stand only in some places: layers that must not know one another, and things that have one owner.

use super::files::line_at;
use super::source::{Source, is_word};
use super::{Finding, TextFile};

/// Which part of a file a rule looks at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    /// Code that ships.
    Product,
    /// Code of tests: whole files of test folders and of the testkit, and what stands behind `#[cfg(test)]`.
    Tests,
    /// All code.
    Code,
    /// String literals of code that ships.
    Literals,
}

/// Words that are forbidden somewhere. A path covers what starts with it.
struct Rule {
    words: &'static [&'static str],
    part: Part,
    within: &'static [&'static str],
    except: &'static [&'static str],
    reason: &'static str,
}

const EVERYWHERE: &[&str] = &[""];
const PRODUCT: &[&str] =
    &["crates/core/src/", "crates/late-lock/src/", "crates/sqlite/src/", "crates/node/src/"];
const NODE: &[&str] = &["crates/node/src/"];

const RULES: &[Rule] = &[
    Rule {
        words: &[
            "tokio",
            "rusqlite",
            "async_nats",
            "rand",
            "getrandom",
            "std::fs",
            "std::net",
            "std::env",
            "std::process",
            "std::thread",
        ],
        part: Part::Product,
        within: &["crates/core/src/"],
        except: &[],
        reason: "the core has no I/O, no tasks and no randomness: ask for it by an Effect, learn of it by an Input",
    },
    Rule {
        words: &["SystemTime", "Instant"],
        part: Part::Product,
        within: &["crates/core/src/"],
        except: &[],
        reason: "the core has no clock: the time comes with every Input",
    },
    Rule {
        words: &["HashMap", "HashSet"],
        part: Part::Product,
        within: &["crates/core/src/"],
        except: &[],
        reason: "its order differs from run to run: use BTreeMap or BTreeSet",
    },
    Rule {
        words: &["tokio", "async_nats", "axum", "std::net"],
        part: Part::Code,
        within: &["crates/sqlite/"],
        except: &[],
        reason: "this crate is blocking and knows no network",
    },
    Rule {
        words: &["async_nats"],
        part: Part::Code,
        within: EVERYWHERE,
        except: &["crates/node/src/nats/", "crates/node/tests/"],
        reason: "only crates/node/src/nats knows the NATS client",
    },
    Rule {
        words: &["rusqlite"],
        part: Part::Product,
        within: &["crates/core/src/", "crates/node/src/"],
        except: &[],
        reason: "only crates/sqlite knows SQLite",
    },
    Rule {
        words: &["SELECT ", "INSERT INTO ", "DELETE FROM ", "CREATE TABLE ", "PRAGMA "],
        part: Part::Literals,
        within: &["crates/core/src/", "crates/node/src/"],
        // The demo's application, and what people are told to try.
        except: &["crates/node/src/cli/"],
        reason: "SQL stands in crates/sqlite only",
    },
    Rule {
        words: &["crate::runtime", "crate::http", "crate::blob", "crate::cli"],
        part: Part::Product,
        within: &["crates/node/src/nats/"],
        except: &[],
        reason: "the adapters do not know one another: they meet in the runtime's driver",
    },
    Rule {
        words: &["crate::runtime", "crate::nats", "crate::blob", "harmonylite_sqlite"],
        part: Part::Product,
        within: &["crates/node/src/http/"],
        except: &[],
        reason: "http reads a watch of the status and sends inputs",
    },
    Rule {
        words: &["spawn(", "spawn_blocking(", "spawn_local("],
        part: Part::Product,
        within: PRODUCT,
        // The last: the bench is not a node, it starts some, and threads that are their applications.
        except: &["crates/node/src/runtime/", "crates/node/src/nats/", "crates/node/src/cli/bench/"],
        reason: "tasks, threads and processes are started by the runtime and by the supervisor of the server",
    },
    Rule {
        words: &["process::exit", "process::abort"],
        part: Part::Product,
        within: PRODUCT,
        except: &["crates/node/src/main.rs"],
        reason: "only main ends the process: return an error",
    },
    Rule {
        words: &["std::env", "env::var", "env::vars"],
        part: Part::Product,
        within: PRODUCT,
        // The last: where the binary of the server is looked for.
        except: &[
            "crates/node/src/config/environment.rs",
            "crates/node/src/main.rs",
            "crates/node/src/nats/server_binary.rs",
        ],
        reason: "the environment is read once, by config::environment",
    },
    Rule {
        words: &["SystemTime"],
        part: Part::Product,
        within: NODE,
        // The second: every log line carries the time at which it is written.
        except: &["crates/node/src/runtime/clock.rs", "crates/node/src/telemetry/"],
        reason: "the wall clock is read by runtime::clock, and by telemetry for log lines",
    },
    Rule {
        words: &["println!", "print!", "eprintln!", "eprint!"],
        part: Part::Product,
        within: PRODUCT,
        except: &["crates/node/src/cli/", "crates/node/src/main.rs"],
        reason: "only the command line prints: emit an event or log",
    },
    Rule {
        words: &["unbounded_channel", "unbounded", "std::sync::mpsc::channel"],
        part: Part::Code,
        within: PRODUCT,
        except: &[],
        reason: "channels are bounded: a queue without a limit hides a stall until memory ends",
    },
    Rule {
        words: &["anyhow"],
        part: Part::Product,
        within: PRODUCT,
        except: &["crates/node/src/main.rs"],
        reason: "product code has typed errors (thiserror)",
    },
    Rule {
        words: &["sleep(", "sleep_ms("],
        part: Part::Tests,
        within: EVERYWHERE,
        // The pause between two looks of the asynchronous tests' own waiting, and faults at a swept moment.
        except: &["crates/node/tests/nats/"],
        reason: "a test waits for a condition with a deadline (testkit's wait), never for time to pass",
    },
    Rule {
        words: &["#[ignore"],
        part: Part::Code,
        within: EVERYWHERE,
        except: &[],
        reason: "an ignored test tests nothing: mend it or take it out",
    },
    Rule {
        words: &["todo!", "unimplemented!", "dbg!"],
        part: Part::Code,
        within: EVERYWHERE,
        except: &[],
        reason: "nothing half made is kept",
    },
];

/// Looks for words where they may not stand.
pub(crate) fn check(file: &TextFile) -> Vec<Finding> {
    let rules: Vec<&Rule> = RULES.iter().filter(|rule| rule.covers(&file.path)).collect();
    if rules.is_empty() {
        return Vec::new();
    }
    let source = Source::parse(&file.text);
    rules.into_iter().flat_map(|rule| rule.check(file, &source)).collect()
}

impl Rule {
    fn covers(&self, path: &str) -> bool {
        let under = |prefixes: &[&str]| prefixes.iter().any(|prefix| path.starts_with(prefix));
        under(self.within) && !under(self.except)
    }

    fn check(&self, file: &TextFile, source: &Source) -> Vec<Finding> {
        let mut findings = Vec::new();
        for view in self.views(file, source) {
            for word in self.words {
                let places = occurrences(view, word).chain(grouped(view, word));
                let lines = places.map(|offset| line_at(view, offset));
                findings.extend(lines.map(|line| {
                    Finding::new(&file.path, line, format!("`{}`: {}", word.trim_end(), self.reason))
                }));
            }
        }
        findings
    }

    fn views<'a>(&self, file: &TextFile, source: &'a Source) -> Vec<&'a str> {
        let whole_file_is_test = is_test_file(&file.path);
        match self.part {
            Part::Code => vec![&source.product, &source.tests],
            Part::Tests if whole_file_is_test => vec![&source.product, &source.tests],
            Part::Tests => vec![&source.tests],
            Part::Product | Part::Literals if whole_file_is_test => Vec::new(),
            Part::Product => vec![&source.product],
            Part::Literals => vec![&source.literals],
        }
    }
}

fn is_test_file(path: &str) -> bool {
    let in_folder = |folder: &str| path.contains(folder) || path.starts_with(&folder[1..]);
    in_folder("/tests/")
        || in_folder("/benches/")
        || path.ends_with("/tests.rs")
        || path.starts_with("crates/testkit/")
}

/// Where `word` stands and is not part of a longer name.
fn occurrences<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let byte =
        |at: Option<usize>| at.and_then(|at| text.as_bytes().get(at)).is_some_and(|&byte| is_word(byte));
    let starts_as_name = word.bytes().next().is_some_and(is_word);
    let ends_as_name = word.bytes().last().is_some_and(is_word);
    text.match_indices(word).map(|(start, _)| start).filter(move |&start| {
        let joined_before = starts_as_name && byte(start.checked_sub(1));
        let joined_after = ends_as_name && byte(Some(start + word.len()));
        !joined_before && !joined_after
    })
}

/// Where `std::fs` is imported as `std::{fs, ..}`.
fn grouped(text: &str, word: &str) -> Vec<usize> {
    let Some((module, name)) = word.rsplit_once("::") else { return Vec::new() };
    let group = format!("{module}::{{");
    let starts = text.match_indices(&group).map(|(start, _)| start + group.len());
    let with_name = starts.filter(|&start| top_level_names(&text[start..]).contains(&name));
    with_name.collect()
}

/// The names of an import group before the brace that closes it: of `fs::File, io}` these are fs and io.
fn top_level_names(group: &str) -> Vec<&str> {
    let (mut depth, mut item, mut names) = (0_usize, 0, Vec::new());
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                names.push(group[item..at].split("::").next().unwrap_or_default().trim());
                item = at + 1;
                if character == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        check(&TextFile::new(path, text)).into_iter().map(|finding| finding.line).collect()
    }

    /// A text that breaks each rule, where it may not stand. A rule without such a text here fails the test below.
    const BREACHES: &[(&str, &str)] = &[
        ("crates/core/src/a.rs", "use tokio::time;"),
        ("crates/core/src/a.rs", "use std::{collections::BTreeMap, fs::{self, File}};"),
        ("crates/core/src/a.rs", "let now = SystemTime::now();"),
        ("crates/core/src/a.rs", "let map: HashMap<u8, u8>;"),
        ("crates/sqlite/src/a.rs", "use std::net::TcpStream;"),
        ("crates/node/src/runtime/a.rs", "async_nats::connect(url)"),
        ("crates/node/src/runtime/a.rs", "rusqlite::Connection"),
        ("crates/node/src/runtime/a.rs", "let sql = \"SELECT 1\";"),
        ("crates/node/src/nats/a.rs", "use crate::runtime::driver;"),
        ("crates/node/src/http/a.rs", "use crate::nats::server;"),
        ("crates/node/src/config/a.rs", "std::thread::spawn(work)"),
        ("crates/node/src/cli/a.rs", "std::process::exit(1)"),
        ("crates/node/src/cli/a.rs", "std::env::var(name)"),
        ("crates/node/src/cli/a.rs", "SystemTime::now()"),
        ("crates/node/src/runtime/a.rs", "println!()"),
        ("crates/node/src/runtime/a.rs", "tokio::sync::mpsc::unbounded_channel()"),
        ("crates/node/src/runtime/a.rs", "anyhow::Result"),
        ("crates/node/tests/a.rs", "tokio::time::sleep(second).await"),
        ("crates/node/src/a.rs", "#[cfg(test)] mod tests { fn a() { sleep(second) } }"),
        ("crates/testkit/src/a.rs", "std::thread::sleep(second)"),
        ("crates/node/tests/a.rs", "#[ignore = \"slow\"]"),
        ("xtask/src/a.rs", "todo!()"),
    ];

    #[test]
    fn every_rule_can_fail() {
        let mut broken = vec![false; RULES.len()];
        for (path, text) in BREACHES {
            let file = TextFile::new(path, text);
            assert!(!check(&file).is_empty(), "{path}: {text}");
            let source = Source::parse(text);
            for (rule, broken) in RULES.iter().zip(&mut broken) {
                *broken |= rule.covers(path) && !rule.check(&file, &source).is_empty();
            }
        }
        let untested = RULES.iter().zip(broken).find(|(_, broken)| !broken).map(|(rule, _)| rule.reason);
        assert_eq!(untested, None);
    }

    #[test]
    fn owners_may_do_what_others_may_not() {
        let allowed = [
            ("crates/node/src/nats/a.rs", "async_nats::connect(url); tokio::spawn(work)"),
            ("crates/node/src/runtime/a.rs", "tokio::spawn(work)"),
            ("crates/node/src/cli/a.rs", "println!(\"SELECT 1\")"),
            ("crates/node/src/config/environment.rs", "std::env::vars_os()"),
            ("crates/sqlite/src/a.rs", "rusqlite::Connection; \"SELECT 1\"; let m: HashMap<u8, u8>;"),
            ("crates/node/tests/a.rs", "rusqlite::Connection; \"SELECT 1\""),
        ];
        for (path, text) in allowed {
            assert_eq!(lines(path, text), Vec::<usize>::new(), "{path}: {text}");
        }
    }

    #[test]
    fn words_in_comments_literals_and_longer_names_do_not_count() {
        let text =
            "// tokio\n/// rusqlite\nlet tokio_like = \"std::fs\"; respawn(); brand; std::{fmt, future};";
        assert_eq!(lines("crates/core/src/a.rs", text), Vec::<usize>::new());
    }

    #[test]
    fn the_line_is_the_one_with_the_word() {
        assert_eq!(lines("crates/core/src/a.rs", "/* a\n*/\nuse std::fs;\nuse tokio;\n"), [4, 3]);
    }
}
