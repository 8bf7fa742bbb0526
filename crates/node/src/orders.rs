//! What `harmonylite reload`, `log-level`, `node` and `status --cluster` and a running node say to each other over the control socket: one
//! JSON document each way.

use serde::{Deserialize, Serialize};

use crate::exit::{ExitCode, ExitError};

/// What a node is asked to do with itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "kebab-case")]
pub enum Order {
    /// Read the configuration again. Answer: [`Reloaded`].
    Reload,
    /// How is the cluster? Answer: [`ClusterStatus`](crate::cluster_status::ClusterStatus).
    Cluster,
    /// Remove a member. Answer: [`Forgotten`].
    Forget {
        /// Which.
        node_id: u64,
    },
    /// Log more or less, or say what is logged. Answer: [`Levels`].
    LogLevel {
        /// From which level on; `None` changes nothing.
        level: Option<String>,
        /// Whom; all of ours when it is `None`.
        target: Option<String>,
    },
}

/// What an order leads to: the answer, or why it was not carried out.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome<T> {
    /// Carried out.
    Done(T),
    /// Not carried out; nothing changed.
    Failed(Failure),
}

/// What came of reading the configuration again.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Reloaded {
    /// Keys whose new values are in effect.
    pub changed: Vec<String>,
    /// Keys whose new values take effect at the next start only.
    pub needs_restart: Vec<String>,
    /// What the author of the configuration should know.
    pub warnings: Vec<String>,
}

/// What is logged.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Levels {
    /// A filter as `HARMONYLITE_LOG` has it.
    pub filter: String,
}

/// A member that was removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Forgotten {
    /// Which.
    pub node_id: u64,
}

/// An error, as it travels.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// The exit code.
    pub code: u8,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl<T> From<Result<T, ExitError>> for Outcome<T> {
    fn from(result: Result<T, ExitError>) -> Self {
        match result {
            Ok(done) => Self::Done(done),
            Err(error) => Self::Failed(error.into()),
        }
    }
}

impl<T> From<Outcome<T>> for Result<T, ExitError> {
    fn from(outcome: Outcome<T>) -> Self {
        match outcome {
            Outcome::Done(done) => Ok(done),
            Outcome::Failed(failure) => Err(failure.into()),
        }
    }
}

impl From<ExitError> for Failure {
    fn from(error: ExitError) -> Self {
        Self { code: error.code.number(), message: error.message, hint: error.hint }
    }
}

impl From<Failure> for ExitError {
    fn from(failure: Failure) -> Self {
        let code = ExitCode::of_number(failure.code).unwrap_or(ExitCode::Unexpected);
        Self { code, message: failure.message, hint: failure.hint }
    }
}
