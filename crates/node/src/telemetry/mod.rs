//! Logs: lines on stderr, for people or as JSON. Messages are lower case, values are fields.

pub(crate) mod events;
mod levels;

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::SystemTime;

#[cfg(doc)]
use crate::config::environment::LOG_VARIABLE;
use crate::config::{LogFormat, Logging};
use crate::exit::{ExitCode, ExitError};

pub use self::levels::LogLevels;

/// Our own crates, and the lines of the nats-server beside us.
const OURS: [&str; 3] = ["harmonylite", "harmonylite_core", "harmonylite_sqlite"];

/// Starts logging, once per process, and gives what changes its levels. `filter` is what [`LOG_VARIABLE`] says, and wins
/// over `verbose`.
///
/// # Errors
/// When the filter is not one, or logging was started before.
pub fn init(logging: Logging, filter: Option<&str>) -> Result<LogLevels, ExitError> {
    let levels = LogLevels::new(logging.verbose, filter);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(levels.current()?)
        .with_writer(std::io::stderr)
        .with_timer(SystemTime)
        .with_target(logging.verbose)
        .with_ansi(std::io::stderr().is_terminal());
    let started = match logging.format {
        LogFormat::Console => {
            let builder = builder.with_filter_reloading();
            levels.apply_with(builder.reload_handle());
            builder.try_init()
        }
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true).with_current_span(false).with_span_list(false);
            let builder = builder.with_filter_reloading();
            levels.apply_with(builder.reload_handle());
            builder.try_init()
        }
    };
    started
        .map_err(|error| ExitError::new(ExitCode::Unexpected, format!("cannot start logging: {error}")))?;
    Ok(levels)
}

fn parse(filter: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(filter).map_err(|error| format!("not a log filter: {error}"))
}

/// Libraries speak up only when something is wrong.
fn default_filter(verbose: bool) -> String {
    format!("warn,{}", ours(if verbose { "debug" } else { "info" }))
}

/// All of ours at one level.
fn ours(level: &str) -> String {
    OURS.map(|name| format!("{name}={level}")).join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbose_is_debug_for_us_and_not_for_libraries() {
        assert_eq!(
            default_filter(false),
            "warn,harmonylite=info,harmonylite_core=info,harmonylite_sqlite=info"
        );
        assert!(default_filter(true).starts_with("warn,harmonylite=debug"));
    }

    #[test]
    fn a_filter_that_is_none_is_an_error_of_the_configuration() {
        let error = LogLevels::new(false, Some("harmonylite=loud")).current().unwrap_err();
        assert_eq!(error.code, ExitCode::Configuration);
        assert!(error.message.starts_with("HARMONYLITE_LOG: "));
        assert!(LogLevels::new(false, Some("harmonylite=trace")).current().is_ok());
    }
}
