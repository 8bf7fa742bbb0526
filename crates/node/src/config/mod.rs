//! Configuration: from a file, the environment and the command line to one validated [`Settings`].
//!
//! `keys` is the table of everything that is understood; `raw` collects what was written, layer over layer; `validate`
//! and `topology` judge it. All errors are reported at once, each with its place and a hint.

use std::path::Path;

mod access;
pub mod address;
mod certificates;
mod changes;
pub mod environment;
pub mod keys;
mod problem;
mod raw;
pub mod reference;
mod server_url;
mod settings;
mod topology;
mod validate;
mod value;

pub use address::{HostPort, Listen};
pub use changes::Values;
pub use environment::Environment;
pub use problem::{Invalid, Place, Problem, Severity};
pub use server_url::ServerUrl;
pub use settings::{
    Cluster, Credentials, LogFormat, Logging, Mode, Nats, ReplicationLog, SAFETY_POLL, STREAM_BYTES_DEFAULT,
    Settings,
};

/// One setting given on the command line.
#[derive(Clone, PartialEq, Eq)]
pub struct Override {
    /// The key it sets.
    pub key: &'static str,
    /// The option as it was written, with its dashes.
    pub option: &'static str,
    /// Its value, as text.
    pub value: String,
}

/// A configuration that can be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loaded {
    /// What it says.
    pub settings: Settings,
    /// The same key by key, to be compared with a later reading.
    pub values: Values,
    /// What its author should know.
    pub warnings: Vec<Problem>,
}

/// Reads the file (when there is one), lays the environment over it and the command line over both, and judges the
/// result.
///
/// # Errors
/// When anything is wrong with it: everything that is, at once.
pub fn load(file: Option<&Path>, environment: &Environment, options: &[Override]) -> Result<Loaded, Invalid> {
    let Some(file) = file else { return judge(None, environment, options) };
    let name = file.display().to_string();
    match std::fs::read(file) {
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => judge(Some((&name, &text)), environment, options),
            Err(error) => Err(not_utf8(name, error.as_bytes(), error.utf8_error().valid_up_to())),
        },
        Err(error) => Err(unreadable(name, &error)),
    }
}

/// The same for a text that is already read; `file` is its name and the text.
///
/// # Errors
/// As [`load`].
pub fn judge(
    file: Option<(&str, &str)>,
    environment: &Environment,
    options: &[Override],
) -> Result<Loaded, Invalid> {
    let mut raw = raw::Raw::default();
    let mut whole = Place::Nowhere {};
    if let Some((name, text)) = file {
        whole = Place::File { file: name.to_owned(), line: None };
        raw.add_file(name, text);
    }
    raw.add_variables(environment.keys());
    for option in options {
        raw.add_option(option.key, option.option, &option.value);
    }
    let settings = validate::settings(&mut raw, &whole, environment);
    let values = Values::of(raw.values());
    let db_path = raw.path("db_path").filter(|_| !raw.incomplete);
    let mut problems = raw.problems;
    problems.sort_by(|a, b| a.place.cmp(&b.place));
    match settings {
        Some(settings) if !problems.iter().any(Problem::is_error) => {
            Ok(Loaded { settings, values, warnings: problems })
        }
        _ => Err(Invalid { problems, db_path }),
    }
}

fn unreadable(name: String, error: &std::io::Error) -> Invalid {
    let hint = match error.kind() {
        std::io::ErrorKind::NotFound => {
            "--config names the file; config.example.toml shows what may stand in it"
        }
        std::io::ErrorKind::PermissionDenied => "let the user that runs this read the file",
        _ => "--config names a file",
    };
    let place = Place::File { file: name, line: None };
    let problem = Problem::error(place, format!("cannot be read: {error}")).hint(hint);
    Invalid { problems: vec![problem], db_path: None }
}

fn not_utf8(name: String, bytes: &[u8], valid_up_to: usize) -> Invalid {
    let line = 1 + bytes[..valid_up_to].iter().filter(|byte| **byte == b'\n').count();
    let place = Place::File { file: name, line: Some(line) };
    let problem = Problem::error(place, "not valid UTF-8").hint("save the file as UTF-8");
    Invalid { problems: vec![problem], db_path: None }
}

#[cfg(test)]
mod tests;
