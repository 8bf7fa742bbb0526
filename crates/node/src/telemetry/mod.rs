//! Logs: lines on stderr, for people or as JSON. Messages are lower case, values are fields.

pub(crate) mod events;

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::SystemTime;

use crate::config::environment::LOG_VARIABLE;
use crate::config::{LogFormat, Logging};
use crate::exit::{ExitCode, ExitError};

/// Our own crates, and the lines of the nats-server beside us.
const OURS: [&str; 3] = ["harmonylite", "harmonylite_core", "harmonylite_sqlite"];

/// Starts logging, once per process. `filter` is what [`LOG_VARIABLE`] says, and wins over `verbose`.
///
/// # Errors
/// When the filter is not one, or logging was started before.
pub fn init(logging: Logging, filter: Option<&str>) -> Result<(), ExitError> {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(self::filter(logging.verbose, filter)?)
        .with_writer(std::io::stderr)
        .with_timer(SystemTime)
        .with_target(logging.verbose)
        .with_ansi(std::io::stderr().is_terminal());
    let started = match logging.format {
        LogFormat::Console => builder.try_init(),
        LogFormat::Json => {
            builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
        }
    };
    started.map_err(|error| ExitError::new(ExitCode::Unexpected, format!("cannot start logging: {error}")))
}

fn filter(verbose: bool, filter: Option<&str>) -> Result<EnvFilter, ExitError> {
    let Some(text) = filter else { return Ok(EnvFilter::new(default_filter(verbose))) };
    EnvFilter::try_new(text).map_err(|error| {
        ExitError::new(ExitCode::Configuration, format!("{LOG_VARIABLE}: not a log filter: {error}"))
            .with_hint("for example: info, or harmonylite=debug,async_nats=info")
    })
}

/// Libraries speak up only when something is wrong.
fn default_filter(verbose: bool) -> String {
    let level = if verbose { "debug" } else { "info" };
    let ours: Vec<String> = OURS.iter().map(|name| format!("{name}={level}")).collect();
    format!("warn,{}", ours.join(","))
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
        let error = filter(false, Some("harmonylite=loud")).unwrap_err();
        assert_eq!(error.code, ExitCode::Configuration);
        assert!(error.message.starts_with("HARMONYLITE_LOG: "));
        assert!(filter(false, Some("harmonylite=trace")).is_ok());
    }
}
