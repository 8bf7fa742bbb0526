//! The command line: one file per command. The only code that writes to stdout.

use std::ffi::OsString;
use std::io::{ErrorKind, Write};

use clap::Parser;

mod arguments;
mod bench;
mod certs;
mod check_config;
mod cleanup;
mod cluster;
mod conflicts;
mod dead_letters;
mod demo;
mod detach;
mod legacy;
mod log_level;
mod loopback;
mod node;
mod node_socket;
mod reload;
mod row_view;
mod run;
mod schema;
mod status;
mod table;
mod version;

pub use arguments::DemoArguments;

use crate::config::{Environment, Problem};
use crate::exit::{ExitCode, ExitError};
use arguments::{Arguments, Command};

/// Runs the program. `arguments` begin with its name.
#[must_use]
pub fn main(arguments: Vec<OsString>) -> std::process::ExitCode {
    let arguments = match legacy::rewrite(arguments) {
        Ok(arguments) => arguments,
        Err(error) => return report(&error).into(),
    };
    match Arguments::try_parse_from(arguments) {
        Ok(arguments) => match execute(arguments.command, &Environment::of_process()) {
            Ok(code) => code.into(),
            Err(error) => report(&error).into(),
        },
        Err(error) => {
            // Nobody may be reading: that is no reason for another exit code.
            let _ = error.print();
            if error.use_stderr() { ExitCode::Usage.into() } else { ExitCode::Ok.into() }
        }
    }
}

fn execute(command: Command, environment: &Environment) -> Result<ExitCode, ExitError> {
    match command {
        Command::Run(arguments) => run::run(&arguments, environment),
        Command::Status(arguments) => status::status(&arguments, environment),
        Command::Conflicts { command } => conflicts::run(&command, environment),
        Command::DeadLetters { command } => dead_letters::run(&command, environment),
        Command::Schema { command } => schema::run(&command, environment),
        Command::Reload(arguments) => reload::reload(&arguments, environment),
        Command::LogLevel(arguments) => log_level::log_level(&arguments, environment),
        Command::Certs { command } => certs::run(&command),
        Command::Node { command } => node::run(&command, environment),
        Command::CheckConfig(arguments) => check_config::check_config(&arguments, environment),
        Command::Cleanup(arguments) => cleanup::cleanup(&arguments, environment),
        Command::Detach(arguments) => detach::detach(&arguments, environment),
        Command::Demo(arguments) => demo::demo(&arguments, environment),
        Command::Bench(arguments) => bench::bench(&arguments, environment),
        Command::Version(arguments) => version::version(&arguments, environment),
    }
}

/// Writes to stdout. That nobody reads it any more (`harmonylite status | head -1`) is no error.
fn print(text: &str) -> Result<(), ExitError> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(ExitError::new(ExitCode::Unexpected, format!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}

/// Writes lines to stderr; when that fails there is nobody left to tell.
fn print_error(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

fn report(error: &ExitError) -> ExitCode {
    print_error(&format!("error: {error}"));
    if let Some(hint) = &error.hint {
        print_error(&format!("  hint: {hint}"));
    }
    error.code
}

/// Warnings go to stderr: stdout is for what was asked for.
fn print_warnings(warnings: &[Problem]) {
    for warning in warnings {
        print_error(&warning.to_string());
    }
}

/// As a JSON document with a line end.
fn to_json(value: &impl serde::Serialize) -> Result<String, ExitError> {
    let text = serde_json::to_string_pretty(value);
    text.map(|text| text + "\n")
        .map_err(|error| ExitError::new(ExitCode::Unexpected, format!("cannot write json: {error}")))
}
