//! What was written, before it is judged as a whole: the file, the environment and the command line, one over another.
//!
//! Every value is checked against its key here; what keys mean together is checked in `validate`.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::keys::{self, KEYS, Key, Support};
use super::problem::{Place, Problem};
use super::value::{self, Value};

/// Values by key, and what is wrong so far. Later layers win.
#[derive(Default)]
pub(super) struct Raw {
    entries: BTreeMap<&'static str, Entry>,
    pub(super) problems: Vec<Problem>,
    /// The text of the file could not be read to its end: what seems to be missing may stand there.
    pub(super) incomplete: bool,
    /// Keys whose value was refused: set, but not known.
    refused: Vec<&'static str>,
}

struct Entry {
    value: Value,
    place: Place,
}

impl Raw {
    /// Adds the file. `name` is how it is called in messages.
    pub(super) fn add_file(&mut self, name: &str, text: &str) {
        let lines = Lines::new(name, text);
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut broken = Vec::new();
        for error in errors {
            let line = error.span().map(|span| lines.number(&span));
            if !broken.contains(&line) {
                broken.push(line);
                let place = Place::File { file: name.to_owned(), line };
                self.problems
                    .push(Problem::error(place, format!("not valid TOML: {}", syntax(error.message()))));
            }
        }
        self.incomplete |= !broken.is_empty();
        let lines = Lines { broken, ..lines };
        self.add_table("", table.get_ref(), &lines);
    }

    fn add_table(&mut self, section: &str, table: &DeTable<'_>, lines: &Lines<'_>) {
        for (name, value) in table.iter() {
            let path = if section.is_empty() {
                name.get_ref().to_string()
            } else {
                format!("{section}.{}", name.get_ref())
            };
            if !lines.broken.contains(&Some(lines.number(&name.span()))) {
                self.add_item(&path, value.get_ref(), lines.place(&name.span()), lines);
            }
        }
    }

    fn add_item(&mut self, path: &str, value: &DeValue<'_>, place: Place, lines: &Lines<'_>) {
        if let Some(key) = Key::find(path) {
            return self.add(key, value::from_toml(key.kind, value), place);
        }
        match value {
            DeValue::Table(table) if keys::is_section(path) => self.add_table(path, table, lines),
            _ if keys::is_section(path) => {
                let problem = Problem::error(place, format!("`{path}` is a section, not a value"));
                self.problems.push(problem.hint(format!("write [{path}] and its keys below it")));
            }
            _ => self.problems.push(unknown(path, matches!(value, DeValue::Table(_)), place)),
        }
    }

    /// Adds variables: ours begin with `HARMONYLITE_`, the others are none of our business.
    pub(super) fn add_variables<'a>(&mut self, variables: impl Iterator<Item = (&'a str, &'a str)>) {
        for (name, text) in variables {
            let place = Place::Environment { variable: name.to_owned() };
            match KEYS.iter().find(|key| key.variable() == name) {
                Some(_) if text.is_empty() => {}
                Some(key) => self.add(key, value::from_text(key.kind, text), place),
                None => self.problems.push(unknown_variable(name, place)),
            }
        }
    }

    /// Adds an option of the command line.
    pub(super) fn add_option(&mut self, path: &str, option: &str, text: &str) {
        if let Some(key) = Key::find(path) {
            self.add(key, value::from_text(key.kind, text), Place::Option { option: option.to_owned() });
        }
    }

    fn add(&mut self, key: &'static Key, value: Result<Value, String>, place: Place) {
        match value {
            Ok(value) if value.is_empty() => {
                self.entries.remove(key.path);
            }
            Ok(value) => {
                self.entries.insert(key.path, Entry { value, place });
            }
            Err(message) => {
                self.refused.push(key.path);
                let problem = Problem::error(place, format!("`{}`: {message}", key.path));
                self.problems.push(problem.hint(format!(
                    "for example: {} = {}",
                    key.name(),
                    key.preset.text()
                )));
            }
        }
    }

    /// One warning for each key that is set and not acted on.
    pub(super) fn warn_about_ignored(&mut self) {
        for key in KEYS.iter().filter(|key| key.support == Support::Ignored) {
            if let Some(entry) = self.entries.get(key.path).filter(|entry| !entry.value.asks_for_nothing()) {
                let message = format!("`{}` is not acted on by this version", key.path);
                self.problems.push(Problem::warning(entry.place.clone(), message));
            }
        }
    }

    /// Where the key was set; `None` when it was not.
    pub(super) fn place(&self, path: &str) -> Option<Place> {
        self.entries.get(path).map(|entry| entry.place.clone())
    }

    /// The key was written, whether its value is any good or not.
    pub(super) fn is_set(&self, path: &str) -> bool {
        self.entries.contains_key(path) || self.refused.contains(&path)
    }

    /// Every value that holds.
    pub(super) fn values(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.entries.iter().map(|(path, entry)| (*path, &entry.value))
    }

    pub(super) fn value(&self, path: &str) -> Option<&Value> {
        debug_assert!(Key::find(path).is_some(), "no such key: {path}");
        self.entries.get(path).map(|entry| &entry.value)
    }
}

/// Finds line numbers.
struct Lines<'a> {
    file: &'a str,
    text: &'a str,
    broken: Vec<Option<usize>>,
}

impl<'a> Lines<'a> {
    fn new(file: &'a str, text: &'a str) -> Self {
        Self { file, text, broken: Vec::new() }
    }

    fn number(&self, span: &Range<usize>) -> usize {
        let end = span.start.min(self.text.len());
        1 + self.text.as_bytes()[..end].iter().filter(|byte| **byte == b'\n').count()
    }

    fn place(&self, span: &Range<usize>) -> Place {
        Place::File { file: self.file.to_owned(), line: Some(self.number(span)) }
    }
}

/// The parser's message; several lines become one.
fn syntax(message: &str) -> String {
    message.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(", ")
}

fn unknown(path: &str, is_table: bool, place: Place) -> Problem {
    let what = if is_table { "section" } else { "key" };
    let problem = Problem::error(place, format!("unknown {what} `{path}`"));
    if is_table {
        let sections = keys::sections();
        let known = sections.iter().copied().filter(|section| !section.is_empty());
        return match nearest(path, known) {
            Some(known) => problem.hint(format!("did you mean [{known}]?")),
            None => problem.hint("docs/configuration.md lists every section"),
        };
    }
    match misplaced(path).or_else(|| nearest(path, KEYS.iter().map(|key| key.path))) {
        Some(known) => problem.hint(format!("did you mean `{known}`?{}", belongs(known, path))),
        None => problem.hint("docs/configuration.md lists every key"),
    }
}

/// A key of that name in another section, when there is exactly one: it stands below the wrong header.
fn misplaced(path: &str) -> Option<&'static str> {
    let name = path.rsplit_once('.').map_or(path, |(_, name)| name);
    let mut found = KEYS.iter().filter(|key| key.name() == name);
    match (found.next(), found.next()) {
        (Some(key), None) => Some(key.path),
        _ => None,
    }
}

/// Where a key of another section has to stand.
fn belongs(known: &str, path: &str) -> String {
    let section = |path: &str| path.rsplit_once('.').map_or(String::new(), |(section, _)| section.to_owned());
    let (right, here) = (section(known), section(path));
    if right == here {
        String::new()
    } else if right.is_empty() {
        " it stands before the first section".to_owned()
    } else {
        format!(" it belongs below [{right}]")
    }
}

fn unknown_variable(name: &str, place: Place) -> Problem {
    let problem = Problem::warning(place, "no key belongs to this variable; it changes nothing");
    let variables: Vec<String> = KEYS.iter().map(Key::variable).collect();
    match nearest(name, variables.iter().map(String::as_str)) {
        Some(known) => problem.hint(format!("did you mean {known}?")),
        None => problem,
    }
}

/// The most similar of the known words; `None` when none is similar. Below 0.7 suggestions are more often wrong than
/// right.
fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| (strsim::normalized_damerau_levenshtein(word, candidate), candidate))
        .filter(|(similarity, _)| *similarity >= 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}
