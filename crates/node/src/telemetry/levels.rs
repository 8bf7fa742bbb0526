//! What is logged, and how that changes while the process runs.
//!
//! What the configuration (or the variable, which wins) says is the base; what somebody asks for lies over it, until the
//! configuration is read again.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::reload::Handle;

use super::{OURS, default_filter, parse};
use crate::config::environment::LOG_VARIABLE;
use crate::exit::{ExitCode, ExitError};

type Apply = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send>;

/// The levels of the log of this process.
#[derive(Clone)]
pub struct LogLevels {
    state: Arc<Mutex<State>>,
}

struct State {
    verbose: bool,
    /// Of the variable.
    filter: Option<String>,
    /// Levels by target, over the base.
    over: BTreeMap<String, String>,
    apply: Option<Apply>,
}

impl LogLevels {
    /// As the configuration and the variable say.
    pub(super) fn new(verbose: bool, filter: Option<&str>) -> Self {
        let state = State { verbose, filter: filter.map(str::to_owned), over: BTreeMap::new(), apply: None };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// For the subscriber.
    pub(super) fn current(&self) -> Result<EnvFilter, ExitError> {
        parse(&self.filter()).map_err(|error| {
            ExitError::new(ExitCode::Configuration, format!("{LOG_VARIABLE}: {error}"))
                .with_hint("for example: info, or harmonylite=debug,async_nats=info")
        })
    }

    /// From now on changes take effect by this handle.
    pub(super) fn apply_with<S: 'static>(&self, handle: Handle<EnvFilter, S>) {
        let apply = move |filter| handle.reload(filter).map_err(|error| error.to_string());
        self.lock().apply = Some(Box::new(apply));
    }

    /// What is logged, as a filter.
    #[must_use]
    pub fn filter(&self) -> String {
        self.lock().text()
    }

    /// The configuration was read again: back to what it says.
    ///
    /// # Errors
    /// When the log does not take it.
    pub fn configure(&self, verbose: bool) -> Result<(), ExitError> {
        self.change(|state| {
            state.verbose = verbose;
            state.over.clear();
        })
    }

    /// Logs `target` from `level` on: a module such as `harmonylite::nats`, or another library; without one, all of ours.
    ///
    /// # Errors
    /// When there is no such level, or the target cannot be one.
    pub fn set(&self, level: &str, target: Option<&str>) -> Result<(), ExitError> {
        if level.is_empty() || LevelFilter::from_str(level).is_err() || level.parse::<u8>().is_ok() {
            return Err(usage(format!("there is no level {level:?}")));
        }
        let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
        if target.is_some_and(|target| target.is_empty() || !target.chars().all(letter)) {
            return Err(usage("a target is the name of a module, such as harmonylite::nats".to_owned()));
        }
        self.change(|state| match target {
            Some(target) => drop(state.over.insert(target.to_owned(), level.to_owned())),
            None => {
                state.over.clear();
                state.over.extend(OURS.map(|name| (name.to_owned(), level.to_owned())));
            }
        })
    }

    fn change(&self, change: impl FnOnce(&mut State)) -> Result<(), ExitError> {
        let mut state = self.lock();
        change(&mut state);
        let filter = parse(&state.text());
        let applied = filter.and_then(|filter| state.apply.as_ref().map_or(Ok(()), |apply| apply(filter)));
        applied.map_err(|error| {
            ExitError::new(ExitCode::Unexpected, format!("the level of the log stays as it was: {error}"))
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn text(&self) -> String {
        let base = self.filter.clone().unwrap_or_else(|| default_filter(self.verbose));
        let over = self.over.iter().map(|(target, level)| format!("{target}={level}"));
        std::iter::once(base).chain(over).collect::<Vec<_>>().join(",")
    }
}

impl fmt::Debug for LogLevels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LogLevels").field(&self.filter()).finish()
    }
}

fn usage(message: String) -> ExitError {
    ExitError::new(ExitCode::Usage, message).with_hint(
        "levels are off, error, warn, info, debug and trace: harmonylite log-level debug harmonylite::nats",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "warn,harmonylite=info,harmonylite_core=info,harmonylite_sqlite=info";

    #[test]
    fn levels_lie_over_the_base_until_the_configuration_is_read_again() {
        let levels = LogLevels::new(false, None);
        levels.set("trace", Some("harmonylite::nats")).unwrap();
        levels.set("debug", Some("async_nats")).unwrap();
        assert_eq!(levels.filter(), format!("{BASE},async_nats=debug,harmonylite::nats=trace"));
        levels.set("debug", None).unwrap();
        let debug = "harmonylite=debug,harmonylite_core=debug,harmonylite_sqlite=debug";
        assert_eq!(levels.filter(), format!("{BASE},{debug}"));
        levels.configure(true).unwrap();
        assert_eq!(levels.filter(), format!("warn,{debug}"));
    }

    #[test]
    fn the_variable_stays_the_base() {
        let levels = LogLevels::new(false, Some("error"));
        levels.configure(true).unwrap();
        assert_eq!(levels.filter(), "error");
        levels.set("info", None).unwrap();
        assert!(levels.filter().starts_with("error,harmonylite=info,"), "{}", levels.filter());
    }

    #[test]
    fn what_is_no_level_or_no_target_changes_nothing() {
        let levels = LogLevels::new(false, None);
        for (level, target) in [
            ("loud", None),
            ("", None),
            ("3", None),
            ("debug", Some("")),
            ("debug", Some("a,trace")),
            ("info", Some("a=b")),
        ] {
            let error = levels.set(level, target).unwrap_err();
            assert!(error.code == ExitCode::Usage && error.hint.is_some(), "{level} {target:?}: {error}");
        }
        assert_eq!(levels.filter(), BASE);
    }
}
